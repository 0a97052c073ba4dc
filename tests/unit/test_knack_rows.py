"""Knack documents as rows: names, values held to knackpy's, and what odd documents do."""

import copy
import json
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import knackpy
import pytest
import pytz
from hypothesis import given, settings
from hypothesis import strategies as st
from knackpy.record import Record

from services.utils import knack
from services.utils.errors import ConfigError
from services.utils.knack.values import WallClock
from services.utils.records import Document

DATA = Path(__file__).parents[1] / "data" / "knack"
METADATA = json.loads((DATA / "metadata.json").read_text())
RECORDS = {key: page["records"] for key, page in json.loads((DATA / "records.json").read_text()).items()}
CONTAINERS = ["object_1", "object_4", "object_9", "view_31"]
ZONES = [
    "America/Chicago",
    "UTC",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Europe/London",
    "Asia/Kolkata",
    "Pacific/Apia",
]


class Knackpy:
    """knackpy's reading of one container: its field definitions, its Record, its time zone."""

    def __init__(self, metadata, container, zone=None):
        app = knackpy.App(app_id="a", api_key="k", metadata=copy.deepcopy(metadata))
        self.timezone = pytz.timezone(zone) if zone else app.timezone
        self.field_defs = [one for one in app.field_defs if container == one.obj or container in one.views]

    def format(self, record):
        # Record changes what it is given.
        named = Record(copy.deepcopy(record), self.field_defs, None, self.timezone).format()
        return {
            name if name == "id" else name.lower().replace(" ", "_").replace("-", "_"): value
            for name, value in named.items()
        }


def open_in(zone, metadata=METADATA):
    """The sample's app (or another), moved to a time zone."""
    application = metadata["application"]
    moved = {**application, "settings": {**application["settings"], "timezone": zone}}
    return knack.open_app({"application": moved})


def build_app(*fields, zone="America/Chicago"):
    """An app of one object; fields are (name, type), with the keys field_1, field_2 ..."""
    definitions = [
        {"key": f"field_{n}", "name": name, "type": type_} for n, (name, type_) in enumerate(fields, 1)
    ]
    return knack.open_app(build_metadata(definitions, zone))


def build_metadata(definitions, zone="America/Chicago"):
    """The application document of an app of one object with these fields."""
    return {
        "application": {
            "name": "Small",
            "account": {"slug": "small"},
            "settings": {"timezone": zone},
            "objects": [{"key": "object_1", "name": "things", "fields": definitions}],
            "scenes": [],
        }
    }


def format_one(type_, raw=None, shown="shown", **choices):
    """One value through a formatter of one field."""
    record = {"id": "a", "field_1": shown, "field_1_raw": raw}
    formatter = knack.compile_formatter(build_app(("Value", type_)), "object_1", **choices)
    return formatter.format(record)["value"]


def canonical(values):
    """Text that tells 1, 1.0 and True apart and keeps the order of names."""
    return json.dumps(values)


# --- equal to knackpy ---------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_format__sample_equals_knackpy(container):
    """Every record of the sample comes out as knackpy formats it, under the row names, in the same order."""
    formatter = knack.compile_formatter(knack.open_app(METADATA), container)
    reference = Knackpy(METADATA, container)
    for record in RECORDS[container]:
        assert canonical(formatter.format(record)) == canonical(reference.format(record))


TEXT = st.text(max_size=12)
SOME = st.text(min_size=1, max_size=12)
NUMBER = st.one_of(st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False))
# Whole seconds between 1902 and 2037: what 32-bit time zone files, and so pytz, know.
SECONDS = st.integers(-2_145_916_800, 2_145_916_799)


def build_date(seconds):
    """A date object as Knack writes it, of seconds on the local wall clock."""
    at = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return {
        "date": f"{at:%m/%d/%Y}",
        "date_formatted": f"{at:%m/%d/%Y}",
        "hours": f"{at:%I}",
        "minutes": f"{at:%M}",
        "am_pm": f"{at:%p}",
        "unix_timestamp": seconds * 1000,
        "iso_timestamp": f"{at.isoformat()}.000Z",
        "timestamp": f"{at:%m/%d/%Y %I:%M %p}",
        "time": at.hour * 60 + at.minute or 720,
    }


