"""Whether source, store and destinations hold the same records."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import requests

from dev import stack as stacks
from dev.simulators.agol import AgolSimulator
from dev.simulators.knack import KnackSimulator
from dev.simulators.socrata import SocrataSimulator
from services.utils import containers


@dataclass(frozen=True)
class Agreement:
    """One container: how many records each place holds, and what differs, in words ("" for nothing)."""

    container: str
    counts: tuple[int, int, int, int]
    difference: str


def compare(
    container_id: str,
    store: stacks.Stack,
    knack: KnackSimulator,
    socrata: SocrataSimulator,
    agol: AgolSimulator,
) -> Agreement:
    """Compare a container's documents byte for byte with the source, and the destinations' keys with them."""
    from dev.demo.__main__ import APP

    config = containers.read_config(containers.CONFIG_FOLDER.parents[1] / "dev" / "demo" / "config")
    container = containers.find_container(config, APP, container_id, "prod")
    source = knack.record_bytes(container_id)
    documents = _read_documents(store, container_id)
    rows = {str(row["id"]) for row in socrata.rows(container.socrata_resource_id)}
    features = [
        str(feature["attributes"]["id"])
        for feature in agol.features(container.service_id, int(container.layer_id or 0))
    ]
    differences = []
    if documents != source:
        differences.append("store")
    if rows != source.keys():
        differences.append("Socrata")
    if sorted(features) != sorted(source):
        differences.append("ArcGIS")
    counts = (len(source), len(documents), len(rows), len(features))
    return Agreement(container_id, counts, ", ".join(differences))


def print_table(rows: list[Agreement]) -> bool:
    """Print the comparison; whether everything agrees."""
    print(f"\n{'container':<12}{'source':>10}{'store':>10}{'Socrata':>10}{'ArcGIS':>10}")
    for row in rows:
        verdict = f"differs: {row.difference}" if row.difference else "agree"
        print(f"{row.container:<12}" + "".join(f"{count:>10}" for count in row.counts) + f"   {verdict}")
    return not any(row.difference for row in rows)


class _Row(msgspec.Struct):
    record_id: str
    record: msgspec.Raw


def _read_documents(store: stacks.Stack, container_id: str) -> dict[str, bytes]:
    answer = requests.get(
        f"{store.url}/knack",
        params={
            "container_id": f"eq.{container_id}",
            "deleted_at": "is.null",
            "select": "record_id,record",
        },
        headers={"Authorization": f"Bearer {store.token('api_publisher')}"},
        timeout=60,
    )
    answer.raise_for_status()
    found = msgspec.json.decode(answer.content, type=list[_Row])
    return {row.record_id: bytes(row.record) for row in found}
