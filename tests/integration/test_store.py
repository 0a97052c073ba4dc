"""Documents in the real store: loading, reading, refusals, outages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dev import stack as stacks
from dev.simulators.base import Answer, Request, Simulator
from dev.simulators.postgrest import PostgrestWire
from services.utils import session, store, window
from services.utils.env import StoreSettings
from services.utils.errors import ConfigError, OutcomeUnknown, RequestRefused, StoreError
from services.utils.postgrest import PostgREST, mint_token
from services.utils.records import Counts, Document, Reject
from services.utils.session import Backoff
from services.utils.store import Store, reading

PLAIN = {f"r{n:03}": b'{"id":"r%03d","n":%d}' % (n, n) for n in range(25)}
QUICK = Backoff(attempts=3, factor_s=0.01, max_wait_s=0.02, jitter_s=0.0, deadline_s=10.0)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Waits between tries take a hundredth."""
    session.set_testing(0.01)
    yield
    session.set_testing(1.0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies and pages are small, so that little data makes many."""
    for name, value in {"READ_ROWS_FIRST": 3, "READ_ROWS_MOST": 5}.items():
        monkeypatch.setattr(reading, name, value)
    monkeypatch.setattr(store.split_batches, "__defaults__", (4, 4_000_000))


@pytest.fixture
def wire(clean_store: stacks.Stack) -> Iterator[PostgrestWire]:
    """What lies between us and PostgREST, with faults to order."""
    with PostgrestWire(clean_store.url) as between:
        yield between


def connect(stack: stacks.Stack, url: str = "", role: str = "api_user", **changes: str) -> PostgREST:
    """A PostgREST client with minted tokens."""
    given = {"endpoint": url or stack.url, "jwt": "", "jwt_secret": stack.jwt_secret, "role": role, **changes}
    return PostgREST(StoreSettings(**given))


def open_store(stack: stacks.Stack, url: str = "", container: str = "object_1", app: str = "a1") -> Store:
    """The documents of one container."""
    return Store(connect(stack, url), "knack", app, container)


def load(
    documents: Store,
    records: dict[str, bytes],
    size: int = 10,
    rejects: list[Reject] | None = None,
    **more: object,
) -> Counts:
    """Load records in pages; refused ones go to `rejects`, and there must be none where it is None."""
    items = list(records.items())
    refused: list[Reject] = [] if rejects is None else rejects
    pages = (items[start : start + size] for start in range(0, len(items), size))
    counts = documents.load(pages, on_reject=refused.append, **more)
    assert rejects is not None or refused == []
    assert counts.rejected == len(refused)
    return counts


def held(stack: stacks.Stack, where: str = "deleted_at is null") -> dict[str, bytes]:
    """What the table truly holds."""
    rows = stack.execute(f"select record_id, record::text from api.knack where {where} order by 1")
    return {record_id: record.encode() for record_id, record in rows}


# -- load


@pytest.mark.parametrize("compare", [False, True])
def test_load__inserts_updates_unchanged(clean_store: stacks.Stack, small: None, compare: bool) -> None:
    """The counts are those of what became of each record; the second time nothing moves."""
    documents = open_store(clean_store)
    assert load(documents, PLAIN, compare=compare) == Counts(read=25, inserted=25)
    assert held(clean_store) == PLAIN
    times = clean_store.execute("select record_id, updated_at from api.knack order by 1")
    assert load(documents, PLAIN, compare=compare) == Counts(read=25, unchanged=25)
    assert clean_store.execute("select record_id, updated_at from api.knack order by 1") == times
    changed = {**PLAIN, "r003": b"{}", "r020": b'{"n": 1}', "new": b"[]"}
    assert load(documents, changed, compare=compare) == Counts(read=26, inserted=1, updated=2, unchanged=23)
    assert held(clean_store) == changed


@pytest.mark.parametrize("compare", [False, True])
def test_load__brings_back(clean_store: stacks.Stack, compare: bool) -> None:
    """A tombstone that is loaded again counts as updated and is alive."""
    documents = open_store(clean_store)
    load(documents, PLAIN)
    clean_store.execute("update api.knack set deleted_at = now() where record_id = 'r001'")
    assert load(documents, PLAIN, compare=compare) == Counts(read=25, updated=1, unchanged=24)
    assert held(clean_store) == PLAIN


def test_load__compare_sends_what_differs(clean_store: stacks.Stack, wire: PostgrestWire) -> None:
    """Where digests are compared, the documents that the store holds byte for byte are not sent at all."""
    load(open_store(clean_store), PLAIN)
    load(open_store(clean_store, container="object_2"), {"r007": b"{}"})
    documents = open_store(clean_store, wire.url)
    assert load(documents, PLAIN, compare=True) == Counts(read=25, unchanged=25)
    assert wire.count("POST", "/rpc/load_documents") == 0
    # Another white space is another document: bytes are compared, not meanings.
    changed = {**PLAIN, "r007": PLAIN["r007"].replace(b":", b": "), "r008": '"\u00e9"'.encode()}
    assert load(documents, changed, compare=True) == Counts(read=25, updated=2, unchanged=23)
    assert wire.count("POST", "/rpc/load_documents") == 1
    assert load(documents, changed, compare=True) == Counts(read=25, unchanged=25)
    assert wire.count("POST", "/rpc/load_documents") == 1
    assert held(clean_store, "container_id = 'object_1'") == changed


def test_load__containers_apart(clean_store: stacks.Stack) -> None:
    """Two containers, and two apps, with the same ids are kept apart."""
    for app, container in (("a1", "object_1"), ("a1", "object_2"), ("a2", "object_1")):
        documents = open_store(clean_store, app=app, container=container)
        assert load(documents, PLAIN).inserted == 25
        assert [d.record for d in documents.read()] == list(PLAIN.values())
    assert clean_store.execute("select count(*) from api.knack") == [(75,)]


def test_load__repeated_ids(clean_store: stacks.Stack) -> None:
    """Within a page the last of a repeated id wins; in a later page it is one more look at the record."""
    documents = open_store(clean_store)
    pages = [[("r1", b"1"), ("r2", b"2"), ("r1", b"3")], [("r1", b"3")]]
    assert documents.load(pages, on_reject=print) == Counts(read=3, inserted=2, unchanged=1)
    assert held(clean_store) == {"r1": b"3", "r2": b"2"}


def test_load__nothing(clean_store: stacks.Stack) -> None:
    """No pages, and empty pages, are nothing."""
    documents = open_store(clean_store)
    assert documents.load([], on_reject=print) == Counts()
    assert documents.load([[], []], on_reject=print) == Counts()


def test_load__splits_bodies(clean_store: stacks.Stack, wire: PostgrestWire) -> None:
    """A page of many MB goes in bodies of about one, a single large record on its own."""
    documents = open_store(clean_store, wire.url)
    records = {f"r{n}": b'"' + b"x" * 225_000 + b'"' for n in range(10)} | {
        "huge": b'"' + b"y" * 5_000_000 + b'"'
    }
    assert load(documents, records, size=20).inserted == 11
    sizes = [seen.request_bytes for seen in wire.requests if seen.method == "POST"]
    assert len(sizes) == 4
    assert sorted(sizes)[-2] < 1_100_000


@pytest.mark.parametrize(
    ("start", "most_bytes", "expected"), [(2, 24_000_000, 2), (4, 24_000_000, 4), (4, 500, 2)]
)
def test_load__pages_under_way(
    clean_store: stacks.Stack,
    wire: PostgrestWire,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    most_bytes: int,
    expected: int,
) -> None:
    """Two pages are under way at a time, not one and not all; more where the window says so, unless they are large."""
    monkeypatch.setattr(window, "START", start)
    monkeypatch.setattr(store.container, "BYTES_UNDER_WAY", most_bytes)
    under_way: list[int] = []
    gate, most = threading.Lock(), []

    def watch(request: Request) -> None:
        if request.method == "POST":
            with gate:
                under_way.append(1)
                most.append(len(under_way))
            time.sleep(0.1)
            with gate:
                under_way.pop()

    wire.on_request = watch
    records = dict.fromkeys(PLAIN, b'{"a":"%s"}' % (b"x" * 100))
    load(open_store(clean_store, wire.url), records, size=3)
    assert max(most) == expected


def test_load__tells_progress(clean_store: stacks.Stack) -> None:
    """After each page it tells how many records are in."""
    told: list[int] = []
    load(open_store(clean_store), PLAIN, on_page=told.append)
    assert len(told) == 3
    assert told == sorted(told)
    assert told[-1] == 25


ODD = {
    "null": rb'{"a":"\u0000"}',
    "half": rb'{"a":"\ud83d"}',
    "key": rb'{"\udef4":1}',
    "backslash": rb'{"a":"\\u0000"}',
    "emoji": '{"a":"🛴"}'.encode(),
    'quote"': b'{"a":1}',
    "co,mma": b'{"a":2}',
    "pa(ren)": b'{"a":3}',
    "back\\slash": b'{"a":4}',
    "ünï 🛴": b'{"a":5}',
    "in.(x)": b'{"a":6}',
    "*": b'{"a":7}',
    " spaces ": b'{"a":8}',
    "per%25cent&amp=+": b'{"a":9}',
    "deep": b'{"a":' * 300 + b"1" + b"}" * 300,
}


def test_load__odd_documents(clean_store: stacks.Stack, small: None) -> None:
    """Documents and ids that trouble one layer or another are kept byte for byte, counted right, and read back."""
    documents = open_store(clean_store)
    rejects: list[Reject] = []
    assert load(documents, {**PLAIN, **ODD}, rejects=rejects) == Counts(read=40, inserted=40)
    assert {d.record_id: d.record for d in documents.read()} == {**PLAIN, **ODD}
    assert load(documents, {**PLAIN, **ODD}, rejects=rejects) == Counts(read=40, unchanged=40)
    assert load(documents, {**PLAIN, **ODD}, dry_run=True) == Counts(read=40, unchanged=40)
    assert documents.find_same({**PLAIN, **ODD}) == {*PLAIN, *ODD}
    odder = {**ODD, "half": rb'{"a":"\ud83d \u0000"}'}
    assert load(documents, odder, rejects=rejects) == Counts(read=15, updated=1, unchanged=14)
    assert set(documents.read_alive_ids([*ODD, "nobody"])) == set(ODD)


BAD = {
    "latin": b'{"a":"\xff"}',
    "cut": b'{"a":',
    "two": b"{} {}",
    "too deep": b"[" * 100_000 + b"]" * 100_000,
}


def test_load__rejects_are_found_by_halving(clean_store: stacks.Stack) -> None:
    """Documents that no database would take are found among good ones, with the rule and never the value."""
    documents = open_store(clean_store)
    rejects: list[Reject] = []
    mixed = dict(sorted({**PLAIN, **BAD}.items()))
    assert load(documents, mixed, size=29, rejects=rejects) == Counts(read=29, inserted=25, rejected=4)
    assert held(clean_store) == PLAIN
    assert sorted(reject.record_id for reject in rejects) == sorted(BAD)
    for reject in rejects:
        assert reject.content == BAD[reject.record_id]
        assert reject.reason.startswith("the ")
        assert "xff" not in reject.reason
        assert "\n" not in reject.reason


def test_load__all_bad(clean_store: stacks.Stack) -> None:
    """Where every document is bad every one is told, and nothing is stored."""
    rejects: list[Reject] = []
    assert load(open_store(clean_store), BAD, rejects=rejects) == Counts(read=4, rejected=4)
    assert held(clean_store) == {}


def test_load__store_is_not_as_it_should_be(clean_store: stacks.Stack) -> None:
    """A fault of the store's own is not laid on the documents one by one: the run fails with a line that says what."""
    documents = Store(connect(clean_store, role="api_publisher"), "knack", "a1", "object_1")
    with pytest.raises(RequestRefused, match="403 the token's role may not do this; loads need api_user"):
        load(documents, PLAIN)
    clean_store.execute("alter table api.knack rename column record to document")
    try:
        with pytest.raises(StoreError, match="(column|function) is missing.*|migrate"):
            load(open_store(clean_store), PLAIN)
    finally:
        clean_store.execute("alter table api.knack rename column document to record")
    with pytest.raises(RequestRefused, match="404 a table is missing; run services/migrate.py"):
        load(Store(connect(clean_store), "nothing", "a1", "object_1"), PLAIN)


@pytest.mark.parametrize("code", ["57014", "55P03", "25006", "42703", "XX000", "PGRST204", ""])
def test_load__refusals_that_no_document_causes(
    clean_store: stacks.Stack, wire: PostgrestWire, code: str
) -> None:
    """Cancelled, locked, read-only, wrong schema, broken: no halving, no rejects, one error."""

    class Refuser(Simulator):
        def answer(self, request: Request) -> Answer:
            body = {"code": code, "message": "value 42", "details": None, "hint": None}
            return Answer.json(body if code else {}, 500 if code[:2] in ("57", "55", "XX") else 400)

    with Refuser() as refuser, pytest.raises(RequestRefused) as caught:
        load(open_store(clean_store, refuser.url), PLAIN, size=25)
    assert len(refuser.requests) == 1
    assert "42" not in str(caught.value).replace(code, "")


def test_load__somebody_else_answers(clean_store: stacks.Stack) -> None:
    """An answer of 200 that does not say how many rows were kept is not taken for PostgREST's."""

    class Ok(Simulator):
        def answer(self, request: Request) -> Answer:
            return Answer(200, b"", {"Content-Type": "application/json"})

    with Ok() as ok, pytest.raises(StoreError, match="without saying how many it kept"):
        load(open_store(clean_store, ok.url), PLAIN)


def test_load__a_body_that_breaks_the_way(clean_store: stacks.Stack, wire: PostgrestWire) -> None:
    """One document that something on the way cannot carry does not keep the others out; the run fails for it."""
    wire.faults.add("reset", method="POST", body="r013", times=None)
    wire.faults.add("413", method="POST", body="r007", times=None)
    documents = open_store(clean_store, wire.url)
    documents.postgrest.http.backoff = QUICK
    rejects: list[Reject] = []
    with pytest.raises(OutcomeUnknown, match="connection was lost"):
        load(documents, PLAIN, size=25, rejects=rejects)
    assert [reject.record_id for reject in rejects] == ["r007"]
    assert set(PLAIN) - set(held(clean_store)) >= {"r007", "r013"}
    assert len(held(clean_store)) >= 12


@pytest.mark.parametrize(
    "fault",
    ["503", "after-503", "reset", "after-reset", "deadlock", "no-database", "after-pool-timeout", "html"],
)
def test_load__faults_that_pass(
    clean_store: stacks.Stack, wire: PostgrestWire, small: None, fault: str
) -> None:
    """Single faults on the way, before or after the request was carried out, are repeated and leave no trace."""
    wire.faults.add(fault, method="POST", times=3, after=1)
    counts = load(open_store(clean_store, wire.url), PLAIN)
    assert held(clean_store) == PLAIN
    assert (counts.read, counts.inserted + counts.unchanged, counts.rejected) == (25, 25, 0)
    assert fault.startswith("after") or counts.inserted == 25


def test_load__source_breaks(clean_store: stacks.Stack) -> None:
    """An error of the source on the way is passed on, after what was under way has ended; what is in stays."""

    def pages() -> Iterator[list[tuple[str, bytes]]]:
        yield list(PLAIN.items())[:10]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_store(clean_store).load(pages(), on_reject=print)
    assert len(held(clean_store)) == 10
    assert [thread for thread in threading.enumerate() if thread.name.startswith("load")] == []


def test_load__dry_run(clean_store: stacks.Stack, wire: PostgrestWire) -> None:
    """A dry run counts as the real one would and sends nothing but questions."""
    load(open_store(clean_store), PLAIN)
    clean_store.execute("update api.knack set deleted_at = now() where record_id = 'r001'")
    before = clean_store.execute("select t::text from api.knack t order by 1")
    changed = {**PLAIN, "r003": b"{}", "new": b"[]", 'new"2': b"[]"}
    documents = open_store(clean_store, wire.url)
    would = load(documents, changed, dry_run=True)
    assert would == Counts(read=27, inserted=2, updated=2, unchanged=23)
    sent = [seen for seen in wire.requests if seen.method != "GET"]
    # The digests to compare with are too long for an address.
    assert {seen.path for seen in sent} == {"/rpc/same_documents"}
    assert clean_store.execute("select t::text from api.knack t order by 1") == before
    assert load(open_store(clean_store), changed) == would


def test_load__postgrest_comes_back(clean_store: stacks.Stack, small: None) -> None:
    """PostgREST stops in the middle of a load and comes back: the load waits and goes on, nothing is lost."""
    session.set_testing(0.3)

    def pages() -> Iterator[list[tuple[str, bytes]]]:
        items = list(PLAIN.items())
        yield items[:10]
        clean_store.stop_postgrest()
        timer = threading.Timer(0.3, clean_store.start_postgrest)
        timer.start()
        yield items[10:20]
        timer.join()
        yield items[20:]

    counts = open_store(clean_store).load(pages(), on_reject=print)
    assert held(clean_store) == PLAIN
    assert counts.inserted + counts.unchanged == 25


def test_load__store_stays_away(clean_store: stacks.Stack) -> None:
    """A store that does not come back fails the load with one line that says where it looked."""
    documents = open_store(clean_store, "http://127.0.0.1:9")
    documents.postgrest.http.backoff = QUICK
    with pytest.raises(
        OutcomeUnknown,
        match=r"PostgREST POST /rpc/load_documents \(10 records of object_1\): connection refused",
    ):
        load(documents, PLAIN)


# -- read


def test_read__everything_alive(clean_store: stacks.Stack, small: None) -> None:
    """Without since: all that are alive, by id, in pages, with their bytes; tombstones only where asked for."""
    documents = open_store(clean_store)
    load(documents, PLAIN)
    clean_store.execute("update api.knack set deleted_at = now() where record_id in ('r000', 'r024')")
    alive = list(documents.read())
    assert [d.record_id for d in alive] == sorted(PLAIN)[1:-1]
    assert all(d.record == PLAIN[d.record_id] and not d.deleted and d.updated_at > "2020" for d in alive)
    every = list(documents.read(deleted=True))
    assert [d.record_id for d in every if d.deleted] == ["r000", "r024"]
    assert len(every) == 25
    assert list(documents.read_ids()) == sorted(PLAIN)[1:-1]
    assert documents.count_alive() == 23


@pytest.mark.parametrize("max_rows", [1, 2, 1000])
def test_read__postgrest_gives_fewer_rows(clean_store: stacks.Stack, max_rows: int, monkeypatch) -> None:
    """A PostgREST that is set to give few rows at a time (db-max-rows) hides none."""
    load(open_store(clean_store), PLAIN)
    with PostgrestWire(clean_store.url, max_rows=max_rows) as wire:
        documents = open_store(clean_store, wire.url)
        assert {d.record_id for d in documents.read()} == set(PLAIN)
        assert {d.record_id for d in documents.read(since="2020-01-01")} == set(PLAIN)
        assert list(documents.read_ids()) == sorted(PLAIN)


def test_read__since(clean_store: stacks.Stack, small: None) -> None:
    """With since: what changed, was deleted or came back at or after it, oldest first."""
    documents = open_store(clean_store)
    load(documents, PLAIN)
    at = clean_store.execute("select to_json(max(updated_at))#>>'{}' from api.knack")[0][0]
    last = clean_store.execute("select record_id from api.knack order by updated_at desc limit 1")[0][0]
    assert [d.record_id for d in documents.read(since=at)] == [last]
    clean_store.execute("update api.knack set deleted_at = now() where record_id = 'r005'")
    load(documents, {"r006": b"{}", "a new one": b"1"})
    changed = list(documents.read(since=at))
    assert [(d.record_id, d.deleted) for d in changed] == [
        (last, False),
        ("r005", True),
        ("r006", False),
        ("a new one", False),
    ]
    assert changed[1].record == PLAIN["r005"]
    assert [d.updated_at for d in changed] == sorted(d.updated_at for d in changed)


def test_read__since_same_moment(clean_store: stacks.Stack, small: None) -> None:
    """Many documents of the very same time are all read, each once, across pages."""
    documents = open_store(clean_store)
    load(documents, {**PLAIN, **ODD})
    clean_store.execute("""
        alter table api.knack disable trigger knack_keep_document;
        update api.knack set updated_at = '2025-01-01T00:00:00.123456+00';
        alter table api.knack enable trigger knack_keep_document;
    """)
    found = [d.record_id for d in documents.read(since="2025-01-01T00:00:00.123456+00:00")]
    assert found == sorted({**PLAIN, **ODD}, key=str.encode)
    assert list(documents.read(since="2025-01-01T00:00:00.123457+00:00")) == []


def test_read__while_it_changes(clean_store: stacks.Stack, small: None) -> None:
    """What is written while it is read is not lost: in an incremental read it comes (again) at the end."""
    documents = open_store(clean_store)
    load(documents, PLAIN)
    reading = documents.read(since="2020-01-01")
    first = next(reading)
    load(
        documents,
        {first.record_id: b'"again"', "new": b"1"},
    )
    rest = list(reading)
    assert [d.record_id for d in rest[-2:]] == [first.record_id, "new"]
    assert rest[-2].record == b'"again"'
    assert {d.record_id for d in rest} | {first.record_id} == {*PLAIN, "new"}


def test_read__all_while_ids_vanish(clean_store: stacks.Stack, small: None) -> None:
    """Documents deleted on the way neither hide nor repeat others."""
    documents = open_store(clean_store)
    load(documents, PLAIN)
    reading = documents.read()
    got = [next(reading).record_id for _ in range(3)]
    clean_store.execute(
        "update api.knack set deleted_at = now() where record_id in ('r000', 'r001', 'r002', 'r010')"
    )
    got += [d.record_id for d in reading]
    assert got == [record_id for record_id in sorted(PLAIN) if record_id != "r010"]


def test_read__cut_answers(clean_store: stacks.Stack, wire: PostgrestWire, small: None) -> None:
    """Answers that break off are asked for again: no half page passes for a whole one."""
    load(open_store(clean_store), PLAIN)
    for fault in ("cut", "reset", "html", "503"):
        wire.faults.add(fault, times=2, share=0.5)
    assert {d.record_id: d.record for d in open_store(clean_store, wire.url).read()} == PLAIN


def test_read__memory_by_bytes(clean_store: stacks.Stack, wire: PostgrestWire, monkeypatch) -> None:
    """Pages are sized by bytes: wide documents come few at a time."""
    monkeypatch.setattr(reading, "READ_BYTES", 50_000)
    monkeypatch.setattr(reading, "READ_ROWS_FIRST", 5)
    documents = open_store(clean_store, wire.url)
    load(documents, {f"r{n:03}": b'"' + b"x" * 10_000 + b'"' for n in range(40)})
    assert len(list(documents.read())) == 40
    assert max(seen.answer_bytes for seen in wire.requests if seen.method == "GET") < 60_000


# -- quoting


KEYS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from('",\\().*:%&+= ')
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(KEYS, min_size=1, max_size=6))
@example(
    keys={'"', "\\", '\\"', '\\\\"', "a,b", "(", ")", "null", "in.(a)", '"a"', ".eq.", "and=(x.is.null)"}
)
def test_quote__filters_find_exactly_the_key(clean_store: stacks.Stack, keys: set[str]) -> None:
    """Whatever an id looks like, in.() and or=() find that document and no other."""
    documents = open_store(clean_store, container="quoting")
    clean_store.execute("delete from api.knack")
    load(documents, {key: b'"%s"' % key.encode().hex().encode() for key in keys})
    ordered = sorted(keys, key=str.encode)
    for key in keys:
        assert documents.read_alive_ids([key]) == {key}
    assert documents.read_alive_ids(ordered) == keys
    rows = reading.READ_ROWS_FIRST
    reading.READ_ROWS_FIRST = 1
    try:
        assert [d.record_id for d in documents.read()] == ordered
        assert {d.record_id for d in documents.read(since="2020-01-01")} == keys
    finally:
        reading.READ_ROWS_FIRST = rows
    assert load(documents, dict.fromkeys(keys, b"0"), dry_run=True) == Counts(
        read=len(keys), updated=len(keys)
    )


