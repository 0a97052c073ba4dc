"""From a source into the real store: full loads with removal, incremental ones, and all that goes wrong."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dev import stack as stacks
from dev.simulators.postgrest import PostgrestWire
from services.utils import loading, runs, session
from services.utils.cli import Args
from services.utils.env import StoreSettings
from services.utils.errors import OutcomeUnknown, RequestRefused, SourceError, Stopped, StoreError
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.records import Counts, Page
from services.utils.store import Store

CONTAINER = "object_1"
DESTINATION = f"store:knack/a1/{CONTAINER}"
ARGS = Args("records_to_postgrest", "app", CONTAINER, "prod")
CLOCK = dt.datetime(2025, 6, 1, 12, 0, tzinfo=dt.UTC)
RECORDS = {f"r{n:03}": b'{"id":"r%03d"}' % n for n in range(40)}


@dataclass
class Memory:
    """A source whose records are in memory, with the failings of real ones to order.

    hidden: records that live, are counted, and do not come in a walk. overstate: added to the total.
    on_page: told the number of the walk and of the page before it is given.
    """

    records: dict[str, bytes] = field(default_factory=lambda: dict(RECORDS))
    page_size: int = 10
    can_ask: bool = True
    is_steady: bool = True
    hidden: set[str] = field(default_factory=set)
    hidden_in_walks: set[int] = field(default_factory=lambda: {1, 2, 3})
    overstate: int = 0
    open_answers: set[str] = field(default_factory=set)
    on_page: Callable[[int, int], None] | None = None
    server_time: dt.datetime | None = CLOCK
    dice: random.Random | None = None
    swapped: dict[str, str] = field(default_factory=dict)
    walks: int = 0
    asked: list[str] = field(default_factory=list)

    def pages(self) -> Iterator[Page]:
        """Walk through them."""
        self.walks += 1
        walk, start, number = self.walks, 0, 0
        while True:
            number += 1
            if self.on_page is not None:
                self.on_page(walk, number)
            order = list(self.records)
            if self.dice is not None:
                self.dice.shuffle(order)
            ids = [self.swapped.get(one, one) for one in order[start : start + self.page_size]]
            held_back = self.hidden if walk in self.hidden_in_walks else set()
            shown = [(one, self.records[one]) for one in ids if one not in held_back]
            yield Page(shown, len(self.records) + self.overstate, self.server_time)
            start += self.page_size
            if start >= len(self.records):
                return

    def fetch_record(self, record_id: str) -> bytes | None:
        """One record, or None."""
        self.asked.append(record_id)
        if record_id in self.open_answers:
            raise SourceError("the source would not say.")
        return self.records.get(record_id)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Waits take a hundredth."""
    session.set_testing(0.01)
    yield
    session.set_testing(1.0)


@dataclass
class House:
    """A store and what loads into it."""

    stack: stacks.Stack
    url: str = ""

    def load(
        self, source: Memory, *, pct: float = 25.0, allow_empty: bool = False, **changes: Any
    ) -> runs.Run:
        """One run of a load, as the script does it."""
        args = Args(**{**ARGS.__dict__, **changes})
        postgrest = PostgREST(
            StoreSettings(self.url or self.stack.url, "", self.stack.jwt_secret, "api_user")
        )
        store = Store(postgrest, "knack", "a1", CONTAINER)
        guard = DeleteGuard(pct, allow_empty)
        with runs.record_run(postgrest, args, DESTINATION) as run:
            if run.is_full:
                loading.load_all(store, source, run, guard, dry_run=args.dry_run)
            else:
                loading.load_changes(store, source, run, guard, dry_run=args.dry_run)
        return run

    def alive(self) -> dict[str, bytes]:
        """What is alive in the container."""
        return self._read("deleted_at is null")

    def dead(self) -> set[str]:
        """Ids of its tombstones."""
        return set(self._read("deleted_at is not null"))

    def everything(self) -> list[tuple[Any, ...]]:
        """Every row of every table, as text."""
        tables = ("knack", "runs", "rejects", "load_pages")
        return [
            (table, *row)
            for table in tables
            for row in self.stack.execute(f"select t::text from api.{table} t order by 1")
        ]

    def last_run(self) -> tuple[Any, ...]:
        """(status, watermark, error) of the newest run."""
        return self.stack.execute(
            "select status, watermark, error from api.runs order by started_at desc limit 1"
        )[0]

    def _read(self, where: str) -> dict[str, bytes]:
        rows = self.stack.execute(
            f"select record_id, record::text from api.knack where container_id = '{CONTAINER}' and {where} order by 1"
        )
        return {record_id: record.encode() for record_id, record in rows}


