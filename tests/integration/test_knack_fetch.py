"""Fetching from the Knack simulator: every page, every trap, never too fast."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from dev.simulators.city import SIGNALS_VIEW, WORK_ORDERS, City, build_city
from dev.simulators.knack import KnackSimulator
from services.utils import knack, session
from services.utils.errors import ConfigError, OutcomeUnknown, RequestRefused, SourceError
from services.utils.knack import fetch
from services.utils.records import Part
from services.utils.session import Backoff

RECORDS = r"/records$"
NUMBER, WARRANTY, MODIFIED = "field_300", "field_314", "field_335"


@pytest.fixture(scope="module")
def city() -> City:
    """A small city: 160 work orders, 50 signals."""
    return build_city(accounts=4, locations=30, signals=50, work_orders=160)


@pytest.fixture
def sim(city: City) -> Iterator[KnackSimulator]:
    """Its Knack app, without the limit of requests a second."""
    with KnackSimulator(city.metadata, city.records, rate_limit=None) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Waits take a hundredth; a page has 40 rows, so that there are four of work orders."""
    monkeypatch.setattr(fetch, "ROWS_PER_PAGE", 40)
    monkeypatch.setattr(fetch, "ROWS_LEAST", 10)
    session.set_testing(0.01)
    yield
    session.set_testing(1.0)


def connect(sim: KnackSimulator, **changes: str) -> knack.Knack:
    """A client with the right key, or another."""
    return knack.Knack(**{"url": sim.url, "app_id": sim.app_id, "api_key": sim.api_key, **changes})


def open_source(
    sim: KnackSimulator, container: str = WORK_ORDERS, client: Any = None, **more: Any
) -> knack.KnackSource:
    """A container ready to be walked."""
    client = client or connect(sim)
    app = knack.find_app(client, None, container)
    sim.requests.clear()
    return knack.open_source(client, app, container, **more)


def read(source: knack.KnackSource) -> list[tuple[str, bytes]]:
    """All records of a walk."""
    return [record for page in source.pages() for record in page.records]


def pages_asked(sim: KnackSimulator) -> list[tuple[int, int, int]]:
    """(rows a page, page, status) of each request for records."""
    return [
        (int(seen.query["rows_per_page"]), int(seen.query["page"]), seen.status)
        for seen in sim.requests
        if "rows_per_page" in seen.query
    ]


# -- pages


@pytest.mark.parametrize("container", [WORK_ORDERS, SIGNALS_VIEW])
def test_pages__every_record_once_byte_for_byte(sim: KnackSimulator, container: str) -> None:
    """A walk over an object or a view gives every record once, as the very bytes that Knack sent."""
    source = open_source(sim, container)
    got = read(source)
    assert dict(got) == sim.record_bytes(container)
    assert len(got) == len(dict(got)) > 40
    assert source.can_ask == (container == WORK_ORDERS)
    assert {status for *_, status in pages_asked(sim)} == {200}
    assert source.is_steady and not open_source(sim, "object_1").is_steady


def test_pages__how_they_are_asked_for(sim: KnackSimulator) -> None:
    """Pages of full size, one after the other, sorted by a number that never changes, both forms of each value."""
    pages = list(open_source(sim).pages())
    assert [len(page.records) for page in pages] == [40, 40, 40, 40]
    assert {page.total_records for page in pages} == {160}
    assert [seen.query for seen in sim.requests] == [
        {"rows_per_page": "40", "page": str(n), "format": "both", "sort_field": NUMBER, "sort_order": "asc"}
        for n in (1, 2, 3, 4)
    ]
    now = dt.datetime.now(dt.UTC)
    assert all(abs(now - page.server_time) < dt.timedelta(seconds=60) for page in pages)


def test_pages__stream(sim: KnackSimulator) -> None:
    """A page is asked for only when the one before it has been taken."""
    pages = open_source(sim).pages()
    next(pages)
    assert len(sim.requests) == 1
    next(pages)
    assert len(sim.requests) == 2


def test_pages__one_page_and_none(sim: KnackSimulator) -> None:
    """A container with fewer records than a page is one request; an empty one is one empty page, asked for once."""
    assert len(read(open_source(sim, "object_1"))) == 4
    assert len(sim.requests) == 1
    for record_id in list(sim.record_bytes("object_1")):
        sim.delete_record("object_1", record_id)
    for pages_of_nothing in (0, 1):
        sim.switches.pages_of_nothing = pages_of_nothing
        source = open_source(sim, "object_1")
        (page,) = source.pages()
        assert (page.records, page.total_records) == ([], 0)
        assert len(sim.requests) == 1


