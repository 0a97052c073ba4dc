"""Filters: every family of operators, and the ways in which dates lose records."""

import json
from datetime import UTC, datetime

import pytest

from dev.simulators.city import SIGNALS_VIEW
from tests.simulators.knack.conftest import RECORDS, rule

OBJECT = "/v1/objects/object_9/records"
HELD = RECORDS["object_9"]
SITE = RECORDS["object_4"][0]["id"]


def raw(record, number):
    """The raw half of a field, None where there is none."""
    return record.get(f"field_{number}_raw")


def links(record, number):
    """Ids of the records that a connection leads to."""
    return {link["id"] for link in record[f"field_{number}_raw"]}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (rule("field_41", "is", "TRAIL"), lambda r: raw(r, 41) == "trail"),
        (rule("field_41", "is not", "trail"), lambda r: raw(r, 41) != "trail"),
        (rule("field_42", "contains", "loop"), lambda r: "loop" in (raw(r, 42) or "")),
        (rule("field_42", "does not contain", "loop"), lambda r: "loop" not in (raw(r, 42) or "")),
        (rule("field_41", "starts with", "s"), lambda r: (raw(r, 41) or "").lower().startswith("s")),
        (rule("field_41", "ends with", "t"), lambda r: (raw(r, 41) or "").lower().endswith("t")),
        (rule("field_41", "is blank"), lambda r: raw(r, 41) is None),
        (rule("field_41", "is not blank"), lambda r: raw(r, 41) is not None),
        (
            rule("field_60", "contains", "@example.org"),
            lambda r: raw(r, 60) is not None,
        ),
        (rule("field_61", "starts with", "(512)"), lambda r: raw(r, 61) is not None),
        (rule("field_62", "starts with", "https://"), lambda r: raw(r, 62) is not None),
        (rule("field_63", "contains", "Austin"), lambda r: "Austin" in r["field_63"]),
        (rule("field_44", "higher than", "20,000"), lambda r: raw(r, 44) > 20_000),
        (rule("field_44", "lower than", 20000), lambda r: raw(r, 44) < 20_000),
        (rule("field_45", "higher than", "$1,000"), lambda r: float(raw(r, 45) or 0) > 1000),
        (rule("field_66", "is", "2"), lambda r: raw(r, 66) == 2),
        (rule("field_48", "is", "Yes"), lambda r: raw(r, 48) is True),
        (rule("field_48", "is", False), lambda r: raw(r, 48) is False),
        (rule("field_48", "is not", "yes"), lambda r: raw(r, 48) is False),
        (rule("field_46", "is", "Fail"), lambda r: raw(r, 46) == "Fail"),
        (rule("field_46", "contains", "pass"), lambda r: (raw(r, 46) or "").startswith("Pass")),
        (rule("field_46", "is any", ["Fail", "Pass"]), lambda r: raw(r, 46) in ("Fail", "Pass")),
        (rule("field_47", "is", ["Bench"]), lambda r: raw(r, 47) == ["Bench"]),
        (rule("field_47", "contains", "Bench"), lambda r: "Bench" in raw(r, 47)),
        (rule("field_47", "is blank"), lambda r: raw(r, 47) == []),
        (rule("field_69", "is", SITE), lambda r: links(r, 69) == {SITE}),
        (rule("field_70", "contains", [SITE]), lambda r: SITE in links(r, 70)),
        (rule("field_70", "does not contain", SITE), lambda r: SITE not in links(r, 70)),
        (rule("field_56", "is not blank"), lambda r: raw(r, 56) is not None),
        (rule("field_65", "is blank"), lambda r: raw(r, 65) is None),
    ],
)
def test_filters__operators(client, asked, wanted):
    """A rule finds exactly the records that it describes, and some of them are left out."""
    expected = [record["id"] for record in HELD if wanted(record)]
    assert client.find(OBJECT, asked) == expected
    assert 0 < len(expected) < len(HELD)