DATE = SECONDS.map(build_date)
RANGE = st.tuples(DATE, DATE).map(lambda pair: {**pair[0], "to": pair[1]})
IDENTIFIED = st.fixed_dictionaries({"id": SOME, "identifier": st.one_of(TEXT, NUMBER)})
PLACE = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("street", "street2", "city", "state", "zip", "country"), TEXT),
        "latitude": st.one_of(st.floats(-90, 90), st.just("30.26"), st.just("")),
        "longitude": st.one_of(st.floats(-180, 180), st.just("-97.74"), st.just("")),
    },
)
ASSET = st.fixed_dictionaries({"id": SOME, "filename": SOME, "url": TEXT, "thumb_url": TEXT, "size": NUMBER})

# Filled (display, raw) pairs of every field type.
FILLED = {
    "text": SOME.map(lambda text: (text, text)),
    "number": NUMBER.map(lambda number: (f"{number:,}", number)),
    "currency": NUMBER.map(lambda number: (f"${number:,.2f}", f"{number:.2f}")),
    "equation": NUMBER.map(lambda number: (round(number), number)),
    "boolean": st.booleans().map(lambda yes: ("Yes" if yes else "No", yes)),
    "choice": st.one_of(
        SOME.map(lambda one: (one, one)),
        st.lists(st.one_of(SOME, NUMBER), min_size=1, max_size=3).map(
            lambda many: (", ".join(map(str, many)), many)
        ),
    ),
    "date_time": st.one_of(DATE, RANGE).map(lambda date: (date["timestamp"], date)),
    "timer": st.tuples(DATE, DATE).map(
        lambda pair: (
            f"<span>{pair[0]['date']}</span>&nbsp;{pair[0]['hours']}am to 1pm = 1:00 hours",
            {"times": [{"from": pair[0], "to": pair[1]}], "total_time": 3600000},
        )
    ),
    "file": ASSET.map(lambda asset: (f'<a href="{asset["url"]}">', asset)),
    "image": st.one_of(ASSET, SOME).map(lambda image: ("<img />", image)),
    "name": st.fixed_dictionaries({"first": SOME, "last": SOME}, optional={"middle": TEXT, "title": TEXT}).map(
        lambda name: (f"{name['last']}, {name['first']}", name)
    ),
    "email": st.fixed_dictionaries({"email": TEXT}, optional={"label": TEXT}).map(lambda raw: ("<a>", raw)),
    "phone": st.fixed_dictionaries({"full": TEXT, "formatted": TEXT}).map(lambda raw: (raw["formatted"], raw)),
    "link": st.fixed_dictionaries({"url": TEXT}, optional={"label": TEXT}).map(lambda raw: ("<a>", raw)),
    "address": PLACE.map(lambda place: ("1 Oak St<br />Austin", place)),
    "signature": st.fixed_dictionaries({"base30": TEXT, "svg": SOME}).map(lambda raw: ("<img />", raw)),
    "connection": st.lists(IDENTIFIED, min_size=1, max_size=3).map(lambda raw: ("<span>", raw)),
    "user_roles": st.lists(SOME, min_size=1, max_size=3).map(lambda raw: ("<span>Role</span>", raw)),
}  # fmt: skip
SHAPE_OF = {
    **{type_: type_ for type_ in FILLED},
    **dict.fromkeys(["short_text", "paragraph_text", "rich_text", "concatenation", "password"], "text"),
    **dict.fromkeys(["auto_increment", "rating", "count", "sum", "average", "min", "max"], "number"),
    "multiple_choice": "choice",
}
ABSENT = object()
# (display, raw) as Knack and its older clients have them where nothing is filled in.
BLANK = st.sampled_from([("", ABSENT), ("", ""), ("", None), ("", []), (None, None), ([], ABSENT)])
BLANK_CHOICE = st.sampled_from([("", [None]), ([None], ABSENT)])


def build_cell(type_):
    """(display, raw) pairs of a field type: filled, or blank in any way."""
    shape = SHAPE_OF[type_]
    variants = [FILLED[shape], FILLED[shape], BLANK]
    if type_ != "connection":  # [None] makes knackpy raise there
        variants.append(BLANK_CHOICE)
    return st.one_of(*variants)


