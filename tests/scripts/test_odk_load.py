"""The ODK scripts as a scheduler runs them: whole, wrong, killed at every request."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
import pytest

from dev import stack as stacks
from dev.simulators.base import Request, Simulator
from dev.simulators.odk import OdkSimulator
from dev.simulators.postgrest import PostgrestWire
from tests.forks import Child, Done, ForkServer
from tests.survey import FIELDS, FORM, START

ROOT = Path(__file__).resolve().parents[2]
BRANCHES = [{"length": 2.5, "leaf": [{"colour": "green"}]}, {"length": 1.0}]
TABLES = ("runs", "rejects", "load_pages", "odk_metadata", "odk_loads", "odk")
SOAK = "SOAK_ROUNDS" in os.environ
CONFIG = """
CONFIG = {
    "park": {
        "trees": {"project_id": 1},
        "branches": {"project_id": 1, "form_id": "trees", "repeat": "branch"},
        "missing": {"project_id": 1},
    }
}
"""


@dataclass
class Park:
    """A Central with one form, a wire to the store, scripts as forks."""

    database: psycopg.Connection[Any]
    wire: PostgrestWire
    central: OdkSimulator
    forks: ForkServer
    env: dict[str, str] = field(default_factory=dict)

    @property
    def simulators(self) -> tuple[Simulator, ...]:
        """All that scripts send requests to."""
        return self.wire, self.central

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Ask the database behind the wire."""
        cursor = self.database.execute(query, params or None)
        return cursor.fetchall() if cursor.description else []

    def start(self, script: str, *flags: str, **changed: str | None) -> Child:
        """Start a script."""
        return self.forks.start(script, "-a", "park", *flags, **changed)

    def run(self, script: str, *flags: str, **changed: str | None) -> Done:
        """Run a script to its end."""
        return self.start(script, *flags, **changed).wait()

    def add(self, species: str, **more: Any) -> str:
        """A submission a minute later."""
        self.central.clock.advance(60)
        values = {"species": species, **more.pop("values", {})}
        return self.central.add_submission(1, FORM, values, **more)

    def documents(self, deleted: bool = False) -> dict[str, bytes]:
        """{key: bytes} of what is alive in the store (or a tombstone)."""
        rows = self.sql(
            "select record_id, record::text from api.odk where container_id = %s"
            f" and deleted_at is {'not ' if deleted else ''}null",
            FORM,
        )
        return {record_id: record.encode() for record_id, record in rows}

    def places(self) -> tuple[Any, ...]:
        """All that the runs should leave behind."""
        return (
            self.documents(),
            self.documents(deleted=True),
            self.sql("select metadata::text from api.odk_metadata"),
            self.sql("select digest, deleted::text, looked_until, checked from api.odk_loads"),
            self.sql("select record_id, reason from api.rejects where closed_at is null order by 1"),
        )

    def keep(self) -> None:
        """Keep what the store holds now."""
        self.wire.wait_until_idle()
        self.sql("drop schema if exists kept cascade; create schema kept")
        for table in TABLES:
            self.sql(f"create table kept.{table} as table api.{table}")

    def put_back(self) -> None:
        """Put the store back to what was kept, times and all."""
        self.wire.wait_until_idle()
        deletes = "".join(f"delete from api.{table};" for table in TABLES)
        inserts = "".join(
            f"insert into api.{table} overriding system value select * from kept.{table};"
            for table in reversed(TABLES)
        )
        self.sql(f"begin; set local session_replication_role = replica; {deletes} {inserts} commit")

    def ledger(self) -> list[dict[str, Any]]:
        """The runs, oldest first."""
        rows = self.sql("select row_to_json(r)::text from api.runs r order by started_at")
        return [msgspec.json.decode(row[0]) for row in rows]