# -- removal, siblings, metadata


def test_skip_alive_elsewhere__moved_records(clean_store: stacks.Stack) -> None:
    """A tombstone whose record is alive in a sibling is passed over; others and living documents go through."""
    load(open_store(clean_store, container="view_2"), {"moved": b"1", "both": b"1"})
    load(open_store(clean_store, container="view_3"), {"dead there": b"1"})
    clean_store.execute("update api.knack set deleted_at = now() where container_id = 'view_3'")
    documents = [
        Document("moved", b"1", deleted=True),
        Document("both", b"1"),
        Document("gone", b"1", deleted=True),
        Document("dead there", b"1", deleted=True),
    ]
    kept = open_store(clean_store).skip_alive_elsewhere(iter(documents), ["view_2", "view_3"])
    assert sorted(d.record_id for d in kept) == ["both", "dead there", "gone"]
    many = [Document(f"r{n:04}", b"", deleted=True) for n in range(250)]
    assert len(list(open_store(clean_store).skip_alive_elsewhere(many, ["view_2"]))) == 250
    assert list(open_store(clean_store).skip_alive_elsewhere(documents, [])) == documents


def test_metadata__round_trip(clean_store: stacks.Stack) -> None:
    """Metadata are kept byte for byte; the second time they are unchanged; a dry run writes nothing."""
    postgrest = connect(clean_store)
    body = '{"application": {"name":"Ünï 🛴", "objects":  [] } }'.encode()
    assert open_store(clean_store).read_metadata() is None
    assert store.load_metadata(postgrest, "a1", body, dry_run=True) == "inserted"
    assert open_store(clean_store).read_metadata() is None
    assert store.load_metadata(postgrest, "a1", body) == "inserted"
    assert store.load_metadata(postgrest, "a1", body) == "unchanged"
    assert clean_store.execute("select metadata::text from api.knack_metadata") == [(body.decode(),)]
    assert store.load_metadata(postgrest, "a1", b'{"application":{}}') == "updated"
    assert open_store(clean_store).require_metadata() == {"application": {}}
    with pytest.raises(StoreError, match="no metadata of the app a9.*Run metadata_to_postgrest.py first"):
        open_store(clean_store, app="a9").require_metadata()