def test_filters__match_and_lists(client):
    """Rules are joined by and, by or; a bare list is read as and."""
    closed, fails = rule("field_48", "is", "Yes"), rule("field_46", "is", "Fail")
    both = set(client.find(OBJECT, closed, fails))
    either = set(client.find(OBJECT, closed, fails, match="or"))
    assert both == set(client.find(OBJECT, closed)) & set(client.find(OBJECT, fails))
    assert either == set(client.find(OBJECT, closed)) | set(client.find(OBJECT, fails))
    bare = json.dumps([closed, fails])
    assert {record["id"] for record in client.get(OBJECT, filters=bare).json()["records"]} == both
    assert both < either


def test_filters__view_rows_only(client):
    """A filtered view gives only rows that its own criteria let through too."""
    path = "/v1/pages/scene_20/views/view_31/records"
    assert client.find(path, rule("field_46", "is", "Fail")) == [
        record["id"] for record in HELD if record["field_46"] == "Fail" and record["field_48"] == "Yes"
    ]


def test_filters__connected_column(visitor):
    """A view can be filtered by a column that lies behind a connection."""
    path = f"/v1/pages/scene_50/views/{SIGNALS_VIEW}/records"
    rows = visitor.knack.records(SIGNALS_VIEW)
    district = next(row["field_213"] for row in rows if row["field_213"])
    found = visitor.find(path, rule("field_213", "is", district))
    assert found == [row["id"] for row in rows if row["field_213"] == district]


@pytest.fixture
def dated(client):
    """Sample records of object_9 whose modified dates are known; {wall clock: id}."""
    clocks = [
        datetime(2020, 1, 4, 23, 59),
        datetime(2020, 1, 5, 0, 0),
        datetime(2020, 1, 5, 20, 5),
        datetime(2020, 1, 6, 0, 0),
        datetime(2020, 5, 1, 12, 0),
    ]
    for record in HELD:
        client.knack.edit_record("object_9", record["id"], {"field_49": None, "field_54": None}, touch=False)
    ids = dict(zip(clocks, (record["id"] for record in HELD)))
    for at, record_id in ids.items():
        client.knack.edit_record("object_9", record_id, {"field_49": at, "field_54": at})
    return ids


def find_clocks(client, dated, *rules, **more):
    """The wall clocks of the dated records that rules find; blank ones would be None."""
    by_id = {record_id: at for at, record_id in dated.items()}
    return {by_id.get(one) for one in client.find(OBJECT, *rules, **more)}


def test_filters__after_is_strict_and_by_whole_days(client, dated):
    """ "is after" starts on the next day, "is before" ends on the day before; only `is` gives the day."""
    clocks = sorted(dated)
    assert find_clocks(client, dated, rule("field_49", "is after", "01/05/2020")) == set(clocks[3:])
    assert find_clocks(client, dated, rule("field_49", "is before", "01/05/2020")) == {clocks[0]}
    assert find_clocks(client, dated, rule("field_49", "is", "01/05/2020")) == set(clocks[1:3])
    on_or_after = [rule("field_49", operator, "01/05/2020") for operator in ("is", "is after")]
    assert find_clocks(client, dated, *on_or_after, match="or") == set(clocks[1:])


def test_filters__time_of_day(client, dated):
    """A time of day in the value counts for nothing, or to the minute, as reports disagree."""
    clocks = sorted(dated)
    timed = rule("field_49", "is after", "01/05/2020 12:00")
    assert find_clocks(client, dated, timed) == set(clocks[3:])
    client.knack.switches.time_in_date_filter = "honoured"
    assert find_clocks(client, dated, timed) == set(clocks[2:])
    exact = rule("field_49", "is", "01/05/2020 8:05pm")
    assert find_clocks(client, dated, exact) == {clocks[2]}


def test_filters__value_is_read_in_the_fields_own_format(client, dated):
    """On a dd/mm field 05/01 is the fifth of January; on a mm/dd field 13/01 is no date and finds nothing."""
    clocks = sorted(dated)
    assert find_clocks(client, dated, rule("field_54", "is", "05/01/2020")) == set(clocks[1:3])
    assert find_clocks(client, dated, rule("field_49", "is", "05/01/2020")) == {clocks[4]}
    assert find_clocks(client, dated, rule("field_49", "is after", "13/01/2019")) == set()