@pytest.fixture
def park(clean_store: stacks.Stack, store_env: dict[str, str], tmp_path: Path) -> Iterator[Park]:
    """A form with a few submissions, an empty store."""
    (tmp_path / "odk.py").write_text(CONFIG, encoding="utf-8")
    with (
        psycopg.connect(clean_store.database_url, host=str(clean_store.sockets), autocommit=True) as database,
        PostgrestWire(clean_store.url, max_rows=50) as wire,
        OdkSimulator() as central,
    ):
        central.clock.set(START)
        central.create_form(central.create_project("Park"), FORM, FIELDS, title="Trees of the park")
        env = {
            **store_env,
            "PGREST_ENDPOINT": wire.url,
            "ODK_BASE_URL": central.url,
            "ODATA_USER": central.viewer,
            "ODATA_PASS": central.viewer_password,
            "SERVICES_ENV": "prod",
            "SERVICES_CONFIG": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        }
        with ForkServer(env) as forks:
            park = Park(database, wire, central, forks, env)
            for number in range(8):
                park.add(f"tree {number}", values={"UUID": f"u{number}" if number % 2 else None})
            park.add("oak", values={"branch": BRANCHES, "photo": "a.jpg"})
            central.clock.advance(86_400)
            yield park
        database.execute("drop schema if exists kept cascade")


# -- whole runs --------------------------------------------------------------------------------------------


def test_scripts__a_form_from_nothing(park: Park) -> None:
    """Metadata, all records, then what changed: exit 0, counts in the summary, one ledger row each."""
    done = park.run("metadata_to_postgrest", "-c", FORM)
    assert (done.code, done.summary["inserted"]) == (0, 1), done
    done = park.run("metadata_to_postgrest", "-c", FORM)
    assert (done.code, done.summary["unchanged"]) == (0, 1), done
    done = park.run("records_to_postgrest", "-c", FORM)
    assert (done.code, done.summary["read"], done.summary["inserted"]) == (0, 9, 9), done
    park.central.clock.advance(3600)
    park.add("elm")
    done = park.run("records_to_postgrest", "-c", FORM, "--since-last")
    assert (done.code, done.summary["inserted"], done.summary["deleted"]) == (0, 1, 0), done
    assert done.summary["since"] == "2026-03-02T07:59:00+00:00"
    assert [run["status"] for run in park.ledger()] == ["ok"] * 4
    assert park.ledger()[-1]["destination"] == f"store:odk/127.0.0.1:{park.central.port}/1/{FORM}"
    done = park.run("records_to_postgrest", "-c", FORM, "--since-last")
    assert "nothing to do" in done.stderr


def test_metadata__every_form_of_an_app(park: Park) -> None:
    """Without -c all forms of the app are loaded; one that is missing is told and does not stop the others."""
    done = park.run("metadata_to_postgrest")
    assert done.code == 2
    assert "no form 'missing'" in done.stderr
    assert park.sql("select container_id from api.odk_metadata") == [(FORM,)]


def test_load__conflict_exits_3(park: Park) -> None:
    """A submission with a key that is taken: exit 3, the reject is there, everything else is loaded."""
    park.run("records_to_postgrest", "-c", FORM)
    second = park.add("again", values={"UUID": "u1"})
    park.add("after it")
    done = park.run("records_to_postgrest", "-c", FORM, "--since-last")
    assert (done.code, done.summary["status"]) == (3, "partial")
    assert (done.summary["inserted"], done.summary["rejected"]) == (1, 1)
    rejects = park.sql("select record_id, reason from api.rejects")
    assert rejects[0][0] == second and rejects[0][1].startswith("conflict")


# -- what is wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "changed", "words"),
    [
        ("branches", {}, "stands for the repeat 'branch', which is loaded with its form"),
        ("tree", {}, "nearest: trees"),
        ("missing", {}, "no form 'missing'"),
        (FORM, {"ODK_BASE_URL": None, "ODATA_PASS": None}, "missing: ODK_BASE_URL, ODATA_PASS"),
        (FORM, {"ODK_BASE_URL": "odk.example.org"}, "ODK_BASE_URL must be a URL"),
    ],
)
def test_load__wrong_settings_exit_2(
    park: Park, container: str, changed: dict[str, str | None], words: str
) -> None:
    """What is wrong with flags, configuration or variables is one line, exit 2."""
    done = park.run("records_to_postgrest", "-c", container, **changed)
    assert done.code == 2
    assert len(done.errors) == 1 and words in done.errors[0], done.stderr
    assert park.documents() == {}