@st.composite
def draw_record(draw, fields):
    """A record of these fields."""
    record = {"id": draw(SOME)}
    for field in fields:
        shown, raw = draw(build_cell(field.type))
        record[field.key] = shown
        if raw is not ABSENT:
            record[f"{field.key}_raw"] = raw
    return record


def test_build_cell__knows_every_type_of_the_sample():
    """The generated records below leave out no field type that the sample's metadata has."""
    app = knack.open_app(METADATA)
    types = {field.type for key in CONTAINERS for field in app.fields(key)}
    assert len(types) == 29
    assert types <= set(SHAPE_OF)


@pytest.mark.parametrize("container", CONTAINERS)
def test_format__generated_records_equal_knackpy(container):
    """Any record of Knack's shapes, blank in any of the ways, comes out as knackpy formats it, in any zone."""
    compiled = {
        zone: (knack.compile_formatter(open_in(zone), container), Knackpy(METADATA, container, zone))
        for zone in ZONES
    }
    fields = knack.open_app(METADATA).fields(container)

    @settings(max_examples=40, deadline=None)
    @given(draw_record(fields), st.sampled_from(ZONES))
    def check(record, zone):
        formatter, reference = compiled[zone]
        before = copy.deepcopy(record)
        assert canonical(formatter.format(record)) == canonical(reference.format(record))
        assert record == before

    check()


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT, st.just("")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "url",
                    "email",
                    "full",
                    "identifier",
                    "id",
                    "base30",
                    "city",
                    "zip",
                    "first",
                    "latitude",
                    "x",
                ]
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("type_", sorted({*SHAPE_OF, "type_of_tomorrow"}))
def test_format__anything_as_knackpy_or_without_raising(type_):
    """Whatever a field holds: where knackpy has a value it is the same one, and where it raises we do not."""
    definition = {"key": "field_1", "name": "Value", "type": type_}
    formatter = knack.compile_formatter(build_app(("Value", type_)), "object_1")
    reference = Knackpy(build_metadata([definition]), "object_1")

    @settings(max_examples=40, deadline=None)
    @given(ANYTHING, st.one_of(st.just(ABSENT), ANYTHING))
    def check(shown, raw):
        record = {"id": "a", "field_1": shown}
        if raw is not ABSENT:
            record["field_1_raw"] = raw
        ours = formatter.format(record)
        try:
            theirs = reference.format(record)
        except (KeyError, TypeError, ValueError, OverflowError):
            return
        assert canonical(ours) == canonical(theirs)

    check()


@settings(max_examples=60, deadline=None)
@given(ANYTHING, ANYTHING, st.sampled_from(["field_1", "field_1_raw"]))
def test_format__location_of_anything(raw, coordinate, key):
    """A location field gives a place, places or None, whatever stands where a place should."""
    app = build_app(("Value", "address"))
    formatter = knack.compile_formatter(app, "object_1", location_fields=["field_1"])
    for value in (raw, [raw], {"latitude": coordinate, "longitude": 1}):
        given_ = formatter.format({"id": "a", key: value})["value"]
        for place in given_ if isinstance(given_, list) else [given_] if given_ is not None else []:
            assert math.isfinite(place["latitude"])
            assert math.isfinite(place["longitude"])


# --- times --------------------------------------------------------------------------------------


def stamp(wall):
    """Knack's unix_timestamp of a local wall clock: that clock as if it were UTC."""
    return int(datetime.fromisoformat(wall).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "wall", "iso"),
    [
        ("America/Chicago", "2025-07-01T16:05", "2025-07-01T16:05:00-05:00"),
        ("America/Chicago", "2025-12-01T16:05", "2025-12-01T16:05:00-06:00"),
        ("America/Chicago", "2025-03-09T02:30", "2025-03-09T03:30:00-05:00"),
        ("America/Chicago", "2025-11-02T01:30", "2025-11-02T01:30:00-06:00"),
        ("America/Chicago", "2025-11-02T00:59", "2025-11-02T00:59:00-05:00"),
        ("UTC", "2025-03-09T02:30", "2025-03-09T02:30:00+00:00"),
        ("Asia/Kathmandu", "2025-03-09T02:30", "2025-03-09T02:30:00+05:45"),
        ("Australia/Lord_Howe", "2025-04-06T01:45", "2025-04-06T01:45:00+10:30"),
        ("Australia/Lord_Howe", "2025-10-05T02:15", "2025-10-05T02:45:00+11:00"),
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-31T12:00:00+14:00"),
        ("America/Chicago", "2012-01-01T00:00:07", "2012-01-01T00:00:07-06:00"),
    ],
)
def test_format_iso__as_knackpy(zone, wall, iso):
    """Gaps, repeated hours, half hours and a skipped day are read as knackpy (pytz, is_dst=False) reads them."""
    record = {"id": "a", "field_1": wall, "field_1_raw": {"unix_timestamp": stamp(wall)}}
    definition = {"key": "field_1", "name": "Value", "type": "date_time"}
    assert Knackpy(build_metadata([definition]), "object_1", zone).format(record)["value"] == iso
    assert WallClock(ZoneInfo(zone)).format_iso(stamp(wall)) == iso


