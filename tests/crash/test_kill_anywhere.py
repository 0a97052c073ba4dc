"""Every script, killed at every request: nothing wanted is ever out of sight, nobody lies, the next run mends it.

A script's requests are numbered in their order, whichever system they go to. For each number the script is
started from the same state and killed with SIGKILL, once before that request is carried out and once after
it was carried out but not answered; then it is started again and must bring everything to where an
undisturbed run brings it. What the servers hold after request n was carried out is what they hold before
request n + 1: the suite kills after each, and `make soak` before each too.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.days import Days
from tests.forks import Waits
from tests.world import SIGNALS, WORK_ORDERS, Kept, Killer, Places, Witness, World

SOAK = "SOAK_ROUNDS" in os.environ


@dataclass(frozen=True)
class Scenario:
    """One script from one state. place: where it writes; "" for the metadata.

    whole: it brings its place to today's state; an incremental load removes nothing.
    """

    script: str
    container: str
    flags: tuple[str, ...]
    begin: str
    place: str
    whole: bool = True
    prepare: Callable[[World], None] = field(default=lambda world: None)

    @property
    def words(self) -> tuple[str, ...]:
        """The flags as given."""
        return (*(("-c", self.container) if self.container else ()), *self.flags)


def _refuse_large_bodies(world: World) -> None:
    world.socrata.switches.max_body_bytes = 6_000


SCENARIOS = {
    "load": Scenario("records_to_postgrest", WORK_ORDERS, (), "yesterday", "store"),
    "load a view": Scenario("records_to_postgrest", SIGNALS, (), "yesterday", "store"),
    "load, first": Scenario("records_to_postgrest", WORK_ORDERS, (), "new", "store"),
    "load since last": Scenario(
        "records_to_postgrest", WORK_ORDERS, ("--since-last",), "yesterday", "store", whole=False
    ),
    "metadata": Scenario("metadata_to_postgrest", "", (), "yesterday", ""),
    "Socrata": Scenario("records_to_socrata", SIGNALS, (), "loaded", "dataset"),
    "Socrata in batches": Scenario(
        "records_to_socrata", SIGNALS, (), "loaded", "dataset", prepare=_refuse_large_bodies
    ),
    "Socrata since last": Scenario("records_to_socrata", WORK_ORDERS, ("--since-last",), "loaded", "dataset"),
    "ArcGIS": Scenario("records_to_agol", SIGNALS, (), "loaded", "layer"),
    "ArcGIS since last": Scenario("records_to_agol", WORK_ORDERS, ("--since-last",), "loaded", "layer"),
    "ArcGIS, first": Scenario("records_to_agol", WORK_ORDERS, (), "loaded, layer empty", "layer"),
}

# An add that comes late is the one that can double; the others are here as samples.
LATE = [name for name in SCENARIOS if name != "metadata"]
LATE = LATE if SOAK else ["load", "Socrata since last", "ArcGIS since last", "ArcGIS, first"]


def begin(days: Days, scenario: Scenario) -> None:
    """Put the world into the scenario's first state."""
    world = days.world
    kept: Kept = getattr(days, scenario.begin.partition(",")[0])
    world.restore(kept)
    if scenario.begin.endswith("layer empty"):
        empty_layer(world, scenario.container)
    if scenario.script == "metadata_to_postgrest":
        world.sql("update api.knack_metadata set metadata = '{\"application\": {}}'")
    world.socrata.switches.max_body_bytes = 250_000_000
    scenario.prepare(world)


def empty_layer(world: World, container: str) -> None:
    """As it was before the first publish."""
    from dev.simulators.agol.layer import LayerState
    from tests.world import LAYERS, SERVICE

    world.agol.restore(SERVICE, LAYERS[container], LayerState({}, 1))


def expect(days: Days, scenario: Scenario) -> Places:
    """What the places hold after an undisturbed run."""
    world = days.world
    begin(days, scenario)
    world.insist(scenario.script, *scenario.words)
    if not scenario.place:
        return Places({}, {}, {})
    expected = world.places(scenario.container)
    if scenario.whole:
        assert getattr(expected, scenario.place) == getattr(days.today[scenario.container], scenario.place)
    else:
        # A record whose connected record was renamed has no new date: only a full load brings that.
        source, old = world.source(scenario.container), days.old[scenario.container].store
        dated = {one: source[one] for one in days.worked[scenario.container]}
        assert {one: expected.store[one] for one in dated} == dated
        assert expected.store.keys() == old.keys() | source.keys() != source.keys()
    return expected