@pytest.fixture
def house(clean_store: stacks.Stack) -> House:
    """An empty store."""
    return House(clean_store)


@pytest.fixture
def loaded(house: House) -> House:
    """A store into which RECORDS were loaded."""
    house.load(Memory())
    return house


def without(*gone: str) -> dict[str, bytes]:
    """RECORDS less some."""
    return {record_id: record for record_id, record in RECORDS.items() if record_id not in gone}


# -- a full load that goes well


def test_load_all__first_and_again(house: House) -> None:
    """The first time all are inserted; the second time nothing changes, no time moves, nothing is asked."""
    first = house.load(Memory())
    assert first.counts == Counts(read=40, inserted=40)
    assert house.alive() == RECORDS
    times = house.stack.execute("select record_id, updated_at from api.knack order by 1")
    source = Memory()
    again = house.load(source)
    assert again.counts == Counts(read=40, unchanged=40)
    assert house.stack.execute("select record_id, updated_at from api.knack order by 1") == times
    assert (source.walks, source.asked) == (1, [])


def test_load_all__watermark_is_the_sources_clock(house: House) -> None:
    """The watermark is the source's clock as it first answered, not as it last did, and not the store's."""
    source = Memory()

    def move_on(walk: int, page: int) -> None:
        source.server_time = CLOCK + dt.timedelta(minutes=page)

    source.on_page = move_on
    house.load(source)
    assert house.last_run()[:2] == ("ok", CLOCK + dt.timedelta(minutes=1))
    silent = house.load(Memory(server_time=None))
    assert dt.datetime.fromisoformat(silent.watermark) > dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_load_all__changes_and_removals(loaded: House) -> None:
    """Changed, new and left records end as they should, what left becomes a tombstone with its last words."""
    source = Memory({**without("r003", "r004"), "r005": b"{}", "new": b"1"})
    run = loaded.load(source)
    assert run.counts == Counts(read=39, inserted=1, updated=1, unchanged=37, deleted=2)
    assert loaded.alive() == source.records
    assert loaded.dead() == {"r003", "r004"}
    assert loaded._read("record_id = 'r003'") == {"r003": RECORDS["r003"]}
    assert sorted(source.asked) == ["r003", "r004"]
    assert loaded.load(Memory(source.records)).counts == Counts(read=39, unchanged=39)


def test_load_all__returns(loaded: House) -> None:
    """A record that comes back is alive again and counts as updated."""
    loaded.load(Memory(without("r003")))
    assert loaded.load(Memory()).counts == Counts(read=40, updated=1, unchanged=39)
    assert loaded.alive() == RECORDS
    assert loaded.dead() == set()


def test_load_all__other_containers_untouched(loaded: House) -> None:
    """Removal concerns the container alone, not the same ids beside it."""
    loaded.stack.execute(
        "insert into api.knack values ('a1', 'view_1', 'r003', '1'), ('a2', 'object_1', 'r003', '1')"
    )
    loaded.load(Memory(without("r003")))
    assert loaded.stack.execute(
        "select app_id, container_id from api.knack where deleted_at is not null"
    ) == [("a1", "object_1")]


def test_load_all__nothing_is_removed_before_the_end(loaded: House) -> None:
    """While the walk goes on readers see every record, the old ones included: never fewer than belong there."""
    seen: list[int] = []
    source = Memory(without("r003", "r004"))
    source.on_page = lambda walk, page: seen.append(len(loaded.alive()))
    loaded.load(source)
    assert seen == [40] * 4
    assert len(loaded.alive()) == 38


