"""How near to its limit is a full load?

The limit is what PostgREST and PostgreSQL take: the same documents, encoded beforehand, on two connections.
Measured beside it: the load, the load again with nothing changed, and the plain way, a page at a time with
json.loads and json.dumps. All of them are run in turn, the whole turn `repeats` times; medians are shown.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks.table import print_table
from benchmarks.world import Figures, World, open_world

RIVALS = ("limit", "plain")
WAYS = ("limit", "load", "load, unchanged", "plain")


def run(records: int, repeats: int) -> bool:
    """Print the table; always True: what is aimed at depends on the machine."""
    turns: list[dict[str, Figures]] = []
    with open_world(records) as world:
        for _ in range(repeats):
            turns.append(run_turn(world))
            print("  ".join(f"{way}: {turns[-1][way].seconds:.1f} s" for way in WAYS), flush=True)
    print()
    head = [
        f"{records:,} records",
        "seconds",
        "of limit",
        "own CPU s",
        "simulators",
        "PostgREST",
        "PostgreSQL",
    ]
    rows = []
    for way in WAYS:
        steps = [turn[way] for turn in turns]
        rows.append(
            [
                way,
                statistics.median(step.seconds for step in steps),
                statistics.median(turn[way].seconds / turn["limit"].seconds for turn in turns),
                statistics.median(step.cpu_s for step in steps),
                statistics.median(step.simulators_s for step in steps),
                statistics.median(step.postgrest_s for step in steps),
                statistics.median(step.postgres_s for step in steps),
                statistics.median(step.peak_mb for step in steps) if way not in RIVALS else "",
            ]
        )
    print_table([*head, "peak MB"], rows)
    again = statistics.median(turn["load, unchanged"].seconds / turn["load"].seconds for turn in turns)
    print(f"\nunchanged / first load: {again:.2f}")
    return True


def run_turn(world: World) -> dict[str, Figures]:
    """Each way once, each from an empty store (but for the load with nothing changed)."""
    found: dict[str, Figures] = {}
    for way in WAYS:
        if way != "load, unchanged":
            world.empty_store()
        if way in RIVALS:
            rival = [sys.executable, "-m", "benchmarks.load.rivals", way, str(world.records)]
            found[way] = world.run_command(rival).timed_by_itself()
        else:
            found[way] = world.run("records_to_postgrest")
    return found
