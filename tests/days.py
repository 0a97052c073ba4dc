"""Two days of a small world: everything loaded and published on the first, then a day's work at the source.

days   (module) a `Days`: the world, snapshots to begin from, and what each place should hold in the end
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dev import stack as stacks
from tests.conftest import empty_tables
from tests.world import CONTAINERS, SCRIPTS, Kept, Places, World, open_world


@dataclass(repr=False)
class Days:
    """Snapshots to begin from. `loaded`: today's records are in the store, the destinations are yesterday's.

    worked: {container: ids of the records that were edited or added, and so have a new modified date}.
    """

    world: World
    new: Kept
    yesterday: Kept
    loaded: Kept
    old: dict[str, Places]
    today: dict[str, Places]
    worked: dict[str, set[str]]
    metadata: str


def do_a_days_work(world: World) -> dict[str, set[str]]:
    """Edits, deletes and adds in both containers; the ids of what was edited or added."""
    worked: dict[str, set[str]] = {}
    for container in CONTAINERS:
        ids = sorted(world.source(container))
        worked[container] = set(ids[1::4])
        for record_id in ids[1::4]:
            world.edit(container, record_id, f"Edited {record_id[-4:]}")
        for record_id in ids[2 : len(ids) // 2 : 4]:
            world.delete(container, record_id)
        worked[container] |= {world.add(container, ids[0], f"Added {number}") for number in range(3)}
    return worked


@pytest.fixture(scope="module")
def days(stack: stacks.Stack, store_env: dict[str, str]) -> Iterator[Days]:
    """A world over two days."""
    empty_tables(stack)
    with open_world(stack, store_env) as world:
        world.insist("metadata_to_postgrest")
        new = world.snapshot("new")
        world.bring_up()
        yesterday = world.snapshot("yesterday")
        old = {container: world.places(container) for container in CONTAINERS}
        metadata = world.sql("select metadata::text from api.knack_metadata")[0][0]
        worked = do_a_days_work(world)
        for container in CONTAINERS:
            world.insist("records_to_postgrest", "-c", container)
        loaded = world.snapshot("loaded")
        for container in CONTAINERS:
            for script in SCRIPTS[1:]:
                world.insist(script, "-c", container)
        today = {container: world.places(container) for container in CONTAINERS}
        for container in CONTAINERS:
            ids = world.source(container).keys()
            assert today[container].store == world.source(container)
            assert today[container].dataset.keys() == today[container].layer.keys() == ids
            assert len(ids - old[container].store.keys()) == 3 and len(old[container].store.keys() - ids) > 1
        yield Days(world, new, yesterday, loaded, old, today, worked, metadata)