def test_filters__iso_dates_find_nothing_without_an_error(client, dated):
    """An ISO value finds nothing and is no error; or, as one report has it, it works."""
    iso = rule("field_49", "is after", "2020-01-05")
    assert find_clocks(client, dated, iso) == set()
    client.knack.switches.iso_in_date_filter = "honoured"
    assert find_clocks(client, dated, iso) == set(sorted(dated)[3:])


def test_filters__blank_dates_never_match(client, dated):
    """A record that was never stamped matches no date, though it is there; negation may find it."""
    everything = find_clocks(client, dated, rule("field_49", "is after", "01/01/1900"))
    assert everything == set(dated)
    assert None in find_clocks(client, dated, rule("field_49", "is blank"))
    assert None in find_clocks(client, dated, rule("field_49", "is not", "01/05/2020"))
    client.knack.switches.negation_matches_blank = False
    assert None not in find_clocks(client, dated, rule("field_49", "is not", "01/05/2020"))


@pytest.mark.parametrize(
    ("operator", "more", "found"),
    [
        ("is today", {}, slice(1, 3)),
        ("is today or before", {}, slice(0, 3)),
        ("is today or after", {}, slice(1, 5)),
        ("is before today", {}, slice(0, 1)),
        ("is after today", {}, slice(3, 5)),
        ("is before current time", {}, slice(0, 2)),
        ("is after current time", {}, slice(2, 5)),
        ("is during the current", {"type": "months"}, slice(0, 4)),
        ("is during the current", {"type": "weeks"}, slice(1, 4)),
        ("is during the previous", {"type": "days", "range": 1}, slice(0, 1)),
        ("is during the next", {"type": "days", "range": "1"}, slice(3, 4)),
        ("is during the next", {"type": "months", "range": 6}, slice(3, 5)),
        ("is before the previous", {"type": "days", "range": 1}, slice(0, 0)),
        ("is after the next", {"type": "weeks", "range": 2}, slice(4, 5)),
    ],
)
def test_filters__relative_dates(client, dated, operator, more, found):
    """Relative operators take the present from the app's time zone: 02:00 UTC on the 6th is still the 5th."""
    client.knack.clock = lambda: datetime(2020, 1, 6, 2, 0, tzinfo=UTC)
    assert find_clocks(client, dated, rule("field_49", operator, **more)) == set(sorted(dated)[found])


BAD = [
    "no json",
    "{}",
    '{"match": "xor", "rules": []}',
    '[{"field": "field_9999", "operator": "is", "value": "x"}]',
    '[{"field": "field_41", "operator": "higher than", "value": 1}]',
    '[{"field": "field_44", "operator": "is", "value": "many"}]',
    '[{"operator": "is", "value": "x"}]',
    '["field_41"]',
]


@pytest.mark.parametrize("text", BAD)
def test_filters__bad_ones(client, text):
    """A filter that cannot be read is refused, ignored (all records come) or finds nothing."""
    assert client.get(OBJECT, filters=text).status_code == 400
    client.knack.switches.bad_filter = "ignored"
    assert client.get(OBJECT, filters=text).json()["total_records"] == 25
    client.knack.switches.bad_filter = "nothing"
    assert client.get(OBJECT, filters=text).json()["total_records"] == 0


def test_filters__field_that_the_view_does_not_show(client):
    """A filter on a field outside the view is refused, ignored or done."""
    path = "/v1/pages/scene_20/views/view_31/records"
    text = '[{"field": "field_44", "operator": "higher than", "value": 20000}]'
    assert client.get(path, filters=text).status_code == 400
    client.knack.switches.unexposed_field = "ignored"
    assert client.get(path, filters=text).json()["total_records"] == 13
    client.knack.switches.unexposed_field = "honoured"
    closed = [record for record in HELD if record["field_48"] == "Yes"]
    assert client.get(path, filters=text).json()["total_records"] == sum(
        record["field_44_raw"] > 20_000 for record in closed
    )
