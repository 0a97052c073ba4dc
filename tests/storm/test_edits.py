"""People go on working in Knack while a script reads: in the end nothing alive is missing, nothing dead is left."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
import requests

from dev.simulators.base import Request
from tests.days import Days
from tests.world import CONTAINERS, DATASETS, LAYERS, SCRIPTS, SERVICE, WORK_ORDERS, World


class Crowd:
    """Edits, adds and deletes records at every page that a script asks Knack for."""

    def __init__(self, world: World, container: str, seed: int) -> None:
        self.world = world
        self.container = container
        self.dice = random.Random(seed)
        self.deleted = 0
        self.touched: set[str] = set()
        self.pages = 0

    def work(self, request: Request) -> None:
        """A little of everything, if this is a page."""
        if not request.path.endswith("/records"):
            return
        self.pages += 1
        for _ in range(self.dice.randint(0, 3)):
            ids = sorted(self.world.source(self.container))
            chosen = self.dice.choice(ids)
            what = self.dice.random()
            if what < 0.4:
                self.world.edit(self.container, chosen, f"Edited at page {self.pages}")
                self.touched.add(chosen)
            elif what < 0.7:
                self.touched.add(self.world.add(self.container, chosen, f"Added at page {self.pages}"))
            elif self.deleted < 6:
                self.world.delete(self.container, chosen)
                self.deleted += 1


def check_destinations(days: Days, container: str) -> None:
    """After a publish of what changed, both destinations hold what the store holds."""
    world = days.world
    for script in SCRIPTS[1:]:
        world.insist(script, "-c", container, "--since-last")
    held = world.places(container)
    assert held.dataset.keys() == held.layer.keys() == held.store.keys()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("seed", range(4))
def test_load__while_people_work(days: Days, container: str, seed: int) -> None:
    """A full load amid edits loses nothing that stays; the next loads bring the rest and take the dead away."""
    world = days.world
    world.restore(days.yesterday)
    world.restore_source(days.yesterday)
    before = world.source(container)
    crowd = Crowd(world, container, seed)
    world.knack.on_request = crowd.work
    try:
        done = world.run("records_to_postgrest", "-c", container)
    finally:
        world.knack.on_request = None
    assert done.code == 0, done
    assert crowd.pages >= 2
    source, stored = world.source(container), world.documents(container)
    stayed = {one: record for one, record in before.items() if source.get(one) == record}
    assert {one: stored.get(one) for one in stayed} == stayed
    assert stored.keys() >= before.keys() & source.keys()

    world.insist("records_to_postgrest", "-c", container, "--since-last")
    stored = world.documents(container)
    assert {one: stored.get(one) for one in source} == source
    check_destinations(days, container)

    world.insist("records_to_postgrest", "-c", container)
    assert world.documents(container) == source
    check_destinations(days, container)
    assert world.places(container).layer.keys() == source.keys()


@pytest.mark.parametrize("seed", range(2))
def test_load__since_last_while_people_work(days: Days, seed: int) -> None:
    """Incremental loads amid edits, one after the other: when the work is over, one more brings what is left."""
    world = days.world
    world.restore(days.yesterday)
    world.restore_source(days.yesterday)
    crowd = Crowd(world, WORK_ORDERS, seed)
    world.knack.on_request = crowd.work
    try:
        for _ in range(4):
            world.insist("records_to_postgrest", "-c", WORK_ORDERS, "--since-last")
    finally:
        world.knack.on_request = None
    world.insist("records_to_postgrest", "-c", WORK_ORDERS, "--since-last")
    source, stored = world.source(WORK_ORDERS), world.documents(WORK_ORDERS)
    assert crowd.touched & source.keys()
    assert {one: stored.get(one) for one in source} == source
    check_destinations(days, WORK_ORDERS)


@pytest.mark.parametrize("script", SCRIPTS[1:])
@pytest.mark.parametrize("seed", range(2))
def test_publish__while_the_store_changes(days: Days, script: str, seed: int) -> None:
    """Documents that change or go while a publisher reads them are brought by its next incremental run."""
    world = days.world
    world.restore(days.loaded)
    world.restore_source(days.loaded)
    dice = random.Random(seed)
    changed = 0

    one_at_a_time = threading.Lock()

    def change(request: Request) -> None:
        nonlocal changed
        if request.method != "GET" or request.path != "/knack":
            return
        with one_at_a_time:
            if changed < 6:
                changed += 1
                ids = sorted(world.source(WORK_ORDERS))
                world.edit(WORK_ORDERS, dice.choice(ids), f"Edited {changed}")
                world.delete(WORK_ORDERS, dice.choice(ids[1:])) if changed % 3 == 0 else None
                # The load that brings this to the store does not pass here: it is not to call for more.
                past = {"server": 1, "PGREST_ENDPOINT": world.stack.url}
                world.insist("records_to_postgrest", "-c", WORK_ORDERS, **past)

    world.wire.on_request = change
    try:
        done = world.run(script, "-c", WORK_ORDERS)
    finally:
        world.wire.on_request = None
    assert done.code == 0 and changed > 2, done
    world.insist(script, "-c", WORK_ORDERS, "--since-last")
    after_changes = world.places(WORK_ORDERS)
    assert after_changes.store == world.source(WORK_ORDERS)
    world.insist(script, "-c", WORK_ORDERS)
    assert world.places(WORK_ORDERS) == after_changes
    place = {"records_to_socrata": after_changes.dataset, "records_to_agol": after_changes.layer}[script]
    assert place.keys() == after_changes.store.keys()


def count_store(world: World) -> int:
    """As a reader of the store's API does."""
    answer = requests.get(
        f"{world.stack.url}/knack",
        params={
            "container_id": f"eq.{WORK_ORDERS}",
            "deleted_at": "is.null",
            "select": "record_id",
            "limit": "1",
        },
        headers={
            "Authorization": f"Bearer {world.stack.token('api_publisher')}",
            "Prefer": "count=exact",
        },
        timeout=10,
    )
    return int(answer.headers["Content-Range"].rpartition("/")[2])


