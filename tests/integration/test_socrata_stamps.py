"""A column that says when a row was published: what is stamped, and what is not sent for the stamp's sake."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from typing import Any

import pytest

from dev.simulators.socrata import SocrataSimulator
from services.utils import socrata
from services.utils.differences import Differences
from services.utils.errors import ConfigError, PublishError
from services.utils.guard import DeleteGuard
from services.utils.records import Counts, Row
from services.utils.session import Backoff

ID = "abcd-1234"
COLUMNS = {
    "id": "text",
    "name": "text",
    "n": "number",
    "ok": "checkbox",
    "day": "calendar_date",
    "moment": "date",
    "place": "point",
    "places": "multipoint",
    "road": "line",
    "site": "location",
    "page": "url",
    "published": "calendar_date",
}
QUICK = Backoff(attempts=4, factor_s=0.01, max_wait_s=0.02, jitter_s=0.0, deadline_s=5.0)
LIMITS = socrata.Limits(put_rows=0, batch_rows=10, lag_s=0.2, poll_s=0.01)
CHICAGO = zoneinfo.ZoneInfo("America/Chicago")
FIRST, SECOND = (dt.datetime(2026, 7, 1, hour, 30, 5, 123, CHICAGO) for hour in (8, 9))
PUBLISHED = {FIRST: "2026-07-01T08:30:05.000", SECOND: "2026-07-01T09:30:05.000"}


@pytest.fixture
def portal():
    """A portal with one empty dataset of every type of column."""
    with SocrataSimulator(seed=3) as simulator:
        simulator.create_dataset(ID, COLUMNS, row_id="id")
        yield simulator


def build_row(number: int, **changed: Any) -> Row:
    """A row with a value in every column, as a source formats them."""
    place = {"latitude": 30.1 + number, "longitude": -97.123456789, "street": "1 Oak St", "city": "Austin"}
    values = {
        "id": f"R{number:04}",
        "name": f"O'Hara \0 {number}",
        "n": [13.7333, "1,250.50", 7, 1e21, "-0.0"][number % 5],
        "ok": ["Yes", False][number % 2],
        "day": "2025-03-09T16:05:00-05:00",
        "moment": "2025-03-09T16:05:00-05:00",
        "place": place,
        "places": [place, place],
        "road": {"type": "LineString", "coordinates": [[-97.1, 30.2], [-97.2, 30.333333333333336]]},
        "site": place,
        "page": {"url": "https://example.org/a", "label": "A"},
        "unknown": "no column has this name",
        **changed,
    }
    return Row(str(values["id"]), values)


def publish(portal: SocrataSimulator, rows: list[Row], when: dt.datetime, **more: Any) -> Counts:
    """Publish rows with a stamp; none may be refused."""
    client = socrata.connect(
        portal.url, portal.username, portal.password, portal.app_token, backoff=more.pop("backoff", QUICK)
    )
    dataset = socrata.open_dataset(client, ID)
    refused: list[Any] = []
    counts = socrata.publish(
        iter(rows),
        dataset,
        replace=more.pop("replace", True),
        guard=DeleteGuard(100),
        on_reject=refused.append,
        limits=LIMITS,
        stamp=socrata.build_stamp(dataset, "published", when),
        **more,
    )
    assert refused == []
    return counts


def read_stamps(portal: SocrataSimulator) -> dict[str, str]:
    """{id: when it was published}."""
    return {row["id"]: row.get("published", "") for row in portal.rows(ID)}


@pytest.mark.parametrize("replace", [True, False])
def test_publish__rows_that_did_not_change_keep_their_stamp(portal, replace):
    """Published again an hour later, only rows that differ are sent and stamped anew; the others are unchanged."""
    rows = [build_row(number) for number in range(23)] + [
        Row("R0099", {"id": "R0099", "name": "bare"}),
        Row("it's", {"id": "it's", "name": ""}),
    ]
    assert publish(portal, rows, FIRST, replace=replace).inserted == 25
    assert set(read_stamps(portal).values()) == {PUBLISHED[FIRST]}
    writes = len(portal.writes(ID))
    assert publish(portal, rows, SECOND, replace=replace) == Counts(read=25, unchanged=25)
    assert len(portal.writes(ID)) == writes
    rows[4] = build_row(4, n=14.7333)
    rows[7] = build_row(7, page=None)
    counts = publish(portal, rows, SECOND, replace=replace)
    assert counts == Counts(read=25, updated=2, unchanged=23)
    assert [key for key, at in read_stamps(portal).items() if at == PUBLISHED[SECOND]] == ["R0004", "R0007"]
    assert "page" not in (portal.row(ID, "R0007") or {})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "Another"),
        ("n", 8),
        ("ok", None),
        ("day", "2025-03-09T16:06:00-05:00"),
        ("moment", "2025-03-09T16:05:00-06:00"),
        ("place", {"latitude": 30.1000001, "longitude": -97.5}),
        ("places", None),
        ("road", {"type": "LineString", "coordinates": [[-97.1, 30.2], [-97.2, 30.4]]}),
        ("site", {"latitude": 30.1, "longitude": -97.123456789, "street": "2 Oak St", "city": "Austin"}),
        ("page", {"url": "https://example.org/a", "label": "B"}),
    ],
)
def test_publish__every_kind_of_change_is_seen(portal, column, value):
    """A change in a column of any type is sent, and stamped."""
    publish(portal, [build_row(0), build_row(1)], FIRST)
    assert publish(portal, [build_row(0, **{column: value}), build_row(1)], SECOND) == Counts(
        read=2, updated=1, unchanged=1
    )
    assert read_stamps(portal) == {"R0000": PUBLISHED[SECOND], "R0001": PUBLISHED[FIRST]}


def test_publish__a_row_without_a_stamp_gets_one(portal):
    """Rows published before the setting was made are stamped once, though nothing else changed."""
    plain = socrata.open_dataset(
        socrata.connect(portal.url, portal.username, portal.password, portal.app_token, backoff=QUICK), ID
    )
    socrata.publish(
        iter([build_row(0)]), plain, replace=True, guard=DeleteGuard(), on_reject=print, limits=LIMITS
    )
    assert publish(portal, [build_row(0)], FIRST).updated == 1
    assert publish(portal, [build_row(0)], SECOND).unchanged == 1


def test_publish__few_rows_are_asked_for_by_their_keys(portal):
    """An incremental run over a large dataset does not read all of it to compare a few rows."""
    rows = [build_row(number) for number in range(60)]
    publish(portal, rows, FIRST)
    portal.requests.clear()
    assert publish(portal, rows[:3], SECOND, replace=False) == Counts(read=3, unchanged=3)
    asked = [seen.query for seen in portal.requests if seen.method == "GET" and "$order" in seen.query]
    assert [query["$where"] for query in asked] == ["`id` in ('R0000','R0001','R0002')"]


def test_publish__what_readers_do_not_see_yet_is_not_trusted(portal):
    """Where the portal's readers are behind, a row that they show as it was before is sent all the same."""
    publish(portal, [build_row(0)], FIRST)
    portal.switches.replica_lag_s = 60.0
    publish(portal, [build_row(0, name="changed")], FIRST, replace=False)
    assert publish(portal, [build_row(0)], SECOND, replace=False).updated == 1
    row = portal.row(ID, "R0000")
    assert row is not None and "O'Hara" in row["name"] and row["published"] == PUBLISHED[SECOND]


