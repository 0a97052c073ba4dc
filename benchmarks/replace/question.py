"""Does a full replace of very many records stay flat, and do its readers never see fewer?

A load of 50,000 records of 7.3 KB, one of N, and then a replace of these N, of which a tenth has changed and 15 have
gone, while a reader counts what is alive, pauses for 10 ms and counts again. Required: 120 MB at most, no tenth more
for N than for 50,000, and never a count below what is left in the end. A million take half an hour and 25 GB of disk.
"""

from __future__ import annotations

import threading
import time

from benchmarks.table import print_table
from benchmarks.world import Figures, World, open_world

LIMIT_MB, GROWTH = 120.0, 1.10
ALIVE = "select count(*) from api.knack where deleted_at is null"
PAUSE_S = 0.01


class Reader:
    """Counts again and again in a thread of its own, while the block lasts."""

    def __init__(self, world: World) -> None:
        import psycopg

        self.counts: list[int] = []
        self._over = threading.Event()
        self._connection = psycopg.connect(world.stack.database_url, autocommit=True)
        self._thread = threading.Thread(target=self._count)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._connection.close()

    def _count(self) -> None:
        while not self._over.is_set():
            found = self._connection.execute(ALIVE).fetchone()
            assert found is not None
            self.counts.append(int(found[0]))
            time.sleep(PAUSE_S)


def run(records: int, repeats: int) -> bool:
    """Print the table; whether all that is required held."""
    few = min(50_000, max(1000, records // 5))
    with open_world(few) as world:
        steps = {f"load of {few:,}": load(world)}
    with open_world(records) as world:
        steps[f"load of {records:,}"] = load(world)
        before = world.stack.execute(ALIVE)[0][0]
        world.order("edit")
        world.forget_runs()
        with Reader(world) as reader:
            steps[f"replace of {records:,}"] = load(world)
        after = world.stack.execute(ALIVE)[0][0]
    least_mb = next(iter(steps.values())).peak_mb
    rows = []
    for name, step in steps.items():
        said = step.summary
        counts = [said[kind] for kind in ("inserted", "updated", "unchanged", "deleted")]
        rows.append([name, step.seconds, step.cpu_s, *counts, step.peak_mb, step.peak_mb / least_mb])
    print_table(
        ["", "seconds", "own CPU s", "new", "changed", "unchanged", "gone", "peak MB", "of the first"], rows
    )
    print(
        f"\nalive before: {before:,}; least seen in {len(reader.counts):,} counts: {min(reader.counts):,}; "
        f"after: {after:,}"
    )
    flat = all(
        step.peak_mb <= LIMIT_MB and (few < 50_000 or step.peak_mb <= GROWTH * least_mb)
        for step in steps.values()
    )
    if not flat:
        print("Memory: OUT OF BOUNDS")
    if min(reader.counts) < min(before, after):
        print("Readers: SAW FEWER")
    return flat and min(reader.counts) >= min(before, after)


def load(world: World) -> Figures:
    """A full load."""
    return world.run("records_to_postgrest", unlimited=True)
