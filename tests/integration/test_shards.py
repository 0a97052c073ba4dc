"""A container loaded by several processes at once, and closed by one: the same as one process alone leaves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dev import stack as stacks
from dev.simulators.base import Answer, Request
from tests.conftest import empty_tables
from tests.forks import Child, Done, Waits
from tests.world import SIGNALS, WORK_ORDERS, Kept, World, open_world

LOAD = ("records_to_postgrest", "-c", WORK_ORDERS)
NUMBER, TITLE = "field_300", "field_301"
# A run that waits for another one gives up soon; one whose answers are held back waits for them.
IMPATIENT = Waits(runs={"WAIT_FOR_OTHER_S": 0.3})
PATIENT = Waits(timeout_s=60.0)


@pytest.fixture(scope="module")
def small(stack: stacks.Stack, store_env: dict[str, str]) -> Iterator[tuple[World, Kept]]:
    """A world with 60 work orders in pages of six, its metadata stored and nothing else; that state."""
    empty_tables(stack)
    with open_world(stack, store_env, work_orders=60) as world:
        world.knack.switches.max_rows = 6
        world.insist("metadata_to_postgrest")
        yield world, world.snapshot("shards")


@pytest.fixture
def world(small: tuple[World, Kept]) -> World:
    """That world as it was at first."""
    world, kept = small
    world.restore_source(kept)
    world.restore(kept)
    return world


def run_shard(world: World, number: int, shards: int = 3, *flags: str, **more: Any) -> Done:
    """Run one shard to its end, which must be a good one."""
    done = world.start(*LOAD, "--shard", f"{number}/{shards}", *flags, **more).wait()
    assert done.code == 0, done
    return done


def run_all(world: World, shards: int = 3, *flags: str) -> list[Done]:
    """Run all shards at the same time."""
    children = [
        world.start(*LOAD, "--shard", f"{number}/{shards}", *flags, server=number - 1)
        for number in range(1, shards + 1)
    ]
    done = [child.wait() for child in children]
    assert [one.code for one in done] == [0] * shards, done
    return done


def finish(world: World, shards: int = 3, *flags: str, waits: Waits | None = None) -> Done:
    """Run the finishing call."""
    return world.start(*LOAD, "--finish", str(shards), *flags, waits=waits).wait()


def refuse(done: Done, words: str, code: int = 1) -> None:
    """Insist that a run ended with this code and one line that holds these words."""
    assert done.code == code, done
    assert len(done.errors) == 1 and words in done.errors[0], done.stderr


def do_work(world: World) -> list[str]:
    """Edits, deletes and an add at the source; the ids that were deleted."""
    ids = sorted(world.source(WORK_ORDERS))
    for record_id in ids[3::9]:
        world.edit(WORK_ORDERS, record_id, f"Edited {record_id[-4:]}")
    for record_id in ids[4::9]:
        world.delete(WORK_ORDERS, record_id)
    world.add(WORK_ORDERS, ids[0], "Added")
    return ids[4::9]


def find_dead(world: World) -> list[str]:
    """Ids of the tombstones."""
    found = world.sql(
        "select record_id from api.knack where container_id = %s and deleted_at is not null", WORK_ORDERS
    )
    return sorted(row[0] for row in found)


def find_watermarks(world: World) -> list[str]:
    """Of the container's runs, those that moved it."""
    return [run["watermark"] for run in world.ledger()[1:] if run["watermark"]]


def find_order(world: World) -> list[str]:
    """Ids in the order in which they are walked."""
    numbers = {
        record_id: msgspec.json.decode(record)[NUMBER]
        for record_id, record in world.source(WORK_ORDERS).items()
    }
    return sorted(numbers, key=lambda record_id: int(numbers[record_id]))