def count_dataset(world: World) -> int:
    """As a reader of the portal does."""
    answer = requests.get(
        f"{world.socrata.url}/resource/{DATASETS[WORK_ORDERS]}.json",
        params={"$select": "count(*)"},
        headers={"X-App-Token": world.socrata.app_token},
        timeout=10,
    )
    return int(answer.json()[0]["count"])


def count_layer(world: World) -> int:
    """As a reader of the map does."""
    answer = requests.post(
        world.agol.layer_url(SERVICE, LAYERS[WORK_ORDERS]) + "/query",
        data={"f": "json", "where": "1=1", "returnCountOnly": "true"},
        timeout=10,
    )
    return int(answer.json()["count"])


@pytest.mark.parametrize("body_bytes", [6_000, 250_000_000])
def test_replace__a_reader_never_sees_fewer(days: Days, body_bytes: int) -> None:
    """Readers that count every 10 ms while everything is replaced see what was there, or more; never fewer."""
    world = days.world
    world.restore(days.yesterday)
    world.restore_source(days.yesterday)
    world.socrata.switches.max_body_bytes = body_bytes
    world.agol.services[SERVICE].public = True
    ids = sorted(world.source(WORK_ORDERS))
    for record_id in ids[::2]:
        world.edit(WORK_ORDERS, record_id, "Edited")
    for record_id in ids[1:6:2]:
        world.delete(WORK_ORDERS, record_id)
        world.add(WORK_ORDERS, ids[0], "Added")
    counts: dict[str, list[int]] = {"store": [], "dataset": [], "layer": []}
    over = threading.Event()

    def read(place: str, count: Callable[[World], int]) -> None:
        while not over.wait(0.01):
            counts[place].append(count(world))

    readers = [
        threading.Thread(target=read, args=(place, count))
        for place, count in (("store", count_store), ("dataset", count_dataset), ("layer", count_layer))
    ]
    for reader in readers:
        reader.start()
    try:
        for script in SCRIPTS:
            # Slow enough for many looks.
            for simulator in world.simulators:
                simulator.faults.add("slow", seconds=0.02, times=None)
            world.insist(script, "-c", WORK_ORDERS)
    finally:
        over.set()
        for reader in readers:
            reader.join()
        world.agol.services[SERVICE].public = False
        for simulator in world.simulators:
            simulator.faults.clear()
        world.socrata.switches.max_body_bytes = 250_000_000
    assert world.places(WORK_ORDERS).layer.keys() == world.source(WORK_ORDERS).keys()
    assert len(world.source(WORK_ORDERS)) == len(ids)
    for place, seen in counts.items():
        assert len(seen) > 20 and min(seen) >= len(ids), (place, len(seen), min(seen))