def test_metadata__broken_characters(clean_store: stacks.Stack) -> None:
    """A broken letter in a label does not keep an app's metadata out: it becomes a blank."""
    postgrest = connect(clean_store)
    body = rb'{"application":{"name":"a\u0000b\ud83dc \\u0000 \ud83d\udef4"}}'
    assert store.decode_metadata(body)["application"]["name"] == "a\0b c \\u0000 🛴"
    assert store.load_metadata(postgrest, "a1", body) == "inserted"
    assert store.load_metadata(postgrest, "a1", body) == "unchanged"
    assert open_store(clean_store).read_metadata() == {"application": {"name": "a b c \\u0000 🛴"}}


def test_metadata__given_once(clean_store: stacks.Stack) -> None:
    """Metadata that came with another answer are not read again, once; after that the store is asked."""
    store.load_metadata(connect(clean_store), "a1", b'{"application":{}}')
    opened = open_store(clean_store)
    opened.take_metadata(rb'{"application":{"name":"\ud83d"}}')
    assert opened.read_metadata() == {"application": {"name": " "}}
    assert opened.read_metadata() == {"application": {}}
    opened.take_metadata(b"null")
    assert opened.read_metadata() == {"application": {}}


def test_read_documents__long_keys(clean_store: stacks.Stack) -> None:
    """Keys of letters that take many signs in an address are asked for in parts that PostgREST takes."""
    keys = [f"{'ش' * 200}{number:03}" for number in range(120)]
    documents = open_store(clean_store)
    load(documents, dict.fromkeys(keys, b"1"))
    assert documents.read_alive_ids(keys) == set(keys)
    assert sorted(document.record_id for document in documents.read_documents(keys[:60])) == keys[:60]


