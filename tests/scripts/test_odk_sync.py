"""A form kept in step: once, at an interval, through an outage, and told to stop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dev import stack as stacks
from dev.simulators.odk import OdkSimulator
from dev.simulators.survey import Survey, build_survey
from tests.scripts.conftest import ROOT, Done

FLAGS = ("-a", "town", "-c", "household_trees", "-e", "prod")


@dataclass
class Field:
    """A survey at a simulated Central, the real store, and scripts as child processes."""

    stack: stacks.Stack
    central: OdkSimulator
    survey: Survey
    env: dict[str, str] = field(default_factory=dict)

    def start(self, script: str, *flags: str) -> subprocess.Popen[str]:
        """Start a script."""
        return subprocess.Popen(
            [sys.executable, f"services/{script}.py", *flags],
            env=self.env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *flags: str) -> Done:
        """Run a script to its end."""
        process = self.start(script, *flags)
        stdout, stderr = process.communicate(timeout=60)
        return Done(process.returncode, stdout, stderr)

    def stored(self) -> set[str]:
        """The instance ids of what is alive in the store."""
        rows = self.stack.execute("select record ->> '__id' from api.odk where deleted_at is null")
        return {row[0] for row in rows}

    def await_count(self, count: int) -> None:
        """Wait until the store holds so many submissions."""
        deadline = time.monotonic() + 30
        while len(self.stored()) != count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.stored()) == count


@pytest.fixture
def town(clean_store: stacks.Stack, store_env: dict[str, str], tmp_path: Path) -> Iterator[Field]:
    """A survey of a few households, not loaded yet."""
    (tmp_path / "odk.py").write_text('CONFIG = {"town": {"household_trees": {"project_id": "1"}}}', "utf-8")
    survey = build_survey(households=12, photos=False)
    with OdkSimulator() as central:
        survey.plant(central)
        env = {
            **store_env,
            "ODK_BASE_URL": central.url,
            "ODATA_USER": central.viewer,
            "ODATA_PASS": central.viewer_password,
            "SERVICES_CONFIG": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "RETRY_SECONDS": "1",
        }
        yield Field(clean_store, central, survey, env)


def test_odk_sync__once(town: Field) -> None:
    """Without an interval one round brings metadata and records, and the summary adds up its steps."""
    done = town.run("odk_sync", *FLAGS)
    assert (done.code, done.summary["status"]) == (0, "ok"), done.stderr
    assert done.summary["inserted"] == 12 + 1
    assert town.stored() == {visit.instance_id for visit in town.survey.visits}
    assert town.stack.execute("select count(*) from api.odk_metadata") == [(1,)]
    again = town.run("odk_sync", *FLAGS).summary
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0)


def test_odk_sync__loops_survives_an_outage_and_stops(town: Field) -> None:
    """At an interval it follows changes, goes on through a Central that is down, and ends cleanly on SIGTERM."""
    process = town.start("odk_sync", *FLAGS, "--interval", "1")
    try:
        town.await_count(12)
        gone = town.survey.visits[0]
        town.central.delete(town.survey.project, town.survey.form_id, gone.instance_id)
        town.await_count(11)
        down = town.central.faults.add("503", times=None)
        failed = "select count(*) from api.runs where status = 'failed' and script = 'records_to_postgrest'"
        deadline = time.monotonic() + 30
        while town.stack.execute(failed) == [(0,)] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert down.fired > 0
        town.central.faults.clear()
        town.central.delete(town.survey.project, town.survey.form_id, town.survey.visits[1].instance_id)
        town.await_count(10)
    finally:
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(stdout.strip().splitlines()[-1])["status"] == "stopped"
    assert "next round at" in stderr and "stopped after the step" in stderr
    assert town.stack.execute("select count(*) from api.runs where status = 'running'") == [(0,)]


def test_odk_sync__a_knack_app_is_refused(town: Field, tmp_path: Path) -> None:
    """A container of Knack is no form: one line, exit 2, nothing sent."""
    (tmp_path / "knack.py").write_text('CONFIG = {"office": {"object_1": {}}}', "utf-8")
    done = town.run("odk_sync", "-a", "office", "-c", "object_1", "-e", "prod")
    assert done.code == 2
    assert "odk only" in done.errors[0]
    assert town.central.count() == 0