@contextlib.contextmanager
def held(world: World, *flags: str) -> Iterator[Child]:
    """A load of this container whose first request for records gets no answer until the block ends; it ends well."""
    came, go = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if "/records" in request.path and not came.is_set():
            came.set()
            go.wait(60)

    world.knack.on_request = hold
    try:
        child = world.start(*LOAD, *flags, waits=PATIENT)
        assert came.wait(60)
        yield child
    finally:
        world.knack.on_request = None
        go.set()
        done = child.wait()
    assert done.code == 0, done


# -- together they are one load


def test_shards__leave_what_one_load_leaves(world: World) -> None:
    """Three processes at once and the finishing call: first load, then a day's work, to the byte and the tombstone."""
    done = run_all(world)
    assert sum(one.summary["inserted"] for one in done) == 60
    assert all(one.summary["read"] == 18 + 6 * (number == 0) for number, one in enumerate(done))
    assert finish(world).summary["inserted"] == 60
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)
    gone = do_work(world)
    run_all(world)
    assert find_dead(world) == []
    assert world.documents(WORK_ORDERS).keys() > world.source(WORK_ORDERS).keys()
    counts = finish(world).summary
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)
    assert find_dead(world) == sorted(gone)
    assert (counts["read"], counts["inserted"], counts["deleted"]) == (60 - len(gone) + 1, 1, len(gone))
    assert world.insist(*LOAD).summary["unchanged"] == len(world.source(WORK_ORDERS))


def test_shards__only_the_finishing_call_moves_the_watermark(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark is the time at which the first shard began to read, and stands when all is done."""
    answer, minute = world.knack.answer, 0

    def tell_time(request: Request) -> Answer:
        answered = answer(request)
        answered.headers["Date"] = f"Sun, 01 Mar 2026 08:{minute:02}:00 GMT"
        return answered

    monkeypatch.setattr(world.knack, "answer", tell_time)
    first = run_shard(world, 1)
    for minute in (1, 2):
        run_shard(world, minute + 1)
    assert first.summary["watermark"] is None and find_watermarks(world) == []
    minute = 3
    ended = finish(world).summary["watermark"]
    assert len(find_watermarks(world)) == 1
    assert ended == "2026-03-01T08:00:00+00:00"
    assert world.insist(*LOAD, "--since-last").summary["since"] == ended


def test_shards__more_of_them_than_pages(world: World) -> None:
    """A shard without a page of its own has nothing to do and is whole."""
    world.knack.switches.max_rows = 30
    try:
        for number, records in enumerate((30, 30, 0), 1):
            assert run_shard(world, number, 3).summary["read"] == records
        assert finish(world, 3).code == 0
    finally:
        world.knack.switches.max_rows = 6
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)


def test_shards__a_view(world: World) -> None:
    """A view's records cannot be asked for one by one: a second walk over all of it decides what is gone."""
    world.insist("records_to_postgrest", "-c", SIGNALS)
    ids = sorted(world.source(SIGNALS))
    for record_id in ids[:3]:
        world.delete(SIGNALS, record_id)
    for number in (1, 2):
        world.insist("records_to_postgrest", "-c", SIGNALS, "--shard", f"{number}/2")
    assert world.insist("records_to_postgrest", "-c", SIGNALS, "--finish", "2").summary["deleted"] == 3
    assert world.documents(SIGNALS) == world.source(SIGNALS)


def test_shards__records_that_move_between_pages(world: World) -> None:
    """What slipped from one shard's page to another's that had been walked is asked for, and stays."""
    world.insist(*LOAD)
    ids = find_order(world)
    run_shard(world, 1)
    # The first of each later page now stands at the end of the one before.
    world.delete(WORK_ORDERS, ids[0])
    world.edit(WORK_ORDERS, ids[6], "Slipped through")
    run_shard(world, 2)
    run_shard(world, 3)
    world.knack.requests.clear()
    assert finish(world).summary["deleted"] == 0
    asked = [seen.path.rpartition("/")[2] for seen in world.knack.requests][1:]
    assert sorted(asked) == sorted([ids[6], ids[24], ids[42]])
    left = world.documents(WORK_ORDERS)
    # Its own page had been walked when it was deleted: the next full load finds that.
    assert left.pop(ids[0]) and left == world.source(WORK_ORDERS)


def test_shards__dry_run(world: World) -> None:
    """With --dry-run neither a shard nor the finishing call writes anything, and both count."""
    world.insist(*LOAD)
    gone = do_work(world)
    before = world.sql("select count(*), max(updated_at) from api.knack"), world.ledger()
    assert run_shard(world, 1, 3, "--dry-run").summary["updated"] > 0
    assert (world.sql("select count(*), max(updated_at) from api.knack"), world.ledger()) == before
    run_all(world)
    before = world.sql("select count(*), max(updated_at) from api.knack"), world.ledger()
    assert finish(world, 3, "--dry-run").summary["deleted"] == len(gone)
    assert (world.sql("select count(*), max(updated_at) from api.knack"), world.ledger()) == before


# -- again, too early, left over


def test_finish__before_all_have_come(world: World) -> None:
    """Before every shard is whole it says which are not, and removes nothing: none, some, one that failed."""
    world.insist(*LOAD)
    do_work(world)
    refuse(finish(world), "no shard of 3 has come")
    run_shard(world, 2)
    refuse(finish(world), "2 of 3 shards have not come whole: 1, 3 (not begun)")
    run_shard(world, 1)
    world.knack.faults.add("401", path="/records", times=None)
    assert world.start(*LOAD, "--shard", "3/3").wait().code == 1
    world.knack.faults.clear()
    refuse(finish(world), "1 of 3 shards have not come whole: 3 (failed)")
    refuse(finish(world, 2), "no shard of 2 has come; the latest were of 3, begun ")
    assert find_dead(world) == [] and len(find_watermarks(world)) == 1
    run_shard(world, 3)
    assert finish(world).code == 0
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)


