"""The outside world for tests of whole scripts: a small city in simulators, scripts as child processes.

quick a `way` whose scripts are forked: they start in milliseconds
way   a `Way`: simulators of Knack, Socrata and ArcGIS Online, the real store (empty), a configuration folder,
      and `way.run("records_to_postgrest", "-c", "object_31")` which starts a script as Airflow would
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dev import stack as stacks
from dev.demo import destinations
from dev.simulators.agol import AgolSimulator
from dev.simulators.city import City, build_city
from dev.simulators.knack import KnackSimulator
from dev.simulators.socrata import SocrataSimulator
from tests.forks import ForkServer

ROOT = Path(__file__).resolve().parents[2]
APP = "traffic-operations"
SIGNALS, WORK_ORDERS = "view_200", "object_31"
DATASETS = {SIGNALS: "sign-als1", WORK_ORDERS: "work-ordr"}
LAYERS = {SIGNALS: 0, WORK_ORDERS: 1}
SERVICE = "5161676e616c73000000000000000001"


@dataclass
class Done:
    """A script that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of stdout."""
        return json.loads(self.stdout.strip().splitlines()[-1])

    @property
    def errors(self) -> list[str]:
        """Lines of the log that say ERROR."""
        return [line for line in self.stderr.splitlines() if " ERROR " in line]


@dataclass
class Way:
    """Everything a script can reach."""

    stack: stacks.Stack
    city: City
    knack: KnackSimulator
    socrata: SocrataSimulator
    agol: AgolSimulator
    config: Path
    env: dict[str, str] = field(default_factory=dict)
    # Where scripts are forked instead of started anew; see `quick`.
    forks: ForkServer | None = None

    def start(
        self, script: str, *flags: str, module: bool = False, **changed: str | None
    ) -> subprocess.Popen[str]:
        """Start a script; variables given by name replace those of the environment (None takes one out)."""
        words = ["-m", f"services.{script}"] if module else [f"services/{script}.py"]
        env = {name: value for name, value in {**self.env, **changed}.items() if value is not None}
        return subprocess.Popen(
            [sys.executable, *words, *flags],
            env=env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, script: str, *flags: str, app: str = APP, module: bool = False, **changed: str | None
    ) -> Done:
        """Run a script to its end."""
        if self.forks is not None:
            ended = self.forks.start(script, "-a", app, *flags, **{**self.env, **changed}).wait()
            return Done(ended.code, ended.stdout, ended.stderr)
        process = self.start(script, "-a", app, *flags, module=module, **changed)
        try:
            stdout, stderr = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        return Done(process.returncode, stdout, stderr)

    def load(self, container: str, *flags: str) -> Done:
        """Load a container and insist that it went well."""
        done = self.run("records_to_postgrest", "-c", container, *flags)
        assert done.code == 0, done.stderr
        return done

    def documents(self, container: str, deleted: bool = False) -> dict[str, bytes]:
        """{record id: bytes} of what the store holds alive (or, deleted=True, as tombstones)."""
        rows = self.stack.execute(
            "select record_id, record::text from api.knack where container_id = %s"
            f" and deleted_at is {'not ' if deleted else ''}null",
            (container,),
        )
        return {record_id: record.encode() for record_id, record in rows}

    def times(self, container: str) -> dict[str, Any]:
        """{record id: updated_at}."""
        return dict(
            self.stack.execute(
                "select record_id, updated_at from api.knack where container_id = %s", (container,)
            )
        )

    def dataset(self, container: str) -> dict[str, dict[str, Any]]:
        """{id: row} as the dataset truly holds them."""
        return {row["id"]: row for row in self.socrata.rows(DATASETS[container])}

    def features(self, container: str) -> dict[str, dict[str, Any]]:
        """{id: feature} as the layer truly holds them; fails if an id stands twice."""
        found = self.agol.features(SERVICE, LAYERS[container], 4326)
        by_id = {feature["attributes"]["id"]: feature for feature in found}
        assert len(by_id) == len(found)
        return by_id

    def source(self, container: str) -> dict[str, bytes]:
        """{record id: bytes} as Knack serves them."""
        return self.knack.record_bytes(container)

    def count_rows(self) -> dict[str, int]:
        """How many rows each table of the store has."""
        tables = ("knack", "knack_metadata", "runs", "rejects", "load_pages")
        return {table: self.stack.execute(f"select count(*) from api.{table}")[0][0] for table in tables}

    def runs(self) -> list[dict[str, Any]]:
        """The ledger, oldest first."""
        rows = self.stack.execute("select row_to_json(r)::text from api.runs r order by started_at")
        return [msgspec.json.decode(row[0]) for row in rows]


@pytest.fixture(scope="session")
def city() -> City:
    """A small city; tests get simulators of their own over it."""
    return build_city(accounts=6, locations=40, signals=50, work_orders=160)


@pytest.fixture
def way(clean_store: stacks.Stack, store_env: dict[str, str], city: City, tmp_path: Path) -> Iterator[Way]:
    """Simulators with data, an empty store, empty destinations."""
    config = tmp_path / "config"
    config.mkdir()
    for name in ("knack.py", "field_maps.py"):
        shutil.copyfile(ROOT / "dev" / "demo" / "config" / name, config / name)
    with (
        KnackSimulator(city.metadata, city.records, rate_limit=None) as knack,
        SocrataSimulator() as socrata,
        AgolSimulator() as agol,
    ):
        destinations.create(city.metadata, socrata, agol)
        env = {
            **store_env,
            "KNACK_APP_ID": knack.app_id,
            "KNACK_API_KEY": knack.api_key,
            "KNACK_API_URL": knack.url,
            "SOCRATA_URL": socrata.url,
            "SOCRATA_USERNAME": socrata.username,
            "SOCRATA_PASSWORD": socrata.password,
            "SOCRATA_APP_TOKEN": socrata.app_token,
            "AGOL_URL": agol.url,
            "AGOL_USERNAME": agol.username,
            "AGOL_PASSWORD": agol.password,
            "SERVICES_ENV": "prod",
            "SERVICES_CONFIG": str(config),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        }
        yield Way(clean_store, city, knack, socrata, agol, config, env)


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """A server of scripts for all tests of the session."""
    with ForkServer({"PATH": os.environ["PATH"]}) as running:
        yield running


@pytest.fixture
def quick(way: Way, forks: ForkServer) -> Way:
    """A `Way` whose scripts start quickly; a script at a time."""
    way.forks = forks
    return way
