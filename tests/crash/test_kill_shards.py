"""A shard and the finishing call, killed at every request: run again, they leave what undisturbed ones leave."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dev import stack as stacks
from tests.conftest import empty_tables
from tests.world import WORK_ORDERS, Kept, Killer, Witness, World, open_world

SOAK = "SOAK_ROUNDS" in os.environ
LOAD = ("records_to_postgrest", "-c", WORK_ORDERS)
SHARD, FINISH = (*LOAD, "--shard", "2/2"), (*LOAD, "--finish", "2")


@dataclass(repr=False)
class Halves:
    """A day's work is to be loaded in two shards. half: the first has come; both: both have.

    left: what an undisturbed second shard and finishing call leave.
    """

    world: World
    half: Kept
    both: Kept
    left: list[tuple[Any, ...]]


def read_store(world: World) -> list[tuple[Any, ...]]:
    """Every document, tombstones too."""
    return world.sql("select record_id, record::text, deleted_at is null from api.knack order by 1")


def read_watermarks(world: World) -> list[str]:
    """Those that whole loads left, oldest first."""
    return [run["watermark"] for run in world.ledger()[1:] if run["watermark"]]


@pytest.fixture(scope="module")
def halves(stack: stacks.Stack, store_env: dict[str, str]) -> Iterator[Halves]:
    """A world in which the first of two shards has come."""
    empty_tables(stack)
    with open_world(stack, store_env) as world:
        world.knack.switches.max_rows = 10
        world.insist("metadata_to_postgrest")
        world.insist(*LOAD)
        ids = sorted(world.source(WORK_ORDERS))
        for record_id in ids[1::6]:
            world.edit(WORK_ORDERS, record_id, f"Edited {record_id[-4:]}")
        for record_id in ids[2::8]:
            world.delete(WORK_ORDERS, record_id)
        world.add(WORK_ORDERS, ids[0], "Added")
        world.insist(*LOAD, "--shard", "1/2")
        half = world.snapshot("half")
        world.insist(*SHARD)
        both = world.snapshot("both")
        world.insist(*FINISH)
        assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)
        left = read_store(world)
        assert sum(not alive for *_, alive in left) == 5
        yield Halves(world, half, both, left)


def check_end(halves: Halves, where: object, closed: int) -> None:
    """All is as it should be, and whole loads moved the watermark so often."""
    world = halves.world
    assert read_store(world) == halves.left, where
    marks = read_watermarks(world)
    # Not later than the first shard began: what changed after that comes again.
    first = [run for run in world.ledger() if run["shard"] == 1][0]
    assert len(marks) == closed and marks[-1][:19] <= first["finished_at"][:19], (where, marks)
    assert not world.sql("select from api.rejects"), where


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kill_shard__at_every_request(halves: Halves, number: signal.Signals) -> None:
    """A shard that ends anywhere before its end counts as none; run again, and finished, all is there."""
    world = halves.world
    wanted = set(world.source(WORK_ORDERS))
    for at in itertools.count(1, 1 if SOAK or number == signal.SIGKILL else 5):
        world.restore(halves.half)
        witness = Witness(world, "store", WORK_ORDERS, wanted)
        witness.look()
        killer = Killer(world, witness.look, at, after=number == signal.SIGKILL, number=number)
        done = killer.run(*SHARD)
        where = (at, number, done)
        assert done.code in ((0, -9, 1) if killer.killed else (0,)), where
        shard = world.ledger()[-1]
        assert shard["watermark"] is None, where
        whole = shard["shard"] == 2 and shard["status"] == "ok"
        if not whole:
            if at % 3 == 0:
                early = world.run(*FINISH)
                assert (early.code, len(early.errors)) == (1, 1), (where, early)
                assert "1 of 2 shards have not come whole: 2 (" in early.errors[0], (where, early)
                assert not world.sql("select from api.knack where deleted_at is not null"), where
            world.insist(*SHARD)
        world.insist(*FINISH)
        witness.look()
        check_end(halves, where, 2)
        assert not witness.lost, (where, witness.lost)
        if not killer.killed:
            assert at > 8
            break


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kill_finish__at_every_request(halves: Halves, number: signal.Signals) -> None:
    """A finishing call that ends anywhere has removed what is gone or nothing; run again, it ends well."""
    world = halves.world
    wanted = set(world.source(WORK_ORDERS))
    for at in itertools.count(1, 1 if SOAK or number == signal.SIGKILL else 5):
        world.restore(halves.both)
        witness = Witness(world, "store", WORK_ORDERS, wanted)
        witness.look()
        killer = Killer(world, witness.look, at, after=number == signal.SIGKILL, number=number)
        done = killer.run(*FINISH)
        where = (at, number, done)
        assert done.code in ((0, -9, 1) if killer.killed else (0,)), where
        dead = world.sql("select count(*) from api.knack where deleted_at is not null")[0][0]
        assert dead in (0, 5), where
        again = world.run(*FINISH)
        assert again.code == 0, (where, again)
        witness.look()
        assert not witness.lost, (where, witness.lost)
        check_end(halves, where, 2)
        if not killer.killed:
            assert at > 10
            break
