"""What does an ODK form with repeats cost?

20,000 submissions, each of three people with two documents, loaded from a simulated Central: memory, requests, time;
then the same again, an incremental run with nothing new, and one with ten new submissions. A fifth of the form
is loaded first, for the memory. Times include Central's, whose CPU is shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.counting import CountingProxy
from benchmarks.odk.central import FORM
from benchmarks.table import print_table
from benchmarks.world import ROOT, Figures, World
from dev import stack as stacks

APP = "survey"
LIMIT_MB, MOST_SECONDS, MOST_REQUESTS = 120.0, 0.5, 3


def run(records: int, repeats: int) -> bool:
    """Print the table; whether memory, requests and time kept their bounds."""
    submissions = min(records, 20_000)
    steps: list[tuple[str, Figures, int, int]] = []
    for number in (submissions // 5, submissions):
        with open_form(number) as world:
            steps.append((f"load of {number:,}", *load(world)))
            if number == submissions:
                steps.append(("the same again", *load(world)))
                nothing = [load(world, "--since-last") for _ in range(max(5, repeats))]
                nothing.sort(key=lambda one: one[0].seconds)
                steps.append(("incremental, nothing new", *nothing[len(nothing) // 2]))
                world.order("add")
                steps.append(("incremental, ten new", *load(world, "--since-last")))
    rows = []
    for name, step, central, store in steps:
        changed = step.summary["inserted"] + step.summary["updated"]
        rows.append(
            [name, changed, step.seconds, step.cpu_s, step.simulators_s, central, store, step.peak_mb]
        )
    head = ["changed", "seconds", "own CPU s", "Central CPU s", "to Central", "to the store", "peak MB"]
    print_table(["", *head], rows)
    small, large, quiet = steps[0][1], steps[1][1], steps[3]
    flat = large.peak_mb <= LIMIT_MB
    quick = quiet[1].seconds <= MOST_SECONDS and quiet[2] <= MOST_REQUESTS
    print(
        f"\npeak of all / of a fifth: {large.peak_mb / small.peak_mb:.2f}{'' if flat else '  OUT OF BOUNDS'}"
        f"\nnothing new: {quiet[1].seconds:.2f} s, {quiet[2]} requests to Central{'' if quick else '  OUT OF BOUNDS'}"
    )
    return flat and quick


def load(world: World, *flags: str) -> tuple[Figures, int, int]:
    """(what a load took, requests to Central, requests to the store)."""
    before = world.order("requests")["Central"]
    command = [sys.executable, str(ROOT / "services" / "records_to_postgrest.py"), "-a", APP, "-c", FORM]
    step = world.run_command([*command, *flags])
    central = world.order("requests")["Central"] - before
    store = 0
    if flags:
        with CountingProxy(world.stack.url) as proxy:
            world.run_command([*command, *flags], PGREST_ENDPOINT=proxy.url)
            store = len(proxy.requests)
    return step, central, store


@contextlib.contextmanager
def open_form(submissions: int) -> Iterator[World]:
    """An empty store and a form of so many submissions."""
    with tempfile.TemporaryDirectory(prefix="record-services-bench-") as name, stacks.run() as stack:
        folder = Path(name)
        (folder / "odk.py").write_text(f"CONFIG = {{{APP!r}: {{{FORM!r}: {{}}}}}}\n", encoding="utf-8")
        central = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.odk.central", str(submissions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert central.stdin is not None and central.stdout is not None
        try:
            kept = {one: os.environ[one] for one in ("PATH", "HOME", "TMPDIR") if one in os.environ}
            env = {
                **kept,
                **stack.env(),
                **json.loads(central.stdout.readline()),
                "SERVICES_ENV": "prod",
                "SERVICES_CONFIG": str(folder),
                "LOG_LEVEL": "WARNING",
                "PYTHONPATH": str(ROOT),
            }
            yield World(submissions, stack, env, folder, central)
        finally:
            central.stdin.close()
            central.wait(timeout=60)