@pytest.mark.parametrize("zone", ZONES)
def test_format_iso__every_change_of_the_clocks(zone):
    """Around every change of clocks from 2000 to 2024, half hour by half hour, times equal knackpy's."""
    clock, reference = WallClock(ZoneInfo(zone)), pytz.timezone(zone)
    days = [datetime(2000, 1, 1) + timedelta(days=n) for n in range(25 * 365)]
    offsets = [reference.localize(day).utcoffset() for day in days]
    changes = [day for day, before, after in zip(days, offsets, offsets[1:]) if before != after]
    assert changes or zone in ("UTC", "Asia/Kolkata", "Asia/Kathmandu")
    for moment in changes:
        for minute in range(-60, 1560, 30):
            wall = moment + timedelta(minutes=minute)
            told = reference.normalize(reference.localize(wall)).isoformat()
            assert clock.format_iso(stamp(wall.isoformat())) == told


def test_format_iso__daylight_saving_after_2037():
    """knackpy's pytz knows no daylight saving after 2037; the rule goes on, and so does ours."""
    wall = "2040-07-01T12:00"
    assert pytz.timezone("America/Chicago").localize(datetime(2040, 7, 1, 12)).isoformat()[-6:] == "-06:00"
    assert WallClock(ZoneInfo("America/Chicago")).format_iso(stamp(wall)) == "2040-07-01T12:00:00-05:00"


def test_format_iso__before_1901():
    """pytz reads 32-bit zone files, so before 1901 it takes local mean time; standard time began in 1883."""
    wall = "1890-07-01T12:00"
    assert pytz.timezone("America/Chicago").localize(datetime(1890, 7, 1, 12)).isoformat()[-6:] == "-05:51"
    assert WallClock(ZoneInfo("America/Chicago")).format_iso(stamp(wall)) == "1890-07-01T12:00:00-06:00"


@pytest.mark.parametrize(("zone", "offset"), [("America/Chicago", "-05:51"), ("Europe/London", "-00:01")])
def test_format_iso__offsets_in_whole_minutes(zone, offset):
    """Local mean time has odd seconds, which an ISO offset cannot hold: they are rounded, as pytz does."""
    told = pytz.timezone(zone).localize(datetime(1840, 7, 1, 12)).isoformat()
    assert WallClock(ZoneInfo(zone)).format_iso(stamp("1840-07-01T12:00")) == told
    assert told.endswith(offset)


def test_format_iso__milliseconds_are_exact():
    """knackpy counts in floating point and drops a millisecond here and there."""
    clock = WallClock(ZoneInfo("UTC"))
    odd = [1741536300000 + ms for ms in range(1000)]
    assert [clock.format_iso(one) for one in odd] == [
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=one)).isoformat() for one in odd
    ]


@pytest.mark.parametrize(
    "odd", [None, "1741536300000", True, [], {}, math.nan, math.inf, 10**30, -(10**30), 1e300]
)
def test_format_iso__no_time(odd):
    """What is no time of the years 1 to 9999 is None."""
    assert WallClock(ZoneInfo("America/Chicago")).format_iso(odd) is None


