"""What does a publish cost, whatever receives it?

Socrata and ArcGIS Online are sinks that count what they get and keep the keys (`benchmarks/sinks.py`). Measured
are the publisher's own CPU time and peak memory. Beside it the plain way: pages by offset, json.loads, knackpy's
Record.format for every record, json.dumps, a thousand rows a request.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks.table import print_table
from benchmarks.world import Figures, World, open_world

# Seconds of own CPU for 50,000 rows (an eighth of the older way's 81 s to Socrata; the same for ArcGIS), MB.
BOUNDS = {"Socrata": (10.0, 150.0), "ArcGIS": (10.0, 200.0)}
SCRIPTS = {"Socrata": "records_to_socrata", "ArcGIS": "records_to_agol"}


def run(records: int, repeats: int) -> bool:
    """Print the table; whether the bounds were kept."""
    turns: list[dict[tuple[str, str], Figures]] = []
    with open_world(records, sinks=True) as world:
        world.run("records_to_postgrest", unlimited=True)
        for _ in range(repeats):
            turns.append(run_turn(world))
    rows, fits = [], True
    for place, (most_s, most_mb) in BOUNDS.items():
        for way in ("ours", "plain"):
            steps = [turn[place, way] for turn in turns]
            cpu_s = statistics.median(step.cpu_s for step in steps)
            peak_mb = max(step.peak_mb for step in steps)
            times = statistics.median(turn[place, way].cpu_s / turn[place, "ours"].cpu_s for turn in turns)
            seconds = statistics.median(step.seconds for step in steps)
            sinks_s = statistics.median(step.simulators_s for step in steps)
            kept = way == "plain" or (cpu_s <= most_s * records / 50_000 + 1 and peak_mb <= most_mb)
            fits = fits and kept
            verdict = "" if way == "plain" else "ok" if kept else "OUT OF BOUNDS"
            rows.append([f"{place}, {way}", seconds, cpu_s, times, sinks_s, peak_mb, verdict])
    head = [f"{records:,} rows", "seconds", "own CPU s", "times ours", "sink CPU s", "peak MB", ""]
    print_table(head, rows)
    return fits


def run_turn(world: World) -> dict[tuple[str, str], Figures]:
    """Both destinations in both ways, each from empty."""
    found = {}
    for place, script in SCRIPTS.items():
        world.order("reset")
        found[place, "ours"] = world.run(script)
        world.order("reset")
        rival = [sys.executable, "-m", "benchmarks.publish.plain", place]
        found[place, "plain"] = world.run_command(rival)
    return found
