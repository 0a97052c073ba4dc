"""How near to its limit is a full load?

The limit is what PostgREST and PostgreSQL take: the same documents, encoded beforehand, on two connections.
Beside it: COPY of the same rows, the load, the load again with nothing changed, and the plain way, a page at a
time with json.loads and json.dumps. "fetch" reads Knack's pages and throws them away: the server of pages is
no bottleneck while that is far quicker than the load. Knack's limit of ten requests a second is lifted, but
for "load, ten a second". All of them in turn, `repeats` times; medians are shown.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks.load.rivals import RIVALS
from benchmarks.table import print_table
from benchmarks.world import Figures, World, open_world

KNACKS_PACE = "load, ten a second"
WAYS = ("limit", "load", "load, unchanged", "copy", "named", "plain", KNACKS_PACE, "fetch")
# Of the limit; of the load's time in plain's; of the first load.
MOST_OF_LIMIT, LEAST_PLAIN, MOST_UNCHANGED = 1.25, 4.0, 0.8


def run(records: int, repeats: int) -> bool:
    """Print the table; whether the ratios held."""
    turns: list[dict[str, Figures]] = []
    with open_world(records) as world:
        for _ in range(repeats):
            turns.append(run_turn(world))
            print("  ".join(f"{way}: {turns[-1][way].seconds:.1f} s" for way in WAYS), flush=True)
    print()
    head = ["seconds", "of limit", "own CPU s", "simulators", "PostgREST", "PostgreSQL", "peak MB"]
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
                statistics.median(step.peak_mb for step in steps) if way not in ("limit", "copy") else "",
            ]
        )
    print_table([f"{records:,} records", *head], rows)
    print()
    return all(
        [
            judge(turns, "load", "limit", most=MOST_OF_LIMIT),
            judge(turns, "plain", "load", least=LEAST_PLAIN),
            judge(turns, "load, unchanged", "load", most=MOST_UNCHANGED),
        ]
    )


def judge(
    turns: list[dict[str, Figures]], one: str, other: str, *, least: float = 0.0, most: float = float("inf")
) -> bool:
    """Print the ratio of two ways' seconds, the median of all turns', and whether it is within bounds."""
    ratio = statistics.median(turn[one].seconds / turn[other].seconds for turn in turns)
    wanted = f"at least {least:g}" if least else f"at most {most:g}"
    held = least <= ratio <= most
    print(f"{one} / {other}: {ratio:.2f} ({wanted}){'' if held else '  OUT OF BOUNDS'}")
    return held


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
            found[way] = world.run("records_to_postgrest", unlimited=way != KNACKS_PACE)
    return found