@pytest.mark.parametrize("zone", ["America/Chicago", "Asia/Kathmandu"])
def test_format_iso__first_and_last_day(zone):
    """The first and the last minute that a date can hold are given, not raised at."""
    clock = WallClock(ZoneInfo(zone))
    assert clock.format_iso(stamp("0001-01-01T00:00")).startswith("0001-01-01T00:00:00")
    assert clock.format_iso(stamp("9999-12-31T23:59")).startswith("9999-12-31T23:59:00")


def test_format_iso__memory_stays_flat():
    """Dates all over history do not fill memory: the days kept are few."""
    clock = WallClock(ZoneInfo("America/Chicago"))
    for day in range(-11_000, 11_000):
        clock.format_iso(day * 86_400_000)
    assert len(clock._days) <= 20_000


def test_format__twice_gives_the_same():
    """knackpy corrects timestamps in the caller's data, so that a second reading shifts them again; we do not."""
    record = copy.deepcopy(RECORDS["object_9"][0])
    reference = Knackpy(METADATA, "object_9")
    shifted = copy.deepcopy(record)
    first, second = (
        Record(shifted, reference.field_defs, None, reference.timezone).format() for _ in range(2)
    )
    assert first["Last Modified"] != second["Last Modified"]

    formatter = knack.compile_formatter(knack.open_app(METADATA), "object_9")
    assert formatter.format(record) == formatter.format(record)
    assert record == RECORDS["object_9"][0]


# --- where knackpy raises -----------------------------------------------------------------------


def test_format__field_that_the_record_lacks():
    """Metadata newer than a stored record breaks knackpy with a KeyError; here the new field is None."""
    record = {key: value for key, value in RECORDS["object_9"][0].items() if not key.startswith("field_49")}
    with pytest.raises(KeyError):
        Knackpy(METADATA, "object_9").format(record)
    row = knack.compile_formatter(knack.open_app(METADATA), "object_9").format(record)
    assert row["last_modified"] is None
    assert row["title"] == record["field_41"]


def test_format__empty_record():
    """A record with nothing in it is a row of Nones, with every name there."""
    formatter = knack.compile_formatter(knack.open_app(METADATA), "object_9")
    assert formatter.format({}) == dict.fromkeys(formatter.types)


@pytest.mark.parametrize(
    ("type_", "raw", "value"),
    [
        ("connection", [None], None),
        ("connection", [{"id": "5d00"}], "5d00"),
        ("connection", [{"id": "5d00", "identifier": "North Park"}, None, {}], "North Park"),
        ("connection", ["North Park", "South Park"], "North Park, South Park"),
        ("connection", {"id": "5d00", "identifier": "North Park"}, "North Park"),
        ("connection", "North Park", "North Park"),
        ("connection", 5, 5),
        ("address", {"street": "1 Oak St", "zip": 78701}, "1 Oak St, 78701"),
        ("file", {"filename": "a.pdf"}, None),
        ("image", {}, None),
        ("date_time", {"date": "03/09/2025"}, None),
        ("date_time", {"unix_timestamp": "soon"}, None),
    ],
)
def test_format__values_that_knackpy_raises_at(type_, raw, value):
    """What stops knackpy gives what can be made of it, as the values module says."""
    record = {"id": "a", "field_1": "shown", "field_1_raw": raw}
    definition = {"key": "field_1", "name": "Value", "type": type_}
    with pytest.raises((KeyError, TypeError)):
        Knackpy(build_metadata([definition]), "object_1").format(record)
    assert format_one(type_, raw) == value


# --- names and choice of fields -----------------------------------------------------------------


def test_build_row_names__rule():
    """Lower case, spaces and dashes as underscores; nothing else is touched; a nameless field has its key."""
    app = build_app(("Date/Time - No Date", "date_time"), ("Peña (m²)", "number"), ("", "short_text"))
    assert knack.build_row_names(app.fields("object_1")) == {
        "field_1": "date/time___no_date",
        "field_2": "peña_(m²)",
        "field_3": "field_3",
    }


def test_build_row_names__id():
    """The record's id is "id"; a field of that name, however written, is "_id"."""
    for name in ("id", "ID", "Id"):
        app = build_app((name, "short_text"))
        row = knack.compile_formatter(app, "object_1").format({"id": "rec", "field_1": "own"})
        assert row == {"id": "rec", "_id": "own"}


