"""Everything a script needs to be measured: the real store, simulators in their own process, figures."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.simulators import DATASET, SERVICE
from dev import stack as stacks
from dev.simulators.city import WIDE
from dev.simulators.city.wide import MODIFIED, PLACE
from dev.stack import processes

ROOT = Path(__file__).resolve().parents[1]
APP = "wide"
MB = 1024 * 1024
_CONFIG = {
    APP: {
        WIDE: {
            "description": "Records of 40 fields",
            "modified_date_field_id": MODIFIED,
            "location_fields": [PLACE],
            "socrata_resource_id": DATASET,
            "service_id": SERVICE,
            "layer_id": 0,
        }
    }
}


@dataclass(frozen=True)
class Figures:
    """What one command took. cpu_s, peak_mb: its own. The others: CPU seconds of the servers meanwhile."""

    summary: dict[str, Any]
    seconds: float
    cpu_s: float
    peak_mb: float
    simulators_s: float
    postgrest_s: float
    postgres_s: float

    def timed_by_itself(self) -> Figures:
        """The same with the time that the command says it took, its preparations left out."""
        return replace(self, seconds=self.summary["seconds"], cpu_s=self.summary["cpu_s"])


@dataclass
class World:
    """A store and simulators of `records` records; `run` starts scripts on them."""

    records: int
    stack: stacks.Stack
    env: dict[str, str]
    folder: Path
    simulators: subprocess.Popen[str]
    _servers: dict[str, list[psutil.Process]] = field(default_factory=dict)

    def run(self, script: str, *flags: str, unlimited: bool = False, **changed: str) -> Figures:
        """Run one of the services' scripts on the wide container, to its end.

        unlimited: without Knack's limit of ten requests a second.
        Raises: RuntimeError if it fails.
        """
        words = [str(ROOT / "services" / f"{script}.py"), "-a", APP, "-c", WIDE, *flags]
        if unlimited:
            words[:0] = ["-m", "benchmarks.unlimited"]
        return self.run_command([sys.executable, *words], **changed)

    def run_command(self, command: list[str], **changed: str) -> Figures:
        """Run any command whose last line of stdout is a JSON object. Raises: RuntimeError if it fails."""
        figures = self.folder / "figures"
        before = self._read_servers()
        done = subprocess.run(
            [sys.executable, "-S", "-E", str(ROOT / "benchmarks" / "timed.py"), str(figures), *command],
            env={**self.env, **changed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        after = self._read_servers()
        if done.returncode not in (0, 3):
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        seconds, cpu_s, peak = map(float, figures.read_text(encoding="ascii").split())
        spent = {name: after[name] - before[name] for name in after}
        return Figures(json.loads(done.stdout.strip().splitlines()[-1]), seconds, cpu_s, peak / MB, **spent)

    def order(self, order: str) -> dict[str, int]:
        """Give the simulators an order; how many requests each has had."""
        assert self.simulators.stdin is not None and self.simulators.stdout is not None
        self.simulators.stdin.write(order + "\n")
        self.simulators.stdin.flush()
        found: dict[str, int] = json.loads(self.simulators.stdout.readline())
        return found

    def empty_store(self) -> None:
        """No document and no run, as after set-up."""
        self.stack.execute(
            "truncate api.knack, api.runs, api.rejects, api.load_pages restart identity cascade"
        )
        self.stack.execute("checkpoint")

    def forget_runs(self) -> None:
        """No run, so that the next one takes everything for the first time; the documents stay."""
        self.stack.execute("truncate api.runs, api.rejects, api.load_pages restart identity cascade")

    def _read_servers(self) -> dict[str, float]:
        if not self._servers:
            self._servers = {
                "simulators_s": [psutil.Process(self.simulators.pid)],
                "postgrest_s": [find_first(processes.find_postgrest(self.stack.postgrest_config))],
                "postgres_s": [find_first(processes.find_postgres(self.stack.data))],
            }
        return {name: sum(map(count_cpu, held)) for name, held in self._servers.items()}


def find_first(found: Any) -> psutil.Process:
    """The oldest of a server's processes, whose children the others are."""
    return min((psutil.Process(getattr(one, "pid", one)) for one in found), key=lambda one: one.create_time())


def count_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process, of its children that live and of those that have ended."""
    times = process.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            theirs = child.cpu_times()
            total += theirs.user + theirs.system
    return total


@contextlib.contextmanager
def open_world(records: int, *, sinks: bool = False) -> Iterator[World]:
    """A world with an empty store and empty destinations, the app's metadata loaded.

    sinks: the destinations do next to nothing with what they get (`sinks.py`).
    """
    with tempfile.TemporaryDirectory(prefix="record-services-bench-") as name, stacks.run() as stack:
        folder = Path(name)
        (folder / "knack.py").write_text(f"CONFIG = {_CONFIG!r}\n", encoding="utf-8")
        simulators = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.simulators",
                str(records),
                name,
                *(["sinks"] if sinks else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        try:
            assert simulators.stdout is not None
            line = simulators.stdout.readline()
            if not line:
                raise RuntimeError("The simulators did not start; see above.")
            kept = {one: os.environ[one] for one in ("PATH", "HOME", "TMPDIR") if one in os.environ}
            env = {
                **kept,
                **stack.env(),
                **json.loads(line),
                "SERVICES_ENV": "prod",
                "SERVICES_CONFIG": str(folder),
                "LOG_LEVEL": "WARNING",
                "PYTHONPATH": str(ROOT),
            }
            world = World(records, stack, env, folder, simulators)
            world.run_command(
                [sys.executable, str(ROOT / "services" / "metadata_to_postgrest.py"), "-a", APP]
            )
            yield world
        finally:
            assert simulators.stdin is not None
            simulators.stdin.close()
            simulators.wait(timeout=60)