def test_load_all__many_removed_at_once(house: House) -> None:
    """More missing than are worth asking for: a second walk decides, and they go in one transaction."""
    many = {f"r{n:03}": b"1" for n in range(120)}
    house.load(Memory(many))
    source = Memory({record_id: record for record_id, record in many.items() if record_id >= "r030"})
    run = house.load(source, pct=30)
    assert run.counts == Counts(read=90, unchanged=90, deleted=30)
    assert (source.walks, source.asked) == (2, [])
    assert len(house.dead()) == 30
    assert house.stack.execute(
        "select count(distinct xmin::text) from api.knack where deleted_at is not null"
    ) == [(1,)]


def test_load_all__written_by_another_meanwhile(loaded: House) -> None:
    """A document that another client writes during the load is not removed for not having been seen."""
    source = Memory()

    def write(walk: int, page: int) -> None:
        if (walk, page) == (1, 4):
            loaded.stack.execute("insert into api.knack values ('a1', 'object_1', 'by hand', '1')")

    source.on_page = write
    assert loaded.load(source).counts.deleted == 0
    assert "by hand" in loaded.alive()


def test_load_all__forgets_what_it_saw(loaded: House) -> None:
    """The ids that earlier runs noted are gone once a run after them began."""
    loaded.load(Memory())
    assert loaded.stack.execute("select count(distinct run_id), count(*) from api.load_pages") == [(1, 4)]


# -- confirmation: missed is not gone


def test_load_all__missed_but_there(loaded: House) -> None:
    """A record that a walk misses but the source has when asked stays, and its change is loaded at once."""
    source = Memory({**without("r003"), "r004": b'{"changed":1}'}, hidden={"r004", "r005"})
    run = loaded.load(source)
    assert run.counts == Counts(read=37, updated=1, unchanged=37, deleted=1)
    assert loaded.alive() == source.records
    assert (source.walks, sorted(source.asked)) == (1, ["r003", "r004", "r005"])


def test_load_all__cannot_ask(loaded: House) -> None:
    """Where single records cannot be asked for, what two walks both missed is removed, the rest is not."""
    source = Memory({**without("r003"), "r004": b"9"}, can_ask=False, hidden={"r004"}, hidden_in_walks={1})
    run = loaded.load(source)
    assert run.counts == Counts(read=38, updated=1, unchanged=38, deleted=1)
    assert loaded.alive() == source.records
    assert (source.walks, source.asked) == (2, [])


@pytest.mark.parametrize("seed", range(6))
def test_load_all__order_changes_between_pages(loaded: House, seed: int) -> None:
    """Where one record comes on two pages another comes on none: all is read again until every one has come."""
    source = Memory(
        {**without("r003"), "r040": b"40", "r041": b"41"},
        page_size=20,
        can_ask=False,
        is_steady=False,
        dice=random.Random(seed),
    )
    run = loaded.load(source)
    assert loaded.alive() == source.records
    assert run.counts == Counts(read=41, inserted=2, unchanged=39, deleted=1)