def test_pages__short_pages(sim: KnackSimulator) -> None:
    """Short pages in the middle are normal: the position is counted by rows, not by what came."""
    withheld = sim.withhold(WORK_ORDERS, 7, page=2, rows_per_page=40)
    got = dict(read(open_source(sim)))
    assert set(sim.record_bytes(WORK_ORDERS)) - set(got) == set(withheld)
    assert [page for _, page, _ in pages_asked(sim)] == [1, 2, 3, 4]


def test_pages__edited_on_the_way(sim: KnackSimulator) -> None:
    """Records edited during the walk neither vanish nor push others out, thanks to the order."""
    ids = list(sim.record_bytes(WORK_ORDERS))
    pages = open_source(sim).pages()
    got = [record_id for record_id, _ in next(pages).records]
    for record_id in ids[::7]:
        sim.edit_record(WORK_ORDERS, record_id, {"field_301": "Another title"})
    got += [record_id for page in pages for record_id, _ in page.records]
    assert sorted(got) == sorted(ids)


@pytest.mark.parametrize("over", [3, 40, 90])
def test_pages__overstated_total(sim: KnackSimulator, over: int) -> None:
    """A total that is too high, by some or by pages, ends the walk well; empty last pages are asked for again first."""
    sim.switches.overstate_total = over
    pages = list(open_source(sim).pages())
    assert dict(record for page in pages for record in page.records) == sim.record_bytes(WORK_ORDERS)
    assert pages[0].total_records == 160 + over
    empty_pages = -(-over // 40)
    assert len(sim.requests) == 4 + 4 * empty_pages


def test_pages__wrongly_empty(sim: KnackSimulator) -> None:
    """A page that comes empty with others behind it is asked for again, and then it is all there."""
    sim.faults.add("empty-page", path=RECORDS, after=1, times=2)
    assert dict(read(open_source(sim))) == sim.record_bytes(WORK_ORDERS)
    assert [page for _, page, _ in pages_asked(sim)] == [1, 2, 2, 2, 3, 4]


@pytest.mark.parametrize("after", [0, 1])
def test_pages__empty_in_the_middle_for_good(sim: KnackSimulator, after: int) -> None:
    """A page that stays empty while later ones have records fails the walk, told with the page."""
    sim.faults.add("empty-page", path=RECORDS, after=after, times=4)
    with pytest.raises(
        SourceError, match=f"page {after + 1} of object_31 without records, and later ones with"
    ):
        read(open_source(sim))


def test_pages__empty_from_the_middle_on(sim: KnackSimulator) -> None:
    """Pages that stay empty to the end give what there was, and a total by which the loss can be seen."""
    sim.faults.add("empty-page", path=RECORDS, after=2, times=None)
    pages = list(open_source(sim).pages())
    assert sum(len(page.records) for page in pages) == 80
    assert pages[-1].total_records == 160


@pytest.mark.parametrize(
    "fault", ["503", "500", "504", "reset", "cut", "html", "short-body", "429", "after-503"]
)
def test_pages__faults_that_pass(sim: KnackSimulator, fault: str) -> None:
    """Server errors, throttling, resets, cut bodies and HTML in place of JSON are asked again; nothing is lost."""
    sim.faults.add(fault, path=RECORDS, after=1, times=3)
    assert dict(read(open_source(sim))) == sim.record_bytes(WORK_ORDERS)
    assert len(sim.requests) == 7
    assert {rows for rows, *_ in pages_asked(sim)} == {40}


def test_pages__short_page_fault(sim: KnackSimulator) -> None:
    """Half a page with the right totals cannot be told from a short page: it passes, and the total shows it."""
    sim.faults.add("short-page", path=RECORDS, after=1)
    pages = list(open_source(sim).pages())
    assert sum(len(page.records) for page in pages) == 140 < pages[-1].total_records


def test_pages__size_is_halved(sim: KnackSimulator, caplog: pytest.LogCaptureFixture) -> None:
    """A page that fails again and again is asked for in halves, from the same record on, and all records come."""
    caplog.set_level(logging.INFO)
    source = open_source(sim)
    sim.faults.add("503", path=RECORDS, after=1, times=10)
    assert dict(read(source)) == sim.record_bytes(WORK_ORDERS)
    asked = [(rows, page) for rows, page, _ in pages_asked(sim)]
    assert asked[:11] == [(40, 1)] + [(40, 2)] * 5 + [(20, 3)] * 5
    assert asked[11:] == [(10, page) for page in range(5, 17)]
    assert "page 2 of object_31 fails; going on with 20 rows a page" in caplog.messages


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_pages__shards(sim: KnackSimulator, shards: int) -> None:
    """Every page is in one shard: together they are everything, none of them asks for another's pages."""
    found: list[tuple[str, bytes]] = []
    asked: list[list[int]] = []
    for number in range(1, shards + 1):
        found += read(open_source(sim, part=Part(shards, number)))
        asked.append([page for _, page, _ in pages_asked(sim)])
    assert len(found) == 160 and dict(found) == sim.record_bytes(WORK_ORDERS)
    # One page at least, past the end too: it tells how many records there are.
    assert asked == [list(range(number, 5, shards)) or [number] for number in range(1, shards + 1)]


def test_pages__shards_in_halves(sim: KnackSimulator) -> None:
    """A shard whose page comes only in parts asks for all parts of its own pages, and for no other's."""
    source = open_source(sim, part=Part(2, 2))
    sim.faults.add("503", path=RECORDS, times=5)
    wanted = list(sim.record_bytes(WORK_ORDERS).items())
    assert read(source) == wanted[40:80] + wanted[120:160]
    assert [(rows, page) for rows, page, _ in pages_asked(sim)][5:] == [(20, 3), (20, 4), (20, 7), (20, 8)]


def test_pages__shard_wrongly_empty(sim: KnackSimulator) -> None:
    """A shard's page that stays empty while a later one, another shard's, has records fails the walk."""
    source = open_source(sim, part=Part(2, 2))
    sim.faults.add("empty-page", path=RECORDS, times=4)
    with pytest.raises(SourceError, match="page 2 of object_31 without records, and later ones with"):
        read(source)
    assert [page for _, page, _ in pages_asked(sim)] == [2, 2, 2, 2, 3]


def test_pages__shards_without_an_order(sim: KnackSimulator, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing keeps records in their place, a shard says so."""
    client = connect(sim)
    app = knack.find_app(client, None, WORK_ORDERS)
    with_number = knack.open_source(client, app, WORK_ORDERS, part=Part(2, 1))
    assert with_number.sort_field and not caplog.messages
    knack.open_source(client, app, "object_1", part=Part(2, 1))
    assert "object_1 shows no auto-increment field to sort by" in caplog.text


def test_pages__fail_for_good(sim: KnackSimulator) -> None:
    """A page that never comes, however small, fails with the page's name, without its query."""
    source = open_source(sim)
    sim.faults.add("503", path=RECORDS, times=None)
    with pytest.raises(
        OutcomeUnknown, match=r"Knack GET /v1/objects/object_31/records \(page 1 of object_31\): 503"
    ):
        read(source)
    assert [rows for rows, *_ in pages_asked(sim)] == [40] * 5 + [20] * 5 + [10] * 8


@pytest.mark.parametrize(
    "body",
    [
        b'{"total_pages":1,"total_records":1,"records":[{"field_1":"hush"}]}',
        b'{"total_pages":1,"total_records":1,"records":[{"id":7}]}',
        b'{"total_pages":1,"total_records":1,"records":["hush"]}',
        b'{"total_pages":1,"total_records":1,"records":[{"id":"\xff"}]}',
    ],
)
def test_pages__record_without_id(sim: KnackSimulator, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record without an id that can be read stops the walk with one line that holds nothing of the record."""
    source = open_source(sim)
    _answer_with(sim, body, monkeypatch)
    with pytest.raises(SourceError, match="a record of object_31 without an id") as caught:
        read(source)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b'{"records":[]}', b'{"records":[{"id":"5"}],"total_pages":1}', b'{"total_pages":1}'],
)
def test_pages__not_a_page(sim: KnackSimulator, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON that is no page, or one without totals, is never taken for the last page."""
    source = open_source(sim)
    _answer_with(sim, body, monkeypatch)
    with pytest.raises(OutcomeUnknown, match="the body is not a page of records"):
        read(source)


def test_pages__odd_bytes(sim: KnackSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half pairs, NULs, odd spacing and ids anywhere in the record pass through untouched."""
    records = [
        rb'{"field_1":"\ud83d","id":"5d0000000000000000000001"}',
        rb'{ "id" : "5d0000000000000000000002", "a":"\u0000"}',
        b'{"id":"5d0000000000000000000003","a":"\xff"}',
        b'{"a":{"id":"5d00000000000000000000ff"},"id":"5d0000000000000000000004"}',
    ]
    body = b'{"total_pages":1,"current_page":"1","total_records":4,"records":[' + b" ,".join(records) + b"]}"
    source = open_source(sim)
    _answer_with(sim, body, monkeypatch)
    assert read(source) == [(f"5d000000000000000000000{n}", record) for n, record in enumerate(records, 1)]


def _answer_with(sim: KnackSimulator, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulator answer every request for records with these bytes."""
    from dev.simulators.base import Answer

    monkeypatch.setattr(
        sim, "answer", lambda request: Answer(200, body, {"Content-Type": "application/json"})
    )


# -- limits


def test_limits__never_too_fast(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients of one app, each as quick as it can, never meet Knack's limit of ten requests in any second."""
    session.set_testing(1.0)
    monkeypatch.setattr(fetch, "ROWS_PER_PAGE", 10)
    with KnackSimulator(city.metadata, city.records) as strict:
        sources = [open_source(strict, client=connect(strict)) for _ in range(2)]
        started = time.monotonic()
        with ThreadPoolExecutor() as pool:
            assert [len(found) for found in pool.map(read, sources)] == [160, 160]
        # Ten at once, three times, and two more.
        assert time.monotonic() - started >= 3.0
        assert [status for _, _, status in pages_asked(strict)] == [200] * 32


def test_limits__throttled_by_others(sim: KnackSimulator, caplog: pytest.LogCaptureFixture) -> None:
    """Where others use the app too, being throttled is waited out until the time that Knack names."""
    caplog.set_level(logging.INFO)
    source = open_source(sim)
    now = int(time.time())
    headers = {"X_RateLimit_Reset": str(now + 2), "X_PlanLimit_Remaining": "7"}
    sim.faults.add("429", path=RECORDS, times=2, headers=headers)
    assert len(read(source)) == 160
    waits = [line for line in caplog.messages if "more than 10 requests a second; trying again in" in line]
    assert len(waits) == 2
    seconds = float(waits[0].split("again in ")[1].split()[0])
    assert 0.2 <= seconds <= 3


def test_limits__plan_used_up(sim: KnackSimulator) -> None:
    """A plan that is used up ends the run after one request: waiting until tomorrow would help nobody."""
    source = open_source(sim)
    sim.limits.used = sim.limits.plan
    with pytest.raises(
        RequestRefused,
        match=r"429 the plan's requests for today are used up; they come back in \d+\.\d hours",
    ) as e:
        read(source)
    assert e.value.code == "plan-limit"
    assert len(sim.requests) == 1


# -- refusals


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"app_id": "zzz"}, 400, "KNACK_APP_ID is not an application's id"),
        ({"app_id": "5d0000000000000000000000"}, 401, "check KNACK_APP_ID"),
        ({"api_key": "wrong-key"}, 401, "KNACK_API_KEY is not this application's key"),
        ({"api_key": ""}, 401, "objects need a real API key"),
        ({"api_key": "knack"}, 401, "objects need a real API key"),
    ],
)
def test_refused__one_request_and_a_clear_line(
    sim: KnackSimulator, changes: dict[str, str], status: int, said: str
) -> None:
    """Wrong ids and keys end after one request with a line that names the variable, and never its value."""
    source = open_source(sim)
    client = connect(sim, **changes)
    with pytest.raises(RequestRefused, match=rf"{status} .*{said}") as caught:
        read(knack.KnackSource(client, source.place))
    assert len(sim.requests) == 1
    assert "wrong-key" not in str(caught.value)
    assert sim.api_key not in str(caught.value)


def test_refused__view_that_is_not_open(sim: KnackSimulator) -> None:
    """A view that the key does not open, or that is on another scene, is told as such."""
    source = open_source(sim, SIGNALS_VIEW)
    sim.faults.add("403", path=RECORDS)
    with pytest.raises(RequestRefused, match="403 "):
        read(source)
    elsewhere = knack.open_source(
        connect(sim), knack.open_app(_metadata(sim)), SIGNALS_VIEW, scene_id="scene_1"
    )
    with pytest.raises(RequestRefused, match="404 not found; check the container's id and its scene_id"):
        read(elsewhere)


def _metadata(sim: KnackSimulator) -> dict[str, Any]:
    return msgspec.json.decode(connect(sim).fetch_metadata(), type=dict[str, Any])


# -- filters


def changed_since(
    sim: KnackSimulator, since: str, container: str = WORK_ORDERS, field: str = MODIFIED
) -> set[str]:
    """Ids that an incremental walk gives."""
    when = dt.datetime.fromisoformat(since)
    return {record_id for record_id, _ in read(open_source(sim, container, modified_field=field, since=when))}


def test_filter__evening_in_chicago(sim: KnackSimulator) -> None:
    """An edit of an evening in Chicago, which is the next day in UTC, is found from a time just before it."""
    ids = list(sim.record_bytes(WORK_ORDERS))
    for record_id, at in zip(
        ids,
        ["2025-07-06T01:59", "2025-07-05T23:00", "2025-07-05T04:50", "2025-07-04T12:00", "2025-07-03T12:00"],
    ):
        when = dt.datetime.fromisoformat(at + ":00+00:00")
        sim.clock = lambda when=when: when
        sim.edit_record(WORK_ORDERS, record_id, {"field_301": "x"})
    found = changed_since(sim, "2025-07-06T01:58:00+00:00")
    filters = msgspec.json.decode(sim.requests[0].query["filters"])
    assert filters == {
        "match": "or",
        "rules": [
            {"field": MODIFIED, "operator": "is", "value": "07/04/2025"},
            {"field": MODIFIED, "operator": "is after", "value": "07/04/2025"},
        ],
    }
    # One day of overlap, by the days of Chicago: the fourth counts from its first minute, the third does not.
    assert set(ids[:4]) <= found
    assert ids[4] not in found


def test_filter__the_day_itself(sim: KnackSimulator) -> None:
    """What changed on the very day is found, though Knack's "is after" leaves that day out."""
    ids = list(sim.record_bytes(WORK_ORDERS))
    at = dt.datetime(2030, 1, 2, 18, tzinfo=dt.UTC)
    sim.clock = lambda: at
    sim.edit_record(WORK_ORDERS, ids[0], {"field_301": "x"})
    for since in ("2030-01-02T17:59:00+00:00", "2030-01-02T18:00:00+00:00", "2030-01-03T12:00:00-06:00"):
        assert changed_since(sim, since) == {ids[0]}
    assert changed_since(sim, "2030-01-04T12:00:00-06:00") == set()


def test_filter__day_before_month(sim: KnackSimulator) -> None:
    """A field that is written day first is filtered day first: the tenth of March is not the third of October."""
    ids = list(sim.record_bytes(WORK_ORDERS))
    for record_id in ids:
        sim.edit_record(WORK_ORDERS, record_id, {WARRANTY: dt.date(2024, 1, 1)})
    for record_id, day in zip(ids, [(3, 9), (3, 10), (3, 11), (10, 3)]):
        sim.edit_record(WORK_ORDERS, record_id, {WARRANTY: dt.date(2025, *day)})
    assert changed_since(sim, "2025-03-11T18:00:00+00:00", field=WARRANTY) == set(ids[1:4])
    assert '"10/03/2025"' in sim.requests[0].query["filters"]


def test_filter__pages_too(sim: KnackSimulator) -> None:
    """The filter goes with every page, and totals are those of what it lets through."""
    source = open_source(sim, modified_field=MODIFIED, since=dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
    dated = [record["id"] for record in sim.records(WORK_ORDERS) if record[MODIFIED]]
    assert 120 < len(dated) < 160
    assert sorted(record_id for record_id, _ in read(source)) == sorted(dated)
    assert len(sim.requests) == 4
    assert len({seen.query["filters"] for seen in sim.requests}) == 1


def test_filter__nothing_changed(sim: KnackSimulator) -> None:
    """Nothing changed is one request: the empty answer with a total of none is believed at once."""
    assert changed_since(sim, "2040-01-01T00:00:00+00:00") == set()
    assert len(sim.requests) == 1


def test_filter__wrong_field(sim: KnackSimulator) -> None:
    """A field that is no date, has none, or is not in the container, is refused before anything is sent."""
    for field, said in (
        ("field_301", "of type 'short_text'"),
        ("field_313", "a time without a date"),
        ("field_246", "no field"),
    ):
        with pytest.raises(ConfigError, match=said):
            open_source(sim, modified_field=field, since=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
        assert sim.requests == []


# -- one record, metadata, places


def test_fetch_record__there_gone_unclear(sim: KnackSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is there comes as its bytes, one that is gone is None, anything else is an error."""
    source = open_source(sim)
    records = sim.record_bytes(WORK_ORDERS)
    here, gone = list(records)[:2]
    sim.delete_record(WORK_ORDERS, gone)
    assert source.fetch_record(here) == records[here]
    assert source.fetch_record(gone) is None
    sim.faults.add("503", times=2)
    assert source.fetch_record(here) == records[here]
    for fault in ("404", "401", "403"):
        sim.faults.add(fault, path=here)
        with pytest.raises(SourceError):
            source.fetch_record(here)
    _answer_with(sim, records[gone], monkeypatch)
    with pytest.raises(SourceError, match=f"something else when asked for the record {here}"):
        source.fetch_record(here)
    _answer_with(sim, b'{"delete":true}', monkeypatch)
    with pytest.raises(SourceError, match="something else"):
        source.fetch_record(here)


def test_fetch_metadata__bytes(sim: KnackSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata come byte for byte, broken letters included; what is none is refused."""
    client = connect(sim)
    assert client.fetch_metadata() == sim._metadata
    _answer_with(sim, rb'{"application":{"name":"\ud83d"}}', monkeypatch)
    assert client.fetch_metadata() == rb'{"application":{"name":"\ud83d"}}'
    for body in (b"{}", b"[]", b'{"app":1}'):
        _answer_with(sim, body, monkeypatch)
        with pytest.raises(SourceError, match="has no application"):
            client.fetch_metadata()


def test_find_app__stored_or_asked(sim: KnackSimulator, city: City) -> None:
    """Stored metadata do, where they know the container; else Knack is asked, once."""
    client = connect(sim)
    knack.find_app(client, city.metadata, WORK_ORDERS)
    assert sim.requests == []
    application = dict(city.metadata["application"])
    application["objects"] = [one for one in application["objects"] if one["key"] != WORK_ORDERS]
    app = knack.find_app(client, {"application": application}, WORK_ORDERS)
    assert WORK_ORDERS in app.containers()
    assert len(sim.requests) == 1
    with pytest.raises(ConfigError, match="no object or view 'object_999'"):
        knack.find_app(client, city.metadata, "object_999")


def test_find_place__scene(sim: KnackSimulator, city: City) -> None:
    """A view's scene comes from the configuration, else from the metadata; without either it is an error."""
    app = knack.open_app(city.metadata)
    assert knack.find_place(SIGNALS_VIEW, "", app).path == f"/v1/pages/scene_50/views/{SIGNALS_VIEW}/records"
    assert (
        knack.find_place(SIGNALS_VIEW, "scene_7", app).path
        == f"/v1/pages/scene_7/views/{SIGNALS_VIEW}/records"
    )
    assert knack.find_place(WORK_ORDERS, "", None).path == "/v1/objects/object_31/records"
    with pytest.raises(ConfigError, match="its scene is not known.*Set scene_id"):
        knack.find_place(SIGNALS_VIEW, "", None)


def test_sort__without_a_number(sim: KnackSimulator) -> None:
    """A container without an auto increment is walked in its own order, without a sort."""
    assert len(read(open_source(sim, "object_1"))) == 4
    assert "sort_field" not in sim.requests[0].query


def test_client__no_secret_in_repr(sim: KnackSimulator) -> None:
    """The key is not in what a trace would show of the client."""
    source = open_source(sim)
    assert sim.api_key not in repr(source) + repr(source.knack._http)


def test_client__gives_up_in_time(sim: KnackSimulator) -> None:
    """Being throttled without end ends at the deadline, as a refusal: nothing was carried out."""
    source = open_source(sim)
    source.knack._http.backoff = Backoff(attempts=2, factor_s=0.01, deadline_s=0.2)
    sim.faults.add("429", times=None)
    with pytest.raises(RequestRefused, match="more than 10 requests a second; gave up after"):
        source.fetch_record("5d0000000000000000000001")