def test_load__wrong_password_exits_1(park: Park) -> None:
    """A refused sign-in fails the run; the password stands nowhere."""
    done = park.run("records_to_postgrest", "-c", FORM, ODATA_PASS="wrong-secret")
    assert done.code == 1
    assert len(done.errors) == 1 and "check ODATA_USER and ODATA_PASS" in done.errors[0]
    assert "wrong-secret" not in done.stderr + done.stdout + json.dumps(park.ledger())
    assert [run["status"] for run in park.ledger()] == ["failed"]


# -- memory ------------------------------------------------------------------------------------------------


def test_load__memory_is_flat(park: Park) -> None:
    """A form of 22 MB is loaded in a fraction of that memory above what a start takes."""
    wide = [{"length": 1.0, "leaf": [{"colour": "x" * 300} for _ in range(20)]} for _ in range(3)]
    for number in range(1000):
        park.central.clock.advance(1)
        park.central.add_submission(1, FORM, {"species": f"tree {number}", "branch": wide})

    def measure() -> int:
        process = subprocess.Popen(
            [sys.executable, "services/records_to_postgrest.py", "-a", "park", "-c", FORM],
            cwd=ROOT,
            env=park.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        peak, watched = 0, psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.005)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        return peak

    assert measure() < 100_000_000
    assert len(park.documents()) == 1009


# -- killed and stopped --------------------------------------------------------------------------------------


def work(park: Park) -> None:
    """A day's work at Central: new ones, edits, another key, deletes, restores, late media, a key that is taken."""
    ids = {json.loads(record)["species"]: json.loads(record)["__id"] for record in park.documents().values()}
    park.add("new", values={"branch": BRANCHES})
    park.add("again", values={"UUID": "u3"})
    central = park.central
    central.edit_submission(1, FORM, ids["tree 0"], {"species": "great tree 0"})
    central.edit_submission(1, FORM, ids["tree 5"], {"species": "tree 5", "UUID": "u50"})
    central.delete(1, FORM, ids["tree 7"])
    central.put_attachment(1, FORM, ids["oak"], "a.jpg", b"x")
    central.clock.advance(86_400)


def restore(park: Park) -> None:
    """As `work`, and a submission restored that was a tombstone, another one purged."""
    ids = {json.loads(record)["species"]: json.loads(record)["__id"] for record in park.documents().values()}
    for name in ("tree 2", "tree 4"):
        park.central.delete(1, FORM, ids[name])
    park.central.clock.advance(86_400)
    assert park.run("records_to_postgrest", "-c", FORM, "--since-last").code == 0
    park.keep()
    work(park)
    park.central.restore(1, FORM, ids["tree 2"])
    park.central.purge(1, FORM, ids["tree 4"])
    park.central.delete(1, FORM, ids["tree 6"])
    park.central.purge(1, FORM, ids["tree 6"])


def publish(park: Park) -> None:
    """A new version of the form, beside the day's work."""
    work(park)
    park.central.publish_version(1, FORM, [*FIELDS, ("age", "int")])


def begin_anew(park: Park) -> None:
    """Nothing is stored yet."""
    park.sql("".join(f"delete from api.{table};" for table in TABLES))
    park.keep()