def test_publish__dry_run_says_what_would_be_stamped(portal):
    """A dry run counts unchanged rows as the real one does, and writes nothing."""
    rows = [build_row(number) for number in range(4)]
    publish(portal, rows, FIRST)
    counts = publish(portal, [build_row(0, n=0), *rows[1:]], SECOND, dry_run=True)
    assert counts == Counts(read=4, updated=1, unchanged=3)
    assert set(read_stamps(portal).values()) == {PUBLISHED[FIRST]}


def test_publish__a_row_refused_alone_keeps_the_others_stamped(portal):
    """Where a batch is halved to find a bad row, every row that is saved has its stamp."""
    client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token, backoff=QUICK)
    dataset = socrata.open_dataset(client, ID)
    portal.refuse_ids(ID, "R0002")
    refused: list[Any] = []
    counts = socrata.publish(
        iter([build_row(number) for number in range(5)]),
        dataset,
        replace=True,
        guard=DeleteGuard(),
        on_reject=refused.append,
        limits=LIMITS,
        stamp=socrata.build_stamp(dataset, "published", FIRST),
    )
    assert (counts.inserted, counts.rejected) == (4, 1)
    assert set(read_stamps(portal).values()) == {PUBLISHED[FIRST]}
    assert json.loads(json.dumps(refused[0].content))["published"] == PUBLISHED[FIRST]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("publishd", "no column; nearest: published"),
        ("n", "a column of type number"),
        ("id", "the row identifier"),
    ],
)
def test_build_stamp__refuses_a_column_that_holds_no_time(portal, column, said):
    """A column that is not there, is no time or names the rows is a configuration error."""
    client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token, backoff=QUICK)
    dataset = socrata.open_dataset(client, ID)
    with pytest.raises(ConfigError, match=said):
        socrata.build_stamp(dataset, column, FIRST)
    assert socrata.build_stamp(dataset, "", FIRST) is None


def test_publish__compare_waits_for_what_readers_see(portal):
    """Rows that readers do not see yet are not compared: the run ends with a line that says so, nothing sent."""
    publish(portal, [build_row(0)], FIRST)
    portal.switches.replica_lag_s = 60.0
    publish(portal, [build_row(0, name="changed")], FIRST, replace=False)
    writes = len(portal.writes(ID))
    with pytest.raises(PublishError, match="its rows cannot be compared. Nothing was changed"):
        publish(portal, [build_row(0)], SECOND, compare=True)
    assert len(portal.writes(ID)) == writes


def test_publish__compare_sends_what_differs_only(portal):
    """Without a stamp too, only rows that the dataset lacks or has otherwise are sent, and told."""
    client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token, backoff=QUICK)
    dataset = socrata.open_dataset(client, ID)
    more = {"replace": True, "guard": DeleteGuard(100), "on_reject": print, "limits": LIMITS, "compare": True}
    rows = [build_row(number) for number in range(9)]
    assert socrata.publish(iter(rows), dataset, **more).inserted == 9
    portal.upsert(ID, [{"id": "R0001", "name": "By hand"}, {"id": "R0002", ":deleted": True}, {"id": "new"}])
    differences = Differences()
    counts = socrata.publish(iter(rows), dataset, differences=differences, **more)
    assert counts == Counts(read=9, inserted=1, updated=1, unchanged=7, deleted=1)
    assert {(one.kind, one.key, one.record_id) for one in differences.take()} == {
        ("missing", "R0002", "R0002"),
        ("differing", "R0001", "R0001"),
        ("extra", "new", ""),
    }
    assert (differences.held, differences.others, differences.key_name) == (9, 0, "id")
    differences.close()
    assert sum(write.rows for write in portal.writes(ID)[1:]) == 3
    assert socrata.publish(iter(rows), dataset, **more) == Counts(read=9, unchanged=9)