def test_shard__run_again(world: World) -> None:
    """A shard may be run twice; one that begins again counts no more until it is whole again."""
    run_all(world)
    assert run_shard(world, 2).summary["unchanged"] == 18
    world.knack.faults.add("401", path="/records", times=None)
    assert world.start(*LOAD, "--shard", "2/3").wait().code == 1
    world.knack.faults.clear()
    refuse(finish(world), "2 (failed)")
    run_shard(world, 2)
    assert finish(world).summary["read"] == 60
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)


def test_finish__again(world: World) -> None:
    """Run again it has nothing to do: no watermark moves back, nothing is removed, and the next shard begins anew."""
    run_all(world)
    finish(world)
    gone = do_work(world)
    world.insist(*LOAD, "--since-last")
    marks = find_watermarks(world)
    again = finish(world)
    assert again.code == 0 and again.summary["deleted"] == 0 and "already" in again.stderr
    assert find_watermarks(world) == marks
    run_shard(world, 1)
    refuse(finish(world), "2, 3 (not begun)")
    run_shard(world, 2)
    run_shard(world, 3)
    assert finish(world).summary["deleted"] == len(gone)


def test_shards__left_by_an_older_round(world: World) -> None:
    """What an older round left does not count: of another number of shards, another name, another night."""
    run_shard(world, 1, 2)
    gone = sorted(world.source(WORK_ORDERS))[0]
    world.delete(WORK_ORDERS, gone)
    run_shard(world, 2, 3)
    refuse(finish(world, 2), "no shard of 2 has come; the latest were of 3, begun ")
    run_shard(world, 1, 2, "--round", "monday")
    run_shard(world, 2, 2, "--round", "tuesday")
    refuse(finish(world, 2, "--round", "tuesday"), "in the round 'tuesday': 1 (not begun)")
    refuse(finish(world, 2, "--round", "monday"), "the latest were of 2 in the round 'tuesday', begun ")
    run_shard(world, 1, 2)
    run_shard(world, 2, 2)
    world.sql("update api.replaces set started_at = started_at - interval '13 hours'")
    refuse(finish(world, 2), "no shard of 2 has come")
    run_shard(world, 2, 2)
    refuse(finish(world, 2), "1 (not begun)")
    run_shard(world, 1, 2)
    assert finish(world, 2).code == 0
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)
    assert world.sql("select count(*) from api.shards") == [(2,)]