def test_build_row_names__shared_names(caplog):
    """knackpy lets fields that share a name overwrite each other; here all are kept, and said once."""
    app = build_app(*[(name, "short_text") for name in ("Status", "Note", "status", "Status")])
    record = {"id": "a", **{f"field_{n}": str(n) for n in range(1, 5)}}
    with caplog.at_level(logging.WARNING):
        knack.find_addresses(app, "object_1", [])
        formatter = knack.compile_formatter(app, "object_1")
        rows = [formatter.format(record) for _ in range(3)]
    assert rows[0] == {"id": "a", "status": "1", "note": "2", "status_field_3": "3", "status_field_4": "4"}
    assert [entry.getMessage() for entry in caplog.records] == [
        "object_1: fields that share their name with another are published as status_field_3, status_field_4"
    ]
    definitions = [
        {"key": f"field_{n}", "name": name, "type": "short_text"}
        for n, name in enumerate(["Status", "Note", "Status"], 1)
    ]
    lost = Knackpy(build_metadata(definitions), "object_1").format(record)
    assert lost == {"id": "a", "status": "3", "note": "2"}


def test_build_row_names__suffix_that_is_taken():
    """A name that another field already has as its own is not given to a second one."""
    app = build_app(*[(name, "short_text") for name in ("a", "A", "a_field_2", "_ID", "id")])
    names = knack.build_row_names(app.fields("object_1"))
    assert names["field_3"] == "a_field_2"
    assert len(set(names.values())) == 5


def test_compile_formatter__names_and_types():
    """Names go from field key to row name, types from row name to Knack's type, both in the row's order."""
    formatter = knack.compile_formatter(knack.open_app(METADATA), "view_31")
    row = formatter.format(RECORDS["view_31"][0])
    assert list(row) == list(formatter.types) == list(formatter.names.values())
    assert formatter.names["field_49"] == "last_modified"
    assert formatter.types["last_modified"] == "date_time"
    assert formatter.types["id"] == "id"


@pytest.mark.parametrize("entry", ["field_42", "findings", "Findings"])
def test_compile_formatter__fields_and_exclude_fields(entry):
    """A field is chosen or left out by its key, its row name, or the name that people see; the id always stays."""
    app = knack.open_app(METADATA)
    assert list(knack.compile_formatter(app, "object_9", fields=[entry]).types) == ["id", "findings"]
    left = knack.compile_formatter(app, "object_9", exclude_fields=[entry]).types
    assert "findings" not in left
    assert len(left) == 37
    both = knack.compile_formatter(app, "object_9", fields=[entry, "title", "id"], exclude_fields=[entry])
    assert list(both.types) == ["id", "title", "_id"]


def test_compile_formatter__no_fields():
    """An empty list of fields publishes the id alone; it does not mean all."""
    formatter = knack.compile_formatter(knack.open_app(METADATA), "object_9", fields=[])
    assert list(formatter.types) == ["id"]


def test_compile_formatter__shared_name_is_left_out_whole():
    """Leaving out a name that two fields share leaves out both: better too much than a private one published."""
    app = build_app(("Status", "short_text"), ("Note", "short_text"), ("Status", "short_text"))
    assert list(knack.compile_formatter(app, "object_1", exclude_fields=["Status"]).types) == ["id", "note"]
    by_row_name = knack.compile_formatter(app, "object_1", exclude_fields=["status_field_3"])
    assert list(by_row_name.types) == ["id", "status", "note"]
    assert list(knack.compile_formatter(app, "object_1", fields=["field_3"]).types) == [
        "id",
        "status_field_3",
    ]


@pytest.mark.parametrize("setting", ["fields", "exclude_fields", "location_fields"])
def test_compile_formatter__unknown_field_names_the_nearest(setting):
    """A slip of typing in a list of fields stops before anything is published, with the name that was meant."""
    with pytest.raises(ConfigError, match=f"object_9: {setting} names 'findngs'.*nearest: 'findings'"):
        knack.compile_formatter(knack.open_app(METADATA), "object_9", **{setting: ["findngs"]})


def test_compile_formatter__id_cannot_be_excluded():
    """Rows without the record's id could not be told apart; a field called id can be left out."""
    with pytest.raises(ConfigError, match="exclude_fields names the record's id"):
        knack.compile_formatter(knack.open_app(METADATA), "object_4", exclude_fields=["id"])
    left = knack.compile_formatter(knack.open_app(METADATA), "object_9", exclude_fields=["id"]).types
    assert "id" in left
    assert "_id" not in left


