"""Weeks of work, storms, kills and stops, one run after the other: no run that says ok lies, the weekend mends all.

Each week is made by its seed alone: `SOAK_FIRST=<seed> SOAK_ROUNDS=1 pytest tests/storm/test_weeks.py` repeats one.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import msgspec
import pytest

from tests.days import Days
from tests.forks import Done, Waits
from tests.storm.weather import draw_weather
from tests.world import CONTAINERS, OBJECTS, SCRIPTS, Killer, Witness, World

FIRST = int(os.environ.get("SOAK_FIRST", "0"))
WEEKS = max(1, int(os.environ.get("SOAK_ROUNDS", "200")) // 40)
STEPS = 12
PLACES = dict(zip(SCRIPTS, ("store", "dataset", "layer")))
NAMES = {container: title.lower().replace(" ", "_") for container, (_, title) in OBJECTS.items()}


class Week:
    """What people did since the week began, and what each place should hold of it."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.touched: dict[str, set[str]] = {container: set() for container in CONTAINERS}
        self.diary: list[str] = []

    def work(self, number: int) -> None:
        """Some edits, now and then a new record or one less."""
        for container in CONTAINERS:
            for _ in range(self.dice.randint(0, 3)):
                chosen = self.dice.choice(sorted(self.world.source(container)))
                what = self.dice.random()
                if what < 0.6:
                    self.world.edit(container, chosen, f"Edited on day {number}")
                    self.touched[container].add(chosen)
                elif what < 0.85:
                    self.touched[container].add(self.world.add(container, chosen, f"Added on day {number}"))
                elif len(self.world.source(container)) > 15:
                    self.world.delete(container, chosen)

    def run(self, number: int) -> None:
        """One run in whatever weather, perhaps killed or stopped; if it says that it is done, it is."""
        dice, world = self.dice, self.world
        script, container = dice.choice(SCRIPTS), dice.choice(CONTAINERS)
        since_last = dice.random() < 0.7
        flags = ["-c", container, *(["--since-last"] if since_last else []), "--max-delete-pct", "60"]
        weather = draw_weather(dice, script)
        if dice.random() < 0.6:
            weather.brew(world, dice.getrandbits(32))
        death = dice.choice([None, signal.SIGKILL, signal.SIGTERM])
        wanted = set(world.source(container)) if script == SCRIPTS[0] else world.see_store(container)
        witness = Witness(world, PLACES[script], container, wanted)
        witness.look()
        killer = Killer(
            world,
            witness.look,
            dice.randint(1, 25) if death else None,
            after=dice.random() < 0.5,
            number=death or signal.SIGKILL,
        )
        done = killer.run(script, *flags, waits=weather.waits, RETRY_SECONDS=dice.choice(["1", "5"]))
        for simulator in world.simulators:
            simulator.faults.clear()
        time.sleep(0.06 if weather.waits.timeout_s > 1 else 0.3)
        self.diary.append(
            f"{number}: {script} {' '.join(flags)}; {death if killer.killed else 'lives'}; {weather}\n{done.stderr}"
        )
        assert not witness.lost, self.tell(f"{witness.lost} went out of sight")
        assert done.code in (0, 1, 3, -9) and "Traceback" not in done.stderr, self.tell(str(done.code))
        if done.code == 0:
            self.check(script, container, since_last)

    def check(self, script: str, container: str, since_last: bool) -> None:
        """What a run that ended well has brought is there."""
        world = self.world
        store = world.documents(container)
        if script == SCRIPTS[0]:
            source = world.source(container)
            brought = self.touched[container] & source.keys() if since_last else source.keys()
            assert {one: store.get(one) for one in brought} == {one: source[one] for one in brought}, (
                self.tell()
            )
            assert since_last or store.keys() == source.keys(), self.tell()
            return
        held = getattr(world.places(container), PLACES[script])
        assert self.name(container, held) == self.name(container, store), self.tell()

    def name(self, container: str, held: dict[str, Any]) -> dict[str, Any]:
        """{record id: its name, as a place has it}."""
        key, column = world_key(self.world, container), NAMES[container]
        names = {}
        for record_id, content in held.items():
            row = msgspec.json.decode(content) if isinstance(content, bytes) else content
            names[record_id] = row.get(key, row.get("attributes", row).get(column)) or None
        return names

    def tell(self, what: str = "a run that said ok has not brought everything") -> str:
        """What went wrong, and the diary of the week."""
        return "\n".join([what, *self.diary])


def world_key(world: World, container: str) -> str:
    """The field that holds a record's name."""
    return world.city.key(*OBJECTS[container])


def insist(week: Week, script: str, *flags: str) -> Done:
    """A run under a clear sky, which must end well."""
    done = week.world.start(script, *flags, waits=Waits()).wait()
    week.diary.append(f"weekend: {script} {' '.join(flags)}\n{done.stderr}")
    assert done.code == 0, week.tell(str(done.code))
    return done


@pytest.mark.parametrize("seed", range(FIRST, FIRST + WEEKS))
def test_week__of_trouble(days: Days, seed: int) -> None:
    """Whatever happened in the week, one load and one publish of what changed make everything equal."""
    world = days.world
    world.restore(days.yesterday)
    world.restore_source(days.yesterday)
    world.socrata.switches.max_body_bytes = 250_000_000
    week = Week(world, random.Random(seed))
    for number in range(STEPS):
        week.work(number)
        week.run(number)
    for container in CONTAINERS:
        insist(week, SCRIPTS[0], "-c", container, "--max-delete-pct", "60")
        assert world.documents(container) == world.source(container), week.tell("the store differs")
        for script in SCRIPTS[1:]:
            insist(week, script, "-c", container, "--since-last", "--max-delete-pct", "60")
        held = world.places(container)
        names = week.name(container, held.store)
        assert all(names.values()) and len(set(names.values())) > 5
        assert week.name(container, held.dataset) == names, week.tell("the dataset differs")
        assert week.name(container, held.layer) == names, week.tell("the layer differs")
    assert {run["status"] for run in world.ledger()} <= {"ok", "failed", "stopped", "partial"}, week.tell()