def test_shards__what_they_saw_is_kept_until_the_end(world: World) -> None:
    """Other loads forget what ended runs saw, not what shards saw that wait for the end; lost, it is told."""
    world.insist(*LOAD)
    run_all(world)
    world.insist("records_to_postgrest", "-c", SIGNALS)
    assert world.sql("select count(*) from api.load_pages p join api.shards using (run_id)") == [(10,)]
    world.sql("delete from api.load_pages where page = 1")
    refuse(finish(world), "1, 2, 3 (what it saw is lost)")
    assert find_dead(world) == []
    run_all(world)
    assert finish(world).summary["deleted"] == 0
    world.insist("records_to_postgrest", "-c", SIGNALS)
    assert world.sql("select count(*) from api.load_pages p join api.shards using (run_id)") == [(0,)]


# -- the brake


def test_finish__would_remove_too_much(world: World) -> None:
    """The brake is that of a full load, measured by what was stored before the shards came."""
    world.insist(*LOAD)
    for record_id in find_order(world)[:20]:
        world.delete(WORK_ORDERS, record_id)
    for number in range(40):
        world.knack.add_record(WORK_ORDERS, {TITLE: f"Added {number}"})
    run_all(world)
    refuse(finish(world), "20 of the 60 records in the store's object_31 would be removed, more than 25 %")
    assert find_dead(world) == []
    assert finish(world, 3, "--max-delete-pct", "34").summary["deleted"] == 20
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)


def test_shards__source_is_empty(world: World) -> None:
    """An empty source stops every shard, unless it is meant to be empty."""
    world.insist(*LOAD)
    for record_id in world.source(WORK_ORDERS):
        world.delete(WORK_ORDERS, record_id)
    refuse(world.run(*LOAD, "--shard", "1/2"), "none would be left")
    for number in (1, 2):
        run_shard(world, number, 2, "--allow-empty")
    refuse(finish(world, 2), "none would be left")
    assert find_dead(world) == []
    assert finish(world, 2, "--allow-empty").summary["deleted"] == 60
    assert world.documents(WORK_ORDERS) == {}


def test_finish__answers_were_short(world: World) -> None:
    """Where the shards were given far fewer records than there are, nothing is removed."""
    world.insist(*LOAD)
    world.knack.faults.add("short-page", path="/records", times=7)
    run_all(world)
    refuse(
        finish(world),
        "the answer is incomplete. What the source gave is stored, nothing was removed. Run the shards",
    )
    assert find_dead(world) == []


# -- who may run beside whom


def test_shards__beside_one_another_only(world: World) -> None:
    """While a shard runs other shards may; a whole load, an incremental one, the end and another round may not."""
    world.insist(*LOAD)

    def try_one(*flags: str) -> Done:
        return world.start(*LOAD, *flags, server=1, waits=IMPATIENT).wait()

    busy = "Another run of records_to_postgrest (shard 1) has been writing store:knack/"
    with held(world, "--shard", "1/3"):
        for flags in ((), ("--since-last",), ("--finish", "3"), ("--shard", "1/3"), ("--shard", "2/4")):
            refuse(try_one(*flags), busy)
        refuse(try_one("--shard", "2/3", "--round", "other"), busy)
        assert try_one("--shard", "2/3").code == 0
        assert world.start("records_to_postgrest", "-c", SIGNALS, server=1).wait().code == 0
    run_shard(world, 3)
    assert finish(world).code == 0


