"""Two schedulers start the same container, or one takes another's place: one writes at a time, none waits for ever."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time

import pytest

from dev.simulators.base import Request
from tests.days import Days
from tests.forks import Waits
from tests.world import SCRIPTS, WORK_ORDERS, World

ROUNDS = {"records_to_postgrest": 20, "records_to_socrata": 8, "records_to_agol": 8}


class Log:
    """Who wrote what, in order. A script is known by the sign-in it sends, which is its alone."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.writers: list[str] = []
        self._names: dict[str, str] = {}

    def note(self, request: Request) -> None:
        """Note a request that writes to a place; the ledger is not one."""
        is_write = (
            (request.method in ("POST", "PUT") and request.path.startswith("/resource/"))
            or request.path.endswith("/applyEdits")
            or (
                request.method == "POST"
                and request.path in ("/rpc/load_documents", "/load_pages", "/rpc/remove_documents")
            )
        )
        if is_write:
            self.writers.append(request.header("Authorization") or request.header("X-Esri-Authorization"))

    def count_turns(self) -> int:
        """How often the writer changed, the first one included."""
        return len(list(itertools.groupby(self.writers)))


def begin(days: Days, script: str) -> None:
    """As on the second day, before that script ran."""
    days.world.restore(days.yesterday if script == SCRIPTS[0] else days.loaded)
    days.world.restore_source(days.loaded)