class Killer:
    """Counts the requests of a script, looks at every boundary, and sends it a signal at one of them.

    at: the number of that request; None lets the script live. after: when it was carried out and is not answered
    yet, instead of before.
    """

    def __init__(
        self,
        park: Park,
        look: Callable[[], None],
        at: int | None = None,
        after: bool = True,
        sent: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.park, self.look, self.at, self.after, self.sent = park, look, at, after, sent
        self.killed = False
        self._count = 0
        self._numbers: dict[int, int] = {}
        self._lock = threading.Lock()
        self._pid = 0
        self._known = threading.Event()

    def run(self, script: str, *flags: str) -> Done:
        """Run a script with this killer behind it."""
        for simulator in self.park.simulators:
            simulator.on_request, simulator.on_answer = self._before, self._done
        try:
            child = self.park.start(script, *flags)
            self._pid = child.pid
            self._known.set()
            done = child.wait()
            self.park.wire.wait_until_idle()
            self.look()
            return done
        finally:
            for simulator in self.park.simulators:
                simulator.on_request = simulator.on_answer = None

    def _before(self, request: Request) -> None:
        with self._lock:
            self._count += 1
            number = self._numbers[id(request)] = self._count
        if number == self.at and not self.after:
            self._kill()
            if self.sent == signal.SIGKILL:
                raise ConnectionAbortedError("the client is dead")

    def _done(self, request: Request) -> None:
        self.look()
        with self._lock:
            number = self._numbers.pop(id(request), 0)
        if number == self.at and self.after:
            self._kill()

    def _kill(self) -> None:
        self._known.wait(10)
        self.killed = True
        os.kill(self._pid, self.sent)


@dataclass(frozen=True)
class Scenario:
    """A script from one state."""

    flags: tuple[str, ...]
    change: Callable[[Park], None]
    script: str = "records_to_postgrest"
    code: int = 3
    # Every how many requests it is killed; `make soak` takes each.
    step: int = 3


SCENARIOS = {
    "first": Scenario((), begin_anew, code=0),
    "full": Scenario((), restore),
    "since last": Scenario(("--since-last",), restore, step=1),
    "new version": Scenario(("--since-last",), publish),
    "metadata": Scenario((), publish, "metadata_to_postgrest", 0),
}


@pytest.fixture
def scenario(park: Park, request: pytest.FixtureRequest) -> Iterator[Scenario]:
    """The state from which a script is started; `park.put_back` makes it again."""
    found = SCENARIOS[request.param]
    flags = ("--max-delete-pct", "60", "--allow-empty")
    assert park.run("metadata_to_postgrest", "-c", FORM).code == 0
    assert park.run("records_to_postgrest", "-c", FORM).code == 0
    park.keep()
    found.change(park)
    own = flags if found.script == "records_to_postgrest" else ()
    yield replace(found, flags=("-c", FORM, *found.flags, *own))


def expect(park: Park, scenario: Scenario) -> tuple[Any, ...]:
    """What an undisturbed run leaves."""
    done = park.run(scenario.script, *scenario.flags)
    assert done.code == scenario.code, done
    return park.places()


@pytest.mark.parametrize("scenario", SCENARIOS, indirect=True)
def test_kill__at_every_request(park: Park, scenario: Scenario) -> None:
    """Killed anywhere, the next run brings everything to where an undisturbed run brings it; nothing is hidden."""
    park.put_back()
    before = set(park.documents())
    expected = expect(park, scenario)
    wanted = before & set(expected[0])
    lost: list[set[str]] = []

    def look() -> None:
        missing = wanted - set(park.documents())
        if missing:
            lost.append(missing)

    alive = False
    points = 0
    for number in itertools.count(1, 1 if SOAK else scenario.step):
        for after in (False, True) if number == 1 else (True,):
            park.put_back()
            killer = Killer(park, look, number, after)
            done = killer.run(scenario.script, *scenario.flags)
            assert done.code == (-9 if killer.killed else scenario.code), (number, done)
            alive = alive or not killer.killed
            points += killer.killed
            if killer.killed:
                again = Killer(park, look).run(scenario.script, *scenario.flags)
                assert again.code == scenario.code, (number, again)
            assert park.places() == expected, number
            assert not lost, (number, lost)
            assert "running" not in [run["status"] for run in park.ledger()]
        if alive:
            break
    assert points * scenario.step > 5


@pytest.mark.parametrize("scenario", ["since last"], indirect=True)
def test_stop__at_every_request(park: Park, scenario: Scenario) -> None:
    """Told to stop anywhere, the run says so in the ledger, and the next one completes its work."""
    park.put_back()
    expected = expect(park, scenario)
    for number in itertools.count(1, 1 if SOAK else 2):
        park.put_back()
        killer = Killer(park, lambda: None, number, sent=signal.SIGTERM)
        done = killer.run(scenario.script, *scenario.flags)
        assert "Traceback" not in done.stderr, (number, done)
        if killer.killed and done.code == 1:
            assert done.summary["status"] == "stopped", (number, done)
        assert park.run(scenario.script, *scenario.flags).code == scenario.code
        assert park.places() == expected, number
        if not killer.killed:
            break
    assert number > 5