# -- tokens


def test_token__minted_and_renewed(clean_store: stacks.Stack, wire: PostgrestWire) -> None:
    """A token that ran out on the way is renewed in the middle of a load, once for each, and nobody notices."""
    postgrest = connect(clean_store, wire.url)
    documents = Store(postgrest, "knack", "a1", "object_1")
    load(documents, PLAIN)
    postgrest._token = clean_store.token("api_user", lifetime_s=-100)
    assert load(documents, PLAIN).unchanged == 25
    assert 1 <= [seen.status for seen in wire.requests].count(401) <= 2
    before = postgrest._token
    postgrest._token_ends = time.time() + 60
    assert documents.count_alive() == 25
    assert postgrest._token_ends > time.time() + 500
    assert [seen.status for seen in wire.requests].count(401) <= 2
    assert isinstance(before, str)


def test_token__static_and_expired(clean_store: stacks.Stack) -> None:
    """A fixed token that has expired is told before anything is sent, one that expires later at once."""
    with pytest.raises(ConfigError, match=r"PGREST_JWT expired at \d{4}-.*Nothing was sent.*mint_token"):
        connect(clean_store, jwt=clean_store.token("api_user", -3600))
    postgrest = connect(clean_store, jwt=clean_store.token("api_user"))
    documents = Store(postgrest, "knack", "a1", "object_1")
    assert load(documents, PLAIN).inserted == 25
    postgrest._token = clean_store.token("api_user", -100)
    with pytest.raises(RequestRefused, match="401 the token in PGREST_JWT has expired; make a new one"):
        documents.count_alive()
    with pytest.raises(ConfigError, match="PGREST_JWT is not a token"):
        connect(clean_store, jwt="hush")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jwt_secret": "x" * 32}, "the token is refused; was it signed with PostgREST's jwt-secret"),
        ({"role": "api_reader"}, "the token's role may not do this"),
        ({"role": "nobody"}, "role|refused|code"),
    ],
)
def test_token__wrong(
    clean_store: stacks.Stack, wire: PostgrestWire, changes: dict[str, str], said: str
) -> None:
    """A wrong secret or role is told in words of what to do, after one request."""
    with pytest.raises(RequestRefused, match=said):
        Store(connect(clean_store, wire.url, **changes), "knack", "a1", "object_1").count_alive()
    assert len(wire.requests) == 1