def sign_in_as(world: World, number: int, script: str) -> dict[str, str]:
    """Variables that make one of several scripts known by its requests."""
    role = "api_user" if script == SCRIPTS[0] else "api_publisher"
    user, password = sorted(world.socrata.switches.logins.items())[number]
    return {
        "PGREST_JWT": world.stack.token(role, 3600 + number),
        "SOCRATA_USERNAME": user,
        "SOCRATA_PASSWORD": password,
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_two__started_together(days: Days, script: str) -> None:
    """Of two scripts started at once one waits for the other; their writes never mix, the result is one."""
    world = days.world
    place = dict(zip(SCRIPTS, ("store", "dataset", "layer")))[script]
    waited = 0
    for number in range(ROUNDS[script]):
        begin(days, script)
        before = len(world.ledger())
        log = Log(world)
        for simulator in world.simulators:
            simulator.on_request = log.note
        flags = [["-c", WORK_ORDERS], ["-c", WORK_ORDERS, "--since-last"]]
        try:
            children = [
                world.start(script, *flags[(number >> one) & 1], server=one, **sign_in_as(world, one, script))
                for one in (0, 1)
            ]
            done = [child.wait() for child in children]
        finally:
            for simulator in world.simulators:
                simulator.on_request = None
        words = f"round {number}: {done}"
        assert [one.code for one in done] == [0, 0], words
        assert 1 <= log.count_turns() <= 2, f"{log.count_turns()} turns; {words}"
        waited += any("waiting:" in one.stderr for one in done)
        runs = world.ledger()[before:]
        assert [run["status"] for run in runs] == ["ok", "ok"], words
        assert runs[0]["finished_at"] <= runs[1]["started_at"], words
        held = getattr(world.places(WORK_ORDERS), place)
        if script == SCRIPTS[0] and number & 3 == 3:
            assert {one: held[one] for one in days.worked[WORK_ORDERS]}.items() <= held.items(), words
        else:
            assert held == getattr(days.today[WORK_ORDERS], place), words
    assert waited > ROUNDS[script] / 4


class LateKiller:
    """Kills the first of two scripts at one of its requests, once the second was told to wait."""

    def __init__(self, at: int) -> None:
        self.first = 0
        self._at = at
        self._count = 0
        self._waits = threading.Event()

    def note(self, request: Request) -> None:
        """To be called when a request was carried out."""
        if request.path == "/rpc/start_run" and self.first:
            self._waits.set()
            return
        self._count += 1
        if self._count == self._at:
            assert self._waits.wait(20)
            os.kill(self.first, signal.SIGKILL)
            raise ConnectionAbortedError("the client is dead")


@pytest.mark.parametrize("script", SCRIPTS)
def test_two__the_waiting_one_takes_a_dead_ones_place(days: Days, script: str) -> None:
    """A script that waits goes on at once when the other one is killed, and brings everything."""
    world = days.world
    dice = random.Random(script)
    place = dict(zip(SCRIPTS, ("store", "dataset", "layer")))[script]
    for number in range(3):
        begin(days, script)
        killer = LateKiller(dice.randint(4, 12))
        for simulator in world.simulators:
            simulator.on_answer = killer.note
        try:
            child = world.start(script, "-c", WORK_ORDERS, server=0)
            while not any(run["status"] == "running" for run in world.ledger()):
                pass
            killer.first = child.pid
            done = world.start(script, "-c", WORK_ORDERS, server=1).wait()
            killed = child.wait()
        finally:
            for simulator in world.simulators:
                simulator.on_answer = None
        world.settle()
        assert (killed.code, done.code) == (-9, 0), (number, killed, done)
        assert "taking its place" in done.stderr
        assert getattr(world.places(WORK_ORDERS), place) == getattr(days.today[WORK_ORDERS], place), done


class Freezer:
    """Freezes a script when one of its requests was carried out; the answer waits for it."""

    def __init__(self, path: str, at: int = 1) -> None:
        self.pid = 0
        self.frozen = threading.Event()
        self._path = path
        self._left = at
        self._known = threading.Event()

    def know(self, pid: int) -> None:
        """Say which process it is about."""
        self.pid = pid
        self._known.set()

    def note(self, request: Request) -> None:
        """To be called when a request was carried out."""
        if self.frozen.is_set() or not request.path.endswith(self._path):
            return
        self._left -= 1
        if not self._left:
            assert self._known.wait(20)
            os.kill(self.pid, signal.SIGSTOP)
            self.frozen.set()


@pytest.mark.parametrize(
    ("script", "path", "at"),
    [
        ("records_to_postgrest", "/records", 1),
        ("records_to_postgrest", "/records", 2),
        ("records_to_postgrest", "/load_pages", 1),
        ("records_to_postgrest", "/rpc/missing_records", 1),
        ("records_to_socrata", "/knack", 1),
        ("records_to_socrata", "/resource/work-ordr.json", 2),
        ("records_to_agol", "/knack", 1),
        ("records_to_agol", "/query", 2),
    ],
)
def test_two__a_frozen_one_writes_nothing_over_the_others_work(
    days: Days, script: str, path: str, at: int
) -> None:
    """A script that was frozen until another took its place writes nothing more when it thaws, and says why."""
    world = days.world
    begin(days, script)
    edited = sorted(world.source(WORK_ORDERS))[0]
    freezer = Freezer(path, at)
    for simulator in world.simulators:
        simulator.on_answer = freezer.note
    try:
        frozen = world.start(script, "-c", WORK_ORDERS, waits=Waits(runs={"LEASE_S": 0.2}))
        freezer.know(frozen.pid)
        assert freezer.frozen.wait(20)
    finally:
        for simulator in world.simulators:
            simulator.on_answer = None
    try:
        # What it has read is old by now; its heartbeat too, as if a minute had gone by.
        world.edit(WORK_ORDERS, edited, "Edited while it was frozen")
        if script != SCRIPTS[0]:
            world.start("records_to_postgrest", "-c", WORK_ORDERS, server=1).wait()
        world.sql(
            "update api.runs set heartbeat_at = heartbeat_at - interval '61 s'"
            " where status = 'running' and script = %s",
            script,
        )
        done = world.start(script, "-c", WORK_ORDERS, server=1).wait()
        assert done.code == 0, done
        held = world.places(WORK_ORDERS)
        time.sleep(0.2)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    lost = frozen.wait()
    world.settle()
    assert lost.code == 1 and "was taken for dead" in lost.errors[0], lost
    assert world.places(WORK_ORDERS) == held
    assert held.store == world.source(WORK_ORDERS)
    assert [run["status"] for run in world.ledger() if run["script"] == script][-2:] == ["failed", "ok"]