# --- locations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (
            {"latitude": 30.5, "longitude": -97, "street": "1 Oak St", "city": "Austin", "zip": 78701, "state": ""},
            {"latitude": 30.5, "longitude": -97.0, "street": "1 Oak St", "city": "Austin", "zip": "78701"},
        ),
        ({"latitude": "30.5", "longitude": " -97.25 "}, {"latitude": 30.5, "longitude": -97.25}),
        ({"latitude": "", "longitude": "", "street": "1 Oak St"}, None),
        ({"latitude": 30.5}, None),
        ({"latitude": 30.5, "longitude": None}, None),
        ({"latitude": 300.5, "longitude": -97}, None),
        ({"latitude": "nan", "longitude": "inf"}, None),
        ({"latitude": True, "longitude": True}, None),
        ({"latitude": 10**400, "longitude": 1}, None),
        ("1 Oak St", None),
        (None, None),
        ("", None),
        ([], None),
        ([{"latitude": 1, "longitude": 2}, None, {"street": "x"}], [{"latitude": 1.0, "longitude": 2.0}]),
        ([{"street": "x"}], None),
    ],
)  # fmt: skip
def test_format__location(raw, place):
    """A location is coordinates with the filled parts of the address, a list of those, or None without any."""
    assert format_one("address", raw, location_fields=["Value"]) == place


def test_format__location_is_one_line_otherwise():
    """The same address not asked for as a location is one line of text."""
    raw = {"latitude": 30.5, "longitude": -97, "street": "1 Oak St", "city": "Austin"}
    assert format_one("address", raw) == "1 Oak St, Austin"


def test_compile_formatter__location_must_be_an_address():
    """A location field of another type would publish every row without a place: it is refused."""
    with pytest.raises(ConfigError, match="field_41 .*'short_text'"):
        knack.compile_formatter(knack.open_app(METADATA), "object_9", location_fields=["field_41"])


def test_compile_formatter__location_left_out():
    """A field cannot be left out and give the place: that would publish what was meant to stay private."""
    app = knack.open_app(METADATA)
    for choice in ({"exclude_fields": ["field_63"]}, {"fields": ["title"]}):
        with pytest.raises(ConfigError, match="field_63 .*leave out"):
            knack.compile_formatter(app, "object_9", location_fields=["field_63"], **choice)


def test_name_places__in_the_order_asked_for():
    """The first location that is asked for comes first, wherever its field stands; without any there is None."""
    app = knack.open_app(METADATA)
    for asked in (["field_64", "field_63"], ["field_63", "Vendor Address"]):
        places = knack.name_places(knack.compile_formatter(app, "object_9", location_fields=asked))
        assert places == ["vendor_address", "mailing_address"][:: 1 if asked[0] == "field_64" else -1]
    assert knack.name_places(knack.compile_formatter(app, "object_9")) is None


def test_find_addresses__by_the_destinations_columns():
    """Addresses are found by a destination's columns for places; other fields and those left out are not."""
    app = knack.open_app(METADATA)
    columns = ["mailing_address", "vendor_address_", "title", "elsewhere"]
    assert knack.find_addresses(app, "object_9", columns) == ["field_63", "field_64"]
    assert knack.find_addresses(app, "object_9", columns, exclude_fields=["field_63"]) == ["field_64"]
    assert knack.find_addresses(app, "object_9", columns, fields=["Mailing Address"]) == ["field_63"]
    assert knack.find_addresses(app, "view_31", ["site_location"]) == ["field_13"]


# --- documents ----------------------------------------------------------------------------------


def read_rows(*documents, **choices):
    """(rows, rejects) of documents with one text field."""
    formatter = knack.compile_formatter(build_app(("Value", "short_text")), "object_1", **choices)
    rejects = []
    rows = list(knack.format_rows(iter(documents), formatter, on_reject=rejects.append))
    return rows, rejects


def read_value(record):
    """The one value of a document that is not refused."""
    rows, rejects = read_rows(Document("a", record))
    assert not rejects
    return rows[0].values["value"]