def test_mint_token__short_secret() -> None:
    """A secret that PostgREST would refuse is refused here."""
    with pytest.raises(ConfigError, match="32 bytes or more"):
        mint_token("x" * 31, "api_user")


def test_call__plan(clean_store: stacks.Stack) -> None:
    """A function's answer is decoded; one that gives nothing gives None."""
    postgrest = connect(clean_store)
    assert postgrest.call("watermark", {}) > "2020"
    assert postgrest.call("clear_load_pages", {}) is None
    with pytest.raises(RequestRefused, match="function is missing.*run services/migrate.py"):
        postgrest.call("no_such_function", {})
    decoded = msgspec.json.decode(postgrest.select("runs", [("limit", "1")]))
    assert decoded == []


def test_select__errors_hold_no_values(clean_store: stacks.Stack) -> None:
    """PostgreSQL's own words, which repeat values, are not in messages."""
    wanted: list[Callable[[], object]] = [
        lambda: connect(clean_store).select("knack", [("updated_at", "gte.s3cret-value")]),
        lambda: connect(clean_store).call("beat_run", {"run_id": "s3cret-value"}),
    ]
    for ask in wanted:
        with pytest.raises(RequestRefused) as caught:
            ask()
        assert "s3cret" not in str(caught.value)
        assert caught.value.status == 400
