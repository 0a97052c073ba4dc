"""Whether source, store and destinations hold the same records."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import requests

from dev import stack as stacks
from dev.demo.names import FORM, KNACK_APP, ODK_APP, TREES, find_container
from dev.simulators.agol import AgolSimulator
from dev.simulators.knack import KnackSimulator
from dev.simulators.s3 import S3Simulator
from dev.simulators.socrata import SocrataSimulator
from dev.simulators.survey import Survey


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
    container = find_container(KNACK_APP, container_id)
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


def compare_form(
    store: stacks.Stack, survey: Survey, socrata: SocrataSimulator, agol: AgolSimulator
) -> Agreement:
    """Compare the survey's visits with documents, rows and features, and its trees with their dataset."""
    container = find_container(ODK_APP, FORM)
    visits = sorted(visit.instance_id for visit in survey.visits)
    alive = store.execute("select record::json ->> '__id' from api.odk where deleted_at is null")
    keys = {key for (key,) in store.execute("select record_id from api.odk where deleted_at is null")}
    rows = {row["id"]: row for row in socrata.rows(container.socrata_resource_id)}
    features = agol.features(container.service_id, int(container.layer_id or 0))
    trees = sum(len(visit.values.get("tree") or ()) for visit in survey.visits)
    differences = []
    if sorted(key for (key,) in alive) != visits:
        differences.append("store")
    corrected = sum(row.get("surveyor", "").startswith("Corrected in the demo") for row in rows.values())
    if rows.keys() != keys or corrected != 10:
        differences.append("Socrata")
    if len(socrata.rows(find_container(ODK_APP, TREES).socrata_resource_id)) != trees:
        differences.append("Socrata (trees)")
    if sorted(feature["attributes"]["id"] for feature in features) != sorted(keys):
        differences.append("ArcGIS")
    counts = (len(visits), len(alive), len(rows), len(features))
    return Agreement(FORM, counts, ", ".join(differences))


def describe_media(survey: Survey, store: stacks.Stack, s3: S3Simulator) -> tuple[str, bool]:
    """How many of the survey's files are in the bucket, in words, and whether each is, byte for byte."""
    files = [content for visit in survey.visits for content in visit.files.values()]
    stored = store.execute("select key from api.odk_attachments where state = 'stored'")
    objects = s3.objects()
    held = sorted(objects[key] for (key,) in stored if key in objects)
    missing = len([content for content in set(files) if content not in set(held)])
    return f"media: {len(files)} files at the source, {len(held)} in S3", missing == 0


def describe_view(store: stacks.Stack, survey: Survey) -> tuple[str, bool]:
    """How many rows the survey's unified view shows, in words, and whether it is one for each visit."""
    name = f"{survey.form_id}_unified"
    count = store.execute(f'select count(*) from bi."{name}"')[0][0]
    return f"view bi.{name}: {count} rows, one for each of {len(survey.visits)} visits", count == len(
        survey.visits
    )


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