@pytest.mark.parametrize("seed", range(6))
def test_load_changes__order_changes_between_pages(house: House, seed: int) -> None:
    """The same for what changed: the watermark does not pass a record that did not come."""
    source = Memory(page_size=15, is_steady=False, dice=random.Random(seed))
    run = house.load(source, date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    assert house.alive() == source.records
    assert (run.counts.read, run.counts.inserted, run.counts.unchanged) == (40, 40, 0)


@pytest.mark.parametrize("changes", [{}, {"dry_run": True}, {"date": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}])
def test_load__order_never_shows_all(loaded: House, changes: dict[str, Any]) -> None:
    """A source that leaves one record out and gives another twice, however often, is not believed."""
    source = Memory(is_steady=False, swapped={"r003": "r019"})
    with pytest.raises(
        SourceError, match="40 records each time, some of them twice, and in all only 39 different"
    ):
        loaded.load(source, **changes)
    assert loaded.dead() == set()
    assert loaded.last_run()[0] == ("ok" if "dry_run" in changes else "failed")


def test_load_all__answers_stay_open(loaded: House) -> None:
    """Where one of the questions gets no clear answer, a second walk decides."""
    source = Memory(without("r003"), hidden={"r004"}, hidden_in_walks={1}, open_answers={"r004"})
    assert loaded.load(source).counts.deleted == 1
    assert source.walks == 2
    assert loaded.alive() == without("r003")


def test_load_all__second_walk_breaks(loaded: House) -> None:
    """A second walk that breaks removes nothing."""
    source = Memory(without("r003"), can_ask=False)

    def fail(walk: int, page: int) -> None:
        if walk == 2 and page == 3:
            raise SourceError("Knack went away.")

    source.on_page = fail
    with pytest.raises(SourceError, match="Knack went away"):
        loaded.load(source)
    assert loaded.dead() == set()
    assert loaded.last_run()[0] == "failed"


def test_load_all__second_walk_incomplete(loaded: House) -> None:
    """A second walk that gives far less than the source says it has confirms nothing."""
    hidden = {f"r{n:03}" for n in range(20, 32)}
    source = Memory(without("r003"), can_ask=False, hidden=hidden, hidden_in_walks={2})
    with pytest.raises(SourceError, match="has 39 records but gave 27"):
        loaded.load(source)
    assert loaded.dead() == set()


# -- an incomplete answer


@pytest.mark.parametrize("can_ask", [True, False])
def test_load_all__incomplete(loaded: House, can_ask: bool) -> None:
    """A walk that gives far less than the source says it has removes nothing and fails; what came is kept."""
    source = Memory({**RECORDS, "r000": b"7"}, can_ask=can_ask, hidden={f"r{n:03}" for n in range(20, 32)})
    with pytest.raises(
        SourceError, match="has 40 records but gave 28: the answer is incomplete.*nothing was removed"
    ):
        loaded.load(source)
    assert loaded.alive() == source.records
    assert loaded.last_run()[:2] == ("failed", None)


def test_load_all__incomplete_at_first(house: House) -> None:
    """The first load of all, with nothing to remove, fails as well: its watermark would hide what did not come."""
    with pytest.raises(SourceError, match="incomplete"):
        house.load(Memory(hidden={f"r{n:03}" for n in range(12)}))
    assert len(house.alive()) == 28
    assert house.last_run()[:2] == ("failed", None)
    assert house.load(Memory(), since_last=True).since is None


def test_load_all__a_few_short_with_a_view(loaded: House) -> None:
    """A few records less than the total are an estimate's error, but no ground for removing where none can be asked."""
    small = {record_id: RECORDS[record_id] for record_id in list(RECORDS)[:10]}
    loaded.stack.execute("truncate api.runs cascade; truncate api.knack")
    loaded.load(Memory(small))
    source = Memory({r: small[r] for r in list(small)[:8]}, can_ask=False, overstate=2)
    with pytest.raises(SourceError, match="has 10 records but gave 8"):
        loaded.load(source)
    assert loaded.dead() == set()
    # Asking each of them is proof enough, whatever the total says.
    assert loaded.load(Memory(source.records, overstate=2)).counts.deleted == 2


def test_load_all__overstated_total(loaded: House) -> None:
    """A total that is some percent too high, as sources' totals are, does not stand in the way of removal."""
    source = Memory(without("r003"), overstate=3, can_ask=False)
    assert loaded.load(source).counts.deleted == 1


# -- the brake


def test_load_all__brake_before_anything_is_written(loaded: House) -> None:
    """A source that says it has far fewer than is stored is stopped before a document or an id is written."""
    before = loaded.stack.execute("select t::text from api.knack t order by 1")
    few = {"r000": b'"changed"', "new": b"1"}
    with pytest.raises(
        SourceError,
        match="38 of the 40 records in the store's object_1 would be removed.*Nothing was changed",
    ):
        loaded.load(Memory(few))
    assert loaded.stack.execute("select t::text from api.knack t order by 1") == before
    assert loaded.last_run()[0] == "failed"
    run = loaded.load(Memory({"r000": b"1", "new": b"1"}), pct=100)
    assert run.counts == Counts(read=2, inserted=1, updated=1, deleted=39)


def test_load_all__brake_after_the_walk(loaded: House) -> None:
    """As many records as before but other ones: nothing is removed, and the line says what was stored."""
    others = {f"x{n:03}": b"1" for n in range(40)}
    with pytest.raises(
        SourceError, match="40 of the 40 .*What the source gave is stored, nothing was removed"
    ):
        loaded.load(source := Memory(others))
    assert (source.walks, source.asked) == (1, [])
    assert loaded.alive() == {**RECORDS, **others}
    assert loaded.last_run()[:2] == ("failed", None)


def test_load_all__brake_counts_what_is_there(loaded: House) -> None:
    """25 percent is let through, one more is not; tombstones of before do not count."""
    ten = [f"r{n:03}" for n in range(10)]
    loaded.load(Memory(without(*ten)))
    assert len(loaded.alive()) == 30
    eight = [f"r{n:03}" for n in range(10, 18)]
    with pytest.raises(SourceError, match="8 of the 30"):
        loaded.load(Memory(without(*ten, *eight)))
    assert loaded.load(Memory(without(*ten, *eight[:7]))).counts.deleted == 7


@pytest.mark.parametrize("dry_run", [True, False])
def test_load_all__empty_source(loaded: House, dry_run: bool) -> None:
    """An empty source empties nothing, unless that is allowed in words."""
    with pytest.raises(
        SourceError, match="holds 40 records and none would be left. Nothing was changed.*--allow-empty"
    ):
        loaded.load(Memory({}), pct=100, dry_run=dry_run)
    assert loaded.alive() == RECORDS
    assert loaded.load(Memory({}), allow_empty=True, dry_run=dry_run).counts.deleted == 40
    assert len(loaded.alive()) == (40 if dry_run else 0)


def test_load_all__empty_and_empty(house: House) -> None:
    """An empty source into an empty store is nothing to do."""
    assert house.load(Memory({})).counts == Counts()
    assert house.last_run()[0] == "ok"


# -- dry run


def test_load_all__dry_run(loaded: House) -> None:
    """A dry run sends no write, leaves every row as it is, and counts as the real run then does."""
    before = loaded.everything()
    source = Memory({**without("r003", "r004"), "r005": b"{}", "new": b"1"})
    with PostgrestWire(loaded.stack.url) as wire:
        would = House(loaded.stack, wire.url).load(source, dry_run=True)
        # The digests to compare with are too long for an address.
        sent = [seen for seen in wire.requests if seen.method != "GET"]
        assert {seen.path for seen in sent} == {"/rpc/same_documents"}
    assert loaded.everything() == before
    assert would.summary().watermark is None
    assert loaded.load(Memory(source.records)).counts == would.counts


def test_load_all__dry_run_brakes(loaded: House) -> None:
    """What a real run would refuse, a dry run refuses: incomplete answers and too many removals."""
    for source in (
        Memory({f"x{n}": b"1" for n in range(40)}),
        Memory(hidden={f"r{n:03}" for n in range(12)}),
    ):
        with pytest.raises(SourceError, match="Nothing was changed"):
            loaded.load(source, dry_run=True)


# -- incremental


def test_load_changes__upserts_only(loaded: House) -> None:
    """An incremental load writes what it is given and removes nothing, however little that is."""
    source = Memory({"r003": b'"changed"', "new": b"1"})
    run = loaded.load(source, since_last=True)
    assert run.since == CLOCK
    assert run.counts == Counts(read=2, inserted=1, updated=1)
    assert loaded.alive() == {**RECORDS, **source.records}
    assert loaded.load(Memory({}), since_last=True).counts == Counts()


def test_load_changes__watermark_moves(loaded: House) -> None:
    """Each incremental load begins where the one before said the source's clock stood."""
    later = CLOCK + dt.timedelta(hours=1)
    loaded.load(Memory({}, server_time=later), since_last=True)
    assert loaded.load(Memory({}), since_last=True).since == later


def test_load_changes__incomplete(loaded: House) -> None:
    """An incremental answer that is far short of its own total fails, so that the watermark does not pass it."""
    with pytest.raises(SourceError, match="incomplete"):
        loaded.load(Memory(hidden={f"r{n:03}" for n in range(12)}), since_last=True)
    assert loaded.last_run()[:2] == ("failed", None)
    assert loaded.load(Memory(overstate=3), since_last=True).since == CLOCK


def test_load_changes__dry_run(loaded: House) -> None:
    """An incremental dry run writes nothing either."""
    before = loaded.everything()
    source = Memory({"r003": b'"changed"', "new": b"1"})
    assert loaded.load(source, since_last=True, dry_run=True).counts == Counts(read=2, inserted=1, updated=1)
    assert loaded.everything() == before


# -- refused documents


def test_load_all__rejects(house: House) -> None:
    """Documents that cannot be stored are kept as rejects, the others are in, the run is partial; later they close."""
    bad = {"r007": b'{"a":"\xff"}', "r021": b"{} {}"}
    run = house.load(Memory({**RECORDS, **bad}))
    assert run.counts == Counts(read=40, inserted=38, rejected=2)
    assert run.status == "partial"
    assert house.alive() == without("r007", "r021")
    assert house.last_run()[:2] == ("partial", None)
    assert house.stack.execute("select record_id, closed_at from api.rejects order by 1") == [
        ("r007", None),
        ("r021", None),
    ]
    mended = house.load(Memory({**RECORDS, "r021": bad["r021"]}), since_last=True)
    assert mended.counts == Counts(read=40, inserted=1, unchanged=38, rejected=1)
    house.load(Memory({"r021": RECORDS["r021"]}), date=CLOCK)
    assert house.stack.execute("select count(*) from api.rejects where closed_at is null") == [(0,)]
    assert house.alive() == RECORDS


def test_load_all__rejected_is_not_gone(loaded: House) -> None:
    """A record whose new version is refused was seen: its old version stays."""
    run = loaded.load(Memory({**RECORDS, "r007": b'{"a":"\xff"}'}))
    assert run.counts == Counts(read=40, unchanged=39, rejected=1)
    assert loaded.alive() == RECORDS


def test_load_all__odd_escapes(house: House) -> None:
    r"""Records with \u0000 and half pairs are loaded like any other, also the second time, also in a dry run."""
    odd = {**RECORDS, "r007": rb'{"a":"\u0000"}', "r021": rb'{"a":"\ud83d"}'}
    assert house.load(Memory(odd)).counts == Counts(read=40, inserted=40)
    assert house.load(Memory(odd), dry_run=True).counts == Counts(read=40, unchanged=40)
    assert house.load(Memory(odd)).counts == Counts(read=40, unchanged=40)
    assert house.alive() == odd


# -- death on the way


@pytest.mark.parametrize(
    ("error", "at"),
    [
        (SourceError("Knack went away."), 1),
        (SourceError("Knack went away."), 4),
        (Stopped("Stopped by SIGTERM."), 2),
        (MemoryError(), 4),
    ],
)
def test_load_all__dies_on_the_way_and_runs_again(loaded: House, error: BaseException, at: int) -> None:
    """A load that ends anywhere in its walk removes nothing, and the next one brings everything about."""
    source = Memory({**without("r003"), "r001": b'"changed"', "r039": b'"changed"'})

    def die(walk: int, page: int) -> None:
        if page == at:
            raise error

    source.on_page = die
    with pytest.raises(type(error)):
        loaded.load(source)
    assert loaded.dead() == set()
    assert set(loaded.alive()) == set(RECORDS)
    status, watermark, _ = loaded.last_run()
    assert (status, watermark) == ("stopped" if isinstance(error, Stopped) else "failed", None)
    source.on_page = None
    assert loaded.load(source).counts.deleted == 1
    assert loaded.alive() == source.records


@pytest.mark.parametrize(
    "path",
    [
        "same_documents",
        "load_documents",
        "/load_pages",
        "missing_records",
        "remove_documents",
        "clear_load_pages",
    ],
)
@pytest.mark.parametrize("fault", ["after-503", "reset", "deadlock"])
def test_load_all__single_faults_of_the_store(loaded: House, path: str, fault: str) -> None:
    """A fault of the store at any step, before or after it was carried out, leaves the right result and counts."""
    source = Memory({**without("r003", "r004"), "r005": b"{}"})
    with PostgrestWire(loaded.stack.url) as wire:
        wire.faults.add(fault, path=path, method="POST", times=2)
        run = House(loaded.stack, wire.url).load(source)
        assert wire.faults._orders[0].fired == 2
    assert loaded.alive() == source.records
    assert loaded.dead() == {"r003", "r004"}
    assert (run.status, run.counts.deleted, run.counts.read) == ("ok", 2, 38)
    assert loaded.last_run()[0] == "ok"


@pytest.mark.parametrize(
    "path", ["same_documents", "load_documents", "/load_pages", "missing_records", "remove_documents"]
)
def test_load_all__lasting_faults_of_the_store(loaded: House, path: str) -> None:
    """A step that fails for good fails the run, removes nothing, moves no watermark; the next run succeeds."""
    source = Memory({**without("r003", "r004"), "r005": b"{}"})
    with PostgrestWire(loaded.stack.url) as wire:
        wire.faults.add("403", path=path, method="POST", times=None)
        with pytest.raises(RequestRefused):
            House(loaded.stack, wire.url).load(source)
    assert set(loaded.alive()) == set(RECORDS)
    assert loaded.last_run()[:2] == ("failed", None)
    loaded.load(source)
    assert loaded.alive() == source.records


def test_load_all__removal_of_a_run_taken_for_dead(loaded: House) -> None:
    """A run that was taken for dead while it walked must not remove anything any more."""
    source = Memory(without("r003"))

    def take_over(walk: int, page: int) -> None:
        if page == 4:
            loaded.stack.execute("update api.runs set status = 'failed' where status = 'running'")

    source.on_page = take_over
    with pytest.raises(StoreError, match="409 the run was taken for dead by another one, and must stop"):
        loaded.load(source)
    assert loaded.alive() == RECORDS


def test_load_all__store_stops_and_comes_back(loaded: House) -> None:
    """The database and PostgREST stop in the middle of a load and come back: it waits, goes on and ends well."""
    session.set_testing(0.3)
    source = Memory({**without("r003"), "r039": b'"changed"'})

    def outage(walk: int, page: int) -> None:
        if page == 2:
            loaded.stack.stop_database()
        if page == 3:
            loaded.stack.stop_postgrest()
            loaded.stack.start_database()
            loaded.stack.start_postgrest()

    source.on_page = outage
    run = loaded.load(source)
    assert (run.status, run.counts.deleted) == ("ok", 1)
    assert loaded.alive() == source.records


def test_load_all__store_stops_for_good(loaded: House) -> None:
    """A store that stays away fails the run in the end, with the store's error; what was there is there after."""
    session.limit_patience(0.5)
    source = Memory({**without("r003"), "r039": b'"changed"'})
    source.on_page = lambda walk, page: loaded.stack.stop_postgrest() if page == 3 else None
    try:
        with pytest.raises(OutcomeUnknown, match="connection refused|connection was lost"):
            loaded.load(source)
    finally:
        session.limit_patience(float("inf"))
        loaded.stack.start_postgrest()
    assert loaded.dead() == set()
    source.on_page = None
    # The run that could not be closed was this process' own: it is not waited for.
    assert loaded.load(source).counts.deleted == 1
    assert loaded.alive() == source.records