def check_ledger(world: World, since: int, right: bool) -> str:
    """No run that is dead says ok, unless everything was done; what the dead run says."""
    runs = world.ledger()[since:]
    assert len(runs) <= 1
    if not runs:
        return ""
    assert runs[0]["status"] in (("running", "ok") if right else ("running",)), runs[0]
    return str(runs[0]["status"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_kill__at_every_request(days: Days, name: str) -> None:
    """Killed anywhere, a script leaves the old state or a part of the new one, and the next run completes it."""
    scenario, world = SCENARIOS[name], days.world
    expected = expect(days, scenario)
    wanted = set(getattr(expected, scenario.place)) if scenario.place else set()
    points = 0
    number = 0
    alive = False
    while not alive:
        number += 1
        for after in (False, True) if SOAK or number == 1 else (True,):
            begin(days, scenario)
            before = len(world.ledger())
            witness = Witness(world, scenario.place, scenario.container, wanted)
            witness.look()
            killer = Killer(world, witness.look, number, after=after)
            where = f"{name}, request {number}, {'after' if after else 'before'}"
            done = killer.run(scenario.script, *scenario.words)
            alive = alive or not killer.killed
            assert done.code == (-9 if killer.killed else 0), (where, done)
            right = not scenario.place or world.places(scenario.container) == expected
            status = check_ledger(world, before, right)
            if killer.killed:
                # Nothing is under way any more.
                at_once = Waits(runs={"SETTLE_S": 0.0})
                again = Killer(world, witness.look).run(scenario.script, *scenario.words, waits=at_once)
                assert again.code == 0, (where, again)
            assert not witness.lost, (where, witness.lost)
            if scenario.place:
                assert world.places(scenario.container) == expected, where
            else:
                stored = world.sql("select metadata::text from api.knack_metadata")
                assert stored[0][0] == days.metadata, where
            ends = [run["status"] for run in world.ledger()[before:]]
            assert ends[-1] == "ok" and "running" not in ends, (where, ends)
            assert status != "running" or ends[0] == "failed", (where, ends)
            points += killer.killed
    assert points > 5


@pytest.mark.parametrize("name", LATE)
def test_kill__with_a_request_still_under_way(days: Days, name: str) -> None:
    """What a dead script sent last and is carried out after its death doubles and spoils nothing."""
    scenario, world = SCENARIOS[name], days.world
    expected = expect(days, scenario)
    for number in itertools.count(1, 1 if SOAK else 4):
        begin(days, scenario)
        witness = Witness(world, scenario.place, scenario.container, set(getattr(expected, scenario.place)))
        killer = Killer(world, witness.look, number, late_s=0.2)
        done = killer.run(scenario.script, *scenario.words)
        again = world.run(scenario.script, *scenario.words)
        world.settle()
        witness.look()
        where = f"{name}, request {number}"
        assert (again.code, done.code) == (0, -9 if killer.killed else 0), (where, done, again)
        assert not witness.lost, (where, witness.lost)
        assert world.places(scenario.container) == expected, where
        if not killer.killed:
            break


@pytest.mark.parametrize("name", SCENARIOS)
def test_stop__at_every_request(days: Days, name: str) -> None:
    """Told to stop anywhere, a script says so in the ledger, and the next run completes its work."""
    scenario, world = SCENARIOS[name], days.world
    expected = expect(days, scenario)
    wanted = set(getattr(expected, scenario.place)) if scenario.place else set()
    for number in itertools.count(1, 1 if SOAK else 3):
        begin(days, scenario)
        before = len(world.ledger())
        witness = Witness(world, scenario.place, scenario.container, wanted)
        killer = Killer(world, witness.look, number, number=signal.SIGTERM)
        where = f"{name}, request {number}"
        done = killer.run(scenario.script, *scenario.words)
        ends = [run["status"] for run in world.ledger()[before:]]
        if killer.killed and done.code == 1:
            assert done.summary["status"] == "stopped", (where, done)
            assert len(done.errors) == 1 and "Traceback" not in done.stderr, (where, done)
            assert ends in ([], ["stopped"], ["ok"]), (where, ends, done)
            assert ends != ["ok"] or not scenario.place or world.places(scenario.container) == expected
        else:
            # It was told so while it was ending.
            assert (done.code, done.summary["status"], ends) == (0, "ok", ["ok"]), (where, done)
        world.insist(scenario.script, *scenario.words)
        witness.look()
        assert not witness.lost, (where, witness.lost)
        if scenario.place:
            assert world.places(scenario.container) == expected, where
        if not killer.killed:
            assert number > 3
            break