@pytest.mark.parametrize("flags", [(), ("--finish", "2")])
def test_shards__not_beside_a_whole_load(world: World, flags: tuple[str, ...]) -> None:
    """While a whole load or the finishing call runs, no shard does."""
    run_shard(world, 1, 2)
    run_shard(world, 2, 2)
    with held(world, *flags):
        done = world.start(*LOAD, "--shard", "1/2", server=1, waits=IMPATIENT).wait()
        refuse(done, "Another run of records_to_postgrest has been writing store:knack/")
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)


def test_shards__incremental_runs_in_between(world: World) -> None:
    """Changes may be loaded between shards: nothing of them is lost or taken back."""
    world.insist(*LOAD)
    ids = find_order(world)
    run_shard(world, 1, 2)
    world.edit(WORK_ORDERS, ids[0], "After its page was read")
    world.knack.add_record(WORK_ORDERS, {TITLE: "New"})
    world.insist(*LOAD, "--since-last")
    world.delete(WORK_ORDERS, ids[1])
    run_shard(world, 2, 2)
    assert finish(world, 2).code == 0
    # Its page had been walked when it was deleted: the next full load finds that.
    assert world.documents(WORK_ORDERS).keys() - world.source(WORK_ORDERS).keys() == {ids[1]}
    run_shard(world, 1, 2)
    run_shard(world, 2, 2)
    assert finish(world, 2).summary["deleted"] == 1
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)


# -- records that are refused


@contextlib.contextmanager
def refusing(world: World, *record_ids: str) -> Iterator[None]:
    """The store refuses these documents while the block lasts."""
    world.sql(
        "create function public.refuse() returns trigger language plpgsql as $$ begin"
        f" if new.record_id = any ('{{{','.join(record_ids)}}}') then raise 'no' using errcode = '22023'; end if;"
        " return new; end; $$;"
        " create trigger refuse before insert or update on api.knack"
        " for each row execute function public.refuse()"
    )
    try:
        yield
    finally:
        world.sql("drop function public.refuse() cascade")


def find_refused(world: World) -> set[str]:
    """Records with an open reject."""
    return {row[0] for row in world.sql("select record_id from api.rejects where closed_at is null")}


def test_rejects__of_shards(world: World) -> None:
    """What a shard refused stays open and lets the end move no watermark; what it took, and what left, is closed."""
    first, second, third, gone = (find_order(world)[at] for at in (0, 7, 13, 20))
    with refusing(world, first, second, gone):
        assert world.run(*LOAD).code == 3
    assert find_refused(world) == {first, second, gone}
    world.delete(WORK_ORDERS, gone)
    with refusing(world, second):
        assert [world.run(*LOAD, "--shard", f"{number}/3").code for number in (1, 2, 3)] == [0, 3, 0]
        assert find_refused(world) == {second, gone}
    world.edit(WORK_ORDERS, third, "After its page was read")
    with refusing(world, second, third):
        assert world.run(*LOAD, "-d", "2020-01-01").code == 3
    done = finish(world)
    assert (done.code, done.summary["status"], done.summary["rejected"]) == (3, "partial", 1)
    assert find_refused(world) == {second, third} and find_watermarks(world) == []
    assert finish(world).code == 3
    run_all(world)
    assert finish(world).code == 0
    assert find_refused(world) == set() and len(find_watermarks(world)) == 1
    assert world.documents(WORK_ORDERS) == world.source(WORK_ORDERS)


def test_rejects__of_a_shard_that_was_run_again(world: World) -> None:
    """A record that a first try refused and a second one took is no reject of the replace; one refused last is."""
    taken, refused = (find_order(world)[at] for at in (0, 7))
    with refusing(world, taken, refused):
        assert [world.run(*LOAD, "--shard", f"{number}/2").code for number in (1, 2)] == [3, 3]
    run_shard(world, 1, 2)
    assert find_refused(world) == {refused}
    assert finish(world, 2).code == 3 and find_refused(world) == {refused}


