"""The store goes away under a script at work, and comes back: right or red, and mended by the next run."""

from __future__ import annotations

import threading

import pytest

from dev.simulators.base import Request
from tests.days import Days
from tests.forks import Waits
from tests.world import SCRIPTS, WORK_ORDERS, Killer, Witness, World

PLACES = dict(zip(SCRIPTS, ("store", "dataset", "layer")))


class Outage:
    """Takes the database, or PostgREST, away when a script sends its nth request to it; it comes back by itself."""

    def __init__(self, world: World, what: str, at: int) -> None:
        self._world = world
        self._stop = {"database": world.stack.stop_database, "PostgREST": world.stack.stop_postgrest}[what]
        self._start = {"database": world.stack.start_database, "PostgREST": world.stack.start_postgrest}[what]
        self._at = at
        self._count = 0
        self.over = threading.Event()

    def note(self, request: Request) -> None:
        """To be called before a request is carried out."""
        self._count += 1
        if self._count == self._at:
            self._stop()
            threading.Thread(target=self._come_back, daemon=True).start()

    def _come_back(self) -> None:
        self._start()
        self._world.stack.wait_until_ready()
        self.over.set()


@pytest.mark.parametrize(("what", "patient"), [("database", True), ("PostgREST", True), ("database", False)])
@pytest.mark.parametrize(("script", "at"), [(SCRIPTS[0], 9), (SCRIPTS[1], 5), (SCRIPTS[2], 6)])
def test_outage__of_the_store(days: Days, script: str, at: int, what: str, patient: bool) -> None:
    """A patient script outlasts an outage, another one ends red; nothing is lost, the next run completes it."""
    world = days.world
    world.restore(days.yesterday if script == SCRIPTS[0] else days.loaded)
    world.restore_source(days.loaded)
    place = PLACES[script]
    should = getattr(days.today[WORK_ORDERS], place)
    outage = Outage(world, what, at)
    world.wire.on_request = outage.note
    try:
        done = world.start(script, "-c", WORK_ORDERS, waits=Waits(pace=0.3 if patient else 0.001)).wait()
    finally:
        world.wire.on_request = None
    assert outage.over.wait(60), done
    world.reconnect()
    if patient:
        assert done.code == 0, done
        assert getattr(world.places(WORK_ORDERS), place) == should
    else:
        assert done.code in (0, 1) and "Traceback" not in done.stderr, done
        assert done.code == 1 or getattr(world.places(WORK_ORDERS), place) == should
    witness = Witness(world, place, WORK_ORDERS, set(should))
    witness.look()
    again = Killer(world, witness.look).run(script, "-c", WORK_ORDERS)
    assert again.code == 0 and not witness.lost, again
    assert getattr(world.places(WORK_ORDERS), place) == should
    assert {run["status"] for run in world.ledger()} <= {"ok", "failed"}