def test_format_rows__row_of_a_document():
    """A row has its document's id and says whether the record has left its source."""
    body = b'{"id": "a", "field_1": "x"}'
    rows, rejects = read_rows(Document("a", body), Document("b", b'{"id": "b"}', deleted=True))
    assert [(row.record_id, row.values, row.deleted) for row in rows] == [
        ("a", {"id": "a", "value": "x"}, False),
        ("b", {"id": "b", "value": None}, True),
    ]
    assert rejects == []


def test_format_rows__id_from_the_document():
    """A record that does not hold its id has the one it is stored under."""
    rows, _ = read_rows(Document("a", b'{"field_1": "x"}'))
    assert rows[0].values == {"id": "a", "value": "x"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"id": "a", "fie', "the document is not JSON in UTF-8"),
        (b"", "the document is not JSON in UTF-8"),
        (b'{"id": "\xff"}', "the document is not JSON in UTF-8"),
        (b"[1]", "the document is JSON, but not an object"),
        (b"null", "the document is JSON, but not an object"),
        (b'{"field_1": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the document is nested too deeply"),
    ],
)
def test_format_rows__refused_documents(body, reason):
    """A document that is no JSON object is reported and passed over; those around it come through."""
    good = Document("b", b'{"id": "b", "field_1": "x"}')
    rows, rejects = read_rows(good, Document("a", body), good)
    assert [row.record_id for row in rows] == ["b", "b"]
    assert [(one.record_id, one.reason) for one in rejects] == [("a", reason)]
    assert rejects[0].content == body.decode("utf-8", "replace")


def test_format_rows__deleted_document_keeps_its_key():
    """What cannot be read but has left its source still has a row: its id is all that removing it needs."""
    rows, rejects = read_rows(Document("a", b"gone", deleted=True))
    assert [(row.record_id, row.values, row.deleted) for row in rows] == [("a", {"id": "a"}, True)]
    assert rejects == []


def test_format_rows__is_lazy():
    """Rows are made one by one as they are asked for, so memory holds one document."""
    taken = []

    def read():
        for n in range(1000):
            taken.append(n)
            yield Document(str(n), b'{"id": "a"}')

    formatter = knack.compile_formatter(build_app(("Value", "short_text")), "object_1")
    rows = knack.format_rows(read(), formatter, on_reject=taken.append)
    next(rows)
    assert taken == [0]


def test_format_rows__lone_surrogates():
    """Half of a character, which JSON can escape and UTF-8 cannot hold, becomes the replacement character."""
    value = read_value(b'{"id": "a", "field_1": "x\\ud83d y \\ud83d\\ude00"}')
    assert value == "x\ufffd y \U0001f600"
    assert value.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"\\u0000"', "\x00"),
        (b"1e999", None),
        (b"-1e999", None),
        (b"[1e999, 2]", "None, 2"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"1.0", 1.0),
        (b'"a", "field_1": "b"', "b"),
    ],
)
def test_format_rows__numbers_and_text_that_json_allows(text, value):
    """NUL, numbers beyond a double and repeated keys are read; nothing that JSON cannot hold comes out."""
    assert read_value(b'{"id": "a", "field_1": ' + text + b"}") == value


def test_format_rows__nested_deeply():
    """200 levels of nesting are read."""
    inner = b"[" * 200 + b"1" + b"]" * 200
    value = read_value(b'{"id": "a", "field_1": ' + inner + b"}")
    assert value == (inner[1:-1]).decode()


def test_format__much_faster_than_knackpy():
    """Formatting is many times faster than knackpy's Record and format, on the same records."""
    records = RECORDS["object_9"]
    formatter = knack.compile_formatter(knack.open_app(METADATA), "object_9")
    reference = Knackpy(METADATA, "object_9")

    def clock(work, given_):
        started = time.perf_counter()
        for record in given_:
            work(record)
        return time.perf_counter() - started

    def format_as_knackpy(record):
        Record(record, reference.field_defs, None, reference.timezone).format()

    rounds = [
        (clock(format_as_knackpy, copy.deepcopy(records)), clock(formatter.format, records)) for _ in range(6)
    ]
    assert min(theirs for theirs, _ in rounds) > 6 * min(ours for _, ours in rounds)
