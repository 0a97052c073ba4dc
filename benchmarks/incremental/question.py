"""What does a run cost that finds nothing new?

Every script runs with --since-last after everything was loaded and published, as a scheduler does all day.
Shown beside it: what it takes to start Python at all, --help, the share that goes into importing modules
(python -X importtime), and how many requests each system gets.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

from benchmarks.counting import CountingProxy
from benchmarks.table import print_table
from benchmarks.world import APP, ROOT, Figures, World, open_world
from dev.simulators.city import WIDE

SCRIPTS = ("records_to_postgrest", "records_to_socrata", "records_to_agol")


def run(records: int, repeats: int) -> bool:
    """Print the tables; always True: seconds depend on the machine."""
    # What lies in the store does not matter here, as long as there is something.
    records = min(records, 10_000)
    repeats = max(repeats, 5)
    with open_world(records) as world:
        for script in SCRIPTS:
            world.run(script)
        rows = [measure_start(world, repeats)]
        rows += [row for script in SCRIPTS for row in measure_script(world, script, repeats)]
        print_table(["medians", "seconds", "CPU s", "imports s", "peak MB"], rows)
        print()
        counted = [[script, *count_requests(world, script).values()] for script in SCRIPTS]
        print_table(["requests", "PostgREST", "Knack", "Socrata", "ArcGIS"], counted)
    return True


def measure_start(world: World, repeats: int) -> list[Any]:
    """Python alone."""
    empty = [sys.executable, "-c", "print('{}')"]
    return ["python, nothing", *take_medians([world.run_command(empty) for _ in range(repeats)])]


def measure_script(world: World, script: str, repeats: int) -> list[list[Any]]:
    """--help, and a run with nothing new."""
    path = str(ROOT / "services" / f"{script}.py")
    helping = [sys.executable, "-c", HELP, path]
    incremental = [sys.executable, path, "-a", APP, "-c", WIDE, "--since-last"]
    rows = []
    for name, command in ((f"{script} --help", helping), (f"{script} --since-last", incremental)):
        row = [name, *take_medians([world.run_command(command) for _ in range(repeats)])]
        row[3] = statistics.median(read_imports(world, command) for _ in range(repeats))
        rows.append(row)
    return rows


# --help, with a last line of JSON as all commands here have.
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
sys.path[0] = sys.argv[0].rpartition("/")[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    print("{}")
"""


def take_medians(found: list[Figures]) -> list[Any]:
    """[seconds, CPU seconds, "", peak memory]."""
    return [
        statistics.median(one.seconds for one in found),
        statistics.median(one.cpu_s for one in found),
        "",
        statistics.median(one.peak_mb for one in found),
    ]


def read_imports(world: World, command: list[str]) -> float:
    """Seconds that a command spends in importing modules, as Python itself reports them."""
    done = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]],
        env=world.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:") and "|" in line]
    own = [line.removeprefix("import time:").split("|")[0].strip() for line in lines]
    return sum(int(text) for text in own if text.isdigit()) / 1e6


def count_requests(world: World, script: str) -> dict[str, int]:
    """Requests of one run with nothing new, by system."""
    before = world.order("requests")
    with CountingProxy(world.stack.url) as proxy:
        world.run(script, "--since-last", PGREST_ENDPOINT=proxy.url)
        store = len(proxy.requests)
    after = world.order("requests")
    return {"PostgREST": store, **{name: after[name] - before[name] for name in after}}
