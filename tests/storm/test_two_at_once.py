"""Two schedulers start the same container, or one takes another's place: one writes at a time, none waits for ever."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading

import pytest

from dev.simulators.base import Request
from tests.days import Days
from tests.world import SCRIPTS, WORK_ORDERS, World

ROUNDS = 20


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
                and request.path in ("/knack", "/load_pages", "/rpc/remove_documents")
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
    for number in range(ROUNDS):
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
    assert waited > ROUNDS / 4


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
    for number in range(5):
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
