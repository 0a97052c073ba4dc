"""What do the triggers and the indexes cost a load?

Bodies that lie ready are sent to api.load_documents on two connections, from an empty table, and then once more with
nothing changed: to the schema as it is, and to schemas that lack one part each. Seconds of PostgreSQL's CPU, as the
clock on the wall depends on what else the machine does, and MB of write-ahead log. In turn; medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests

from benchmarks.table import print_table
from benchmarks.world import count_cpu, find_first
from dev import stack as stacks
from dev.simulators.city import WIDE, wide_records
from dev.stack import processes
from services.utils.env import StoreSettings
from services.utils.postgrest import PostgREST
from services.utils.store import Store, split_batches
from services.utils.store.bodies import encode_body

PARTS = {
    "knack, as it is": ("knack", ""),
    "without the comparing trigger": ("knack", "drop trigger knack_keep_document on api.knack"),
    "without the watermark's trigger": ("knack", "drop trigger knack_show_writer on api.knack"),
    "without the index by time": (
        "knack",
        "drop index api.knack_app_id_container_id_updated_at_record_id_idx",
    ),
    "without lz4 (pglz)": ("knack", "alter table api.knack alter column record set compression pglz"),
    "odk, as it is": ("odk", ""),
    "without the index of instances": ("odk", "drop index api.odk_instance_id_app_id_container_id_idx"),
    "without the index of media": ("odk", "drop index api.odk_media_app_id_container_id_record_id_idx"),
}


@dataclass
class Spent:
    """What one load took."""

    seconds: float
    cpu_s: float
    wal_mb: float


def run(records: int, repeats: int) -> bool:
    """Print the table; always True: it is there to be looked at."""
    records = min(records, 20_000)
    found: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in PARTS}
    bodies: dict[str, list[bytes]] = {}
    for _ in range(repeats):
        for name, (source, change) in PARTS.items():
            with stacks.run() as stack:
                if change:
                    stack.execute(change)
                if source not in bodies:
                    bodies[source] = list(make_bodies(stack, source, records))
                found[name].append((send(stack, source, bodies[source]), send(stack, source, bodies[source])))
    rows = []
    for name, turns in found.items():
        first, again = zip(*turns)
        whole = "knack, as it is" if PARTS[name][0] == "knack" else "odk, as it is"
        base = statistics.median(turn[0].cpu_s for turn in found[whole])
        cpu_s = statistics.median(one.cpu_s for one in first)
        rows.append(
            [
                name,
                statistics.median(one.seconds for one in first),
                cpu_s,
                cpu_s / base,
                statistics.median(one.wal_mb for one in first),
                statistics.median(one.cpu_s for one in again),
                statistics.median(one.wal_mb for one in again),
            ]
        )
    print_table(
        [f"{records:,} records", "new, s", "CPU s", "of all", "log MB", "again, CPU s", "log MB"], rows
    )
    return True


def make_bodies(stack: stacks.Stack, source: str, records: int) -> Iterator[bytes]:
    """Bodies as a load makes them."""
    store = Store(PostgREST(StoreSettings(stack.url, "", stack.jwt_secret, "api_user")), source, "a", WIDE)
    named = {record[7:31].decode(): record for record in wide_records(records)}
    for batch in split_batches(named):
        yield encode_body(store, batch)


def send(stack: stacks.Stack, source: str, bodies: list[bytes]) -> Spent:
    """Send all bodies, two at a time."""
    server = find_first(processes.find_postgres(stack.data))
    stack.execute("checkpoint")
    wal_before = stack.execute("select pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0]
    cpu_before, started = count_cpu(server), time.monotonic()

    def send_half(place: int) -> None:
        http = requests.Session()
        http.headers["Authorization"] = f"Bearer {stack.token('api_user')}"
        http.headers["Content-Type"] = "text/plain"
        for body in bodies[place::2]:
            http.post(f"{stack.url}/rpc/load_documents", data=body, timeout=300).raise_for_status()

    with ThreadPoolExecutor(2) as pool:
        for half in [pool.submit(send_half, place) for place in (0, 1)]:
            half.result()
    seconds, cpu_s = time.monotonic() - started, count_cpu(server) - cpu_before
    wal = stack.execute("select pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0] - wal_before
    return Spent(seconds, cpu_s, float(wal) / 1_000_000)