# -- what people and schedulers see


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--shard", "0/3"), "'0/3' is no shard such as 1/4 or 4/4"),
        (("--shard", "4/3"), "'4/3' is no shard such as"),
        (("--shard", "3"), "'3' is no shard such as"),
        (("--shard", "1/x"), "'1/x' is no shard such as"),
        (("--shard", "-1/3"), "expected one argument"),
        (("--shard", "1/1001"), "N up to 1000"),
        (("--finish", "0"), "'0' is no number of shards"),
        (("--finish", "1/3"), "'1/3' is no number of shards"),
        (("--shard", "1/3", "--finish", "3"), "not allowed with argument --shard"),
        (("--shard", "1/3", "--since-last"), "not allowed with argument --shard"),
        (("--since-last", "--finish", "3"), "not allowed with argument --since-last"),
        (("--shard", "1/3", "-d", "2024-05-01"), "not allowed with argument --shard"),
        (("--round", "monday"), "neither was given"),
    ],
)
def test_flags__wrong(world: World, flags: tuple[str, ...], words: str) -> None:
    """A wrong part of a load is one clear line, exit code 2, and nothing is sent."""
    refuse(world.run(*LOAD, *flags), words, 2)
    assert not any(simulator.requests for simulator in world.simulators)


def test_status__shards_do_not_count_as_the_load(world: World) -> None:
    """A container stands as its last whole load left it until all shards are finished; a shard that failed shows."""

    def ask() -> tuple[Any, ...]:
        return world.sql(
            "select state, last_ok_at, watermark from api.status() where script = 'records_to_postgrest'"
        )[0]

    run_shard(world, 1, 2)
    assert ask()[1:] == (None, None)
    run_shard(world, 2, 2)
    finish(world, 2)
    before = ask()
    assert before[0] == "ok" and None not in before
    run_shard(world, 1, 2)
    assert ask() == before
    world.knack.faults.add("401", path="/records", times=None)
    world.run(*LOAD, "--shard", "2/2")
    world.knack.faults.clear()
    assert ask() == ("failed", *before[1:])
    run_shard(world, 2, 2)
    assert ask() == before
    finish(world, 2)
    assert ask()[0] == "ok" and ask()[1] > before[1]


def test_full_every__a_shard_is_no_full_run(world: World) -> None:
    """Shards alone leave a full run due; the finishing call makes it done."""

    def ask() -> str | None:
        since: str | None = world.insist(*LOAD, "--since-last", "--full-every", "1d", "--dry-run").summary[
            "since"
        ]
        return since

    world.insist(*LOAD)
    world.sql("update api.runs set started_at = started_at - interval '2 days'")
    for number in (1, 2):
        run_shard(world, number, 2)
    assert ask() is None
    finish(world, 2)
    assert ask() is not None


def test_limit__held_by_all_processes_together(world: World) -> None:
    """Three shards at once on one machine send no more requests a second than one may."""
    pace, shards = 0.5, 3
    world.knack.switches.max_rows = 2
    pages = 30
    stamps: list[float] = []
    lock = threading.Lock()
    all_there = threading.Barrier(shards)

    def note(request: Request) -> None:
        if "/records" in request.path:
            if int(request.query["page"]) <= shards:
                all_there.wait(60)
            with lock:
                stamps.append(time.monotonic())

    world.knack.on_request = note
    try:
        children = [
            world.start(*LOAD, "--shard", f"{number}/{shards}", server=number, waits=Waits(pace, 60.0))
            for number in range(1, shards + 1)
        ]
        done = [child.wait() for child in children]
    finally:
        world.knack.on_request = None
        world.knack.switches.max_rows = 6
    assert [one.code for one in done] == [0] * shards, done
    stamps.sort()
    rest = stamps[shards:]
    assert len(rest) == pages - shards
    # Booked ten at a time behind the moment at which the first ones were let go, and never early.
    assert rest[-1] - stamps[0] >= (len(rest) - 1) // 10 * pace * 10 / 9 - 0.001
