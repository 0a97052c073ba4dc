"""Shaping rows for Socrata: what each column type gets, what is refused, which name feeds which column."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.simulators.socrata.values import compile_reader
from services.utils.socrata import Unfit, build_row, compile_shape, match_columns
from services.utils.socrata.shape import find_geo_columns
from services.utils.socrata.values import FORMATTERS, format_key

PLACE = {"latitude": 30.27, "longitude": -97.74}
OTHER = {"latitude": "30.3", "longitude": "-97.8"}
POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
LINE = {"type": "LineString", "coordinates": [[0, 0], [1, 1.5]]}

SHAPED = [
    ("text", "abc", "abc"),
    ("text", "", None),
    ("text", 42, "42"),
    ("text", 4.5, "4.5"),
    ("text", True, "Yes"),
    ("text", False, "No"),
    ("text", ["a", 2, None, True], "a, 2, Yes"),
    ("text", [], None),
    ("text", [None], None),
    ("text", {}, None),
    ("text", {"b": 1, "a": [1, "ü"]}, '{"b":1,"a":[1,"ü"]}'),
    ("text", [{"a": 1}, {"a": None}], '[{"a":1},{"a":null}]'),
    ("text", dt.date(2024, 5, 1), "2024-05-01"),
    ("text", Decimal("1.50"), "1.50"),
    ("number", 3, 3),
    ("number", 2.5, 2.5),
    ("number", 10**30, "1" + "0" * 30),
    ("number", "42", "42"),
    ("number", " 1,234 ", "1234"),
    ("number", "$1,234.50", "1234.50"),
    ("number", "-$1,234.50", "-1234.50"),
    ("number", "$-5", "-5"),
    ("number", "€ 7", "7"),
    ("number", "+5.", "5"),
    ("number", "1.5e3", "1.5e3"),
    ("number", "", None),
    ("number", "  ", None),
    ("number", Decimal("1.10"), "1.10"),
    ("checkbox", True, True),
    ("checkbox", "Yes", True),
    ("checkbox", "no", False),
    ("checkbox", "TRUE", True),
    ("checkbox", "false", False),
    ("checkbox", 1, True),
    ("checkbox", 0, False),
    ("checkbox", "", None),
    ("calendar_date", "2025-03-09T16:05:00-05:00", "2025-03-09T16:05:00.000"),
    ("calendar_date", "2025-03-09T16:05:00.123456Z", "2025-03-09T16:05:00.123"),
    ("calendar_date", "2024-05-01", "2024-05-01T00:00:00.000"),
    ("calendar_date", "05/01/2024 4:05 pm", "2024-05-01T16:05:00.000"),
    ("calendar_date", "05/01/2024", "2024-05-01T00:00:00.000"),
    ("calendar_date", "May 1, 2024", "2024-05-01T00:00:00.000"),
    ("calendar_date", dt.datetime(2024, 5, 1, 8, tzinfo=dt.UTC), "2024-05-01T08:00:00.000"),
    ("calendar_date", dt.date(2024, 5, 1), "2024-05-01T00:00:00.000"),
    ("calendar_date", "0999-01-01", "0999-01-01T00:00:00.000"),
    ("calendar_date", " ", None),
    ("date", "2025-03-09T16:05:00-05:00", "2025-03-09T21:05:00.000Z"),
    ("date", "2025-03-09T16:05:00", "2025-03-09T16:05:00.000Z"),
    ("date", "Sun, 09 Mar 2025 16:05:00 GMT", "2025-03-09T16:05:00.000Z"),
    ("date", "03/09/2025 16:05 -0500", "2025-03-09T21:05:00.000Z"),
    ("date", "", None),
    ("point", PLACE, {"type": "Point", "coordinates": [-97.74, 30.27]}),
    ("point", [OTHER], {"type": "Point", "coordinates": [-97.8, 30.3]}),
    ("point", "POINT (-97.74 30.27)", {"type": "Point", "coordinates": [-97.74, 30.27]}),
    (
        "point",
        {"type": "Point", "coordinates": [-97.74, 30.27]},
        {"type": "Point", "coordinates": [-97.74, 30.27]},
    ),
    ("point", {"latitude": None, "longitude": ""}, None),
    ("point", [], None),
    ("point", "", None),
    ("multipoint", PLACE, {"type": "MultiPoint", "coordinates": [[-97.74, 30.27]]}),
    (
        "multipoint",
        [PLACE, None, OTHER],
        {"type": "MultiPoint", "coordinates": [[-97.74, 30.27], [-97.8, 30.3]]},
    ),
    ("multipoint", [], None),
    ("location", PLACE, {"latitude": 30.27, "longitude": -97.74}),
    (
        "location",
        {**PLACE, "street": "1 Main", "city": "Austin"},
        {
            "latitude": 30.27,
            "longitude": -97.74,
            "human_address": '{"address":"1 Main","city":"Austin","state":"","zip":""}',
        },
    ),
    ("location", None, None),
    ("url", " https://example.org/a ", {"url": "https://example.org/a"}),
    (
        "url",
        {"url": "https://example.org", "label": "Home"},
        {"url": "https://example.org", "description": "Home"},
    ),
    ("url", {"url": None}, None),
    ("url", "", None),
    ("polygon", POLYGON, POLYGON),
    ("polygon", {"type": "Polygon", "coordinates": []}, None),
    (
        "polygon",
        {"type": "Polygon", "coordinates": [[[0, 0, 800.5], [1, 0, 1], [1, 1, 2], [0, 0, 3]]]},
        POLYGON,
    ),
    ("multipolygon", POLYGON, {"type": "MultiPolygon", "coordinates": [POLYGON["coordinates"]]}),
    (
        "multipolygon",
        {"type": "MultiPolygon", "coordinates": [POLYGON["coordinates"]]},
        {"type": "MultiPolygon", "coordinates": [POLYGON["coordinates"]]},
    ),
    ("multiline", LINE, {"type": "MultiLineString", "coordinates": [LINE["coordinates"]]}),
    ("line", LINE, LINE),
    ("line", "", None),
    ("phone", "512 555 0100", {"phone_number": "512 555 0100"}),
    ("money", "$12.00", "12.00"),
    ("email", "a@example.org", "a@example.org"),
]

REFUSED = [
    ("text", math.nan),
    ("text", {"a": math.inf}),
    ("text", [math.nan]),
    ("text", b"bytes"),
    ("number", math.nan),
    ("number", -math.inf),
    ("number", "abc"),
    ("number", "1,5"),
    ("number", "1.234,50"),
    ("number", "12 34"),
    ("number", "1_000"),
    ("number", "NaN"),
    ("number", "1e9999"),
    ("number", "٣"),
    ("number", True),
    ("number", [1]),
    ("checkbox", "maybe"),
    ("checkbox", 2),
    ("checkbox", ["Yes"]),
    ("calendar_date", "soon"),
    ("calendar_date", "5"),
    ("calendar_date", "12:30"),
    ("calendar_date", "May 3"),
    ("calendar_date", "2024-13-45"),
    ("calendar_date", 1568218440000),
    ("calendar_date", {"date": "05/01/2024"}),
    ("date", 1568218440000),
    ("date", "Nov 21 2025 04:05 CST"),
    ("date", "Fri Nov 21 2025 04:05:00 GMT-0600 (CST)"),
    ("date", "0001-01-01T00:00:00+05:00"),
    ("point", {"latitude": -97.74, "longitude": 30.27}),
    ("point", {"latitude": 30, "longitude": 181}),
    ("point", {"latitude": 30, "longitude": None}),
    ("point", {"latitude": math.nan, "longitude": 1}),
    ("point", {"latitude": True, "longitude": 1}),
    ("point", [PLACE, OTHER]),
    ("point", POLYGON),
    ("point", "somewhere"),
    ("point", 5),
    ("multipoint", LINE),
    ("location", [PLACE, OTHER]),
    ("location", "1 Main Street"),
    ("url", 5),
    ("line", POLYGON),
    ("polygon", {"type": "Polygon", "coordinates": [[[0, math.nan]]]}),
    ("polygon", "POLYGON ((0 0, 1 1))"),
    ("polygon", {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}),
    ("polygon", {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}),
    ("polygon", {"type": "Polygon", "coordinates": [[0, 0], [1, 0], [1, 1], [0, 0]]}),
    ("polygon", {"type": "MultiPolygon", "coordinates": [POLYGON["coordinates"]]}),
    ("line", {"type": "LineString", "coordinates": [[0, 0]]}),
    ("line", {"type": "LineString", "coordinates": [[0, 0], [0, 91]]}),
    ("line", {"type": "LineString", "coordinates": [[0, 0], 1]}),
    ("multiline", {"type": "MultiLineString", "coordinates": [LINE["coordinates"], 1]}),
    ("multiline", {"type": "MultiLineString", "coordinates": "x"}),
]


def shape_one(kind: str, value: object) -> object:
    """One value through a dataset of one column of that type."""
    return build_row({"field": value}, compile_shape({"field": kind}, ["field"]))["field"]


@pytest.mark.parametrize(("kind", "value", "expected"), SHAPED)
def test_build_row__gives_each_type_what_it_takes(kind, value, expected):
    """A value comes out in the strict form of its column's type, empty ones as null."""
    shaped = shape_one(kind, value)
    assert shaped == expected
    assert type(shaped) is type(expected)


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_build_row__refuses_what_the_column_would(kind, value):
    """A value that its column would refuse, lose or misread refuses the row, in words without the value."""
    with pytest.raises(Unfit) as caught:
        shape_one(kind, value)
    assert str(caught.value).startswith("field: ")
    if isinstance(value, str) and len(value) > 3:
        assert value not in str(caught.value)


@pytest.mark.parametrize(("kind", "value", "expected"), SHAPED)
def test_build_row__is_accepted_by_the_storage_rules(kind, value, expected):
    """The strict reader of the storage takes what was shaped and does not lose it."""
    if expected is None:
        return
    sent = msgspec.json.decode(msgspec.json.encode(shape_one(kind, value)))
    sent = msgspec.json.Decoder(float_hook=Decimal).decode(msgspec.json.encode(sent))
    assert compile_reader(kind)(sent) is not None


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["Yes", "$1,234", "2024-05-01", "2025-03-09T16:05:00-05:00", "POINT (1 2)"])
    | st.builds(lambda a, b: {"latitude": a, "longitude": b}, st.floats(-91, 91), st.floats(-181, 181)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(kind=st.sampled_from(sorted(set(FORMATTERS) - {"json"})), value=_JSON)
def test_build_row__never_makes_what_storage_refuses(kind, value):
    """Whatever a row holds, it is refused here or taken there."""
    try:
        shaped = shape_one(kind, value)
    except Unfit:
        return
    if shaped is None:
        return
    sent = msgspec.json.Decoder(float_hook=Decimal).decode(msgspec.json.encode(shaped))
    assert compile_reader(kind)(sent) is not None


def test_build_row__sends_every_matched_column():
    """Empty and absent values are sent as null, so that an update clears what was there."""
    shape = compile_shape({"id": "text", "a": "text", "b": "number", "c": "text"}, ["id", "a", "b"])
    assert build_row({"id": "1", "a": ""}, shape) == {"id": "1", "a": None, "b": None}
    assert shape.unfed == ("c",)


def test_build_row__names_all_bad_fields_at_once():
    """A refusal tells every field that is wrong, not the first one only."""
    shape = compile_shape({"id": "text", "n": "number", "d": "date"}, ["id", "n", "d"])
    with pytest.raises(Unfit, match=r"^n: .*; d: "):
        build_row({"id": "1", "n": "x", "d": "y"}, shape)


def test_match_columns__prefers_the_nearest_spelling():
    """An equal name beats one that differs in case, which beats one that differs in signs."""
    columns = ["status", "asset_id", "comment", "speed_limit_mph"]
    names = ["Status", "status", "ASSET_ID", "asset-id", "comment", "Speed Limit (MPH)"]
    assert match_columns(names, columns) == {
        "status": "status",
        "asset_id": "ASSET_ID",
        "comment": "comment",
        "speed_limit_mph": "Speed Limit (MPH)",
    }


def test_match_columns__uses_a_name_once():
    """A name that equals one column does not also feed one that only resembles it."""
    assert match_columns(["id", "_id"], ["id", "_id", "id_"]) == {"id": "id", "_id": "_id"}


def test_compile_shape__tells_what_is_left_out():
    """Names without a column and columns without a name are both known."""
    shape = compile_shape({"id": "text", "x": "text"}, ["id", "Field A", "§"])
    assert shape.sources == {"id": "id"}
    assert shape.left_out == ("Field A", "§")
    assert shape.unfed == ("x",)


def test_find_geo_columns__knows_the_types_that_take_places():
    """Points, multipoints and locations take coordinates; lines and polygons do not."""
    columns = {"a": "point", "b": "text", "c": "multipoint", "d": "location", "e": "polygon"}
    assert find_geo_columns(columns) == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        ("number", [7, 7.0, "7", "7.00", "007", "+7", Decimal("7")]),
        ("number", [0, "0", "-0", "0.0"]),
        ("number", ["100", 100, "1E+2", 1e2]),
        ("number", ["1.50", 1.5]),
        ("number", [12345678901234567890123456789012345, "12345678901234567890123456789012345.0"]),
        ("text", ["A1", "A\0001"]),
        ("text", [42, "42"]),
    ],
)
def test_format_key__is_one_for_all_spellings(kind, spellings):
    """A row identifier has one spelling, however it was sent and however it comes back."""
    assert len({format_key(value, kind) for value in spellings}) == 1


def test_format_key__keeps_different_keys_apart():
    """Text keys are compared as they are, number keys with all their digits."""
    assert format_key("007", "text") != format_key("7", "text")
    assert format_key("a", "text") != format_key("A", "text")
    long = "1" * 40
    assert format_key(long + "1", "number") != format_key(long + "2", "number")


@given(
    st.datetimes(
        timezones=st.sampled_from([dt.timezone(dt.timedelta(hours=h, minutes=30)) for h in (-12, 0, 13)])
    )
)
def test_calendar_date__any_time_of_a_row(when: dt.datetime) -> None:
    """Whatever the time, its text is that of its clock, to the millisecond; a day or hour too high is refused."""
    text = when.replace(microsecond=0).isoformat()
    assert FORMATTERS["calendar_date"](text) == f"{text[:19]}.000"
    for wrong in (text[:8] + "32" + text[10:], text[:11] + "25" + text[13:], text[:14] + "60" + text[16:]):
        with pytest.raises(Unfit):
            FORMATTERS["calendar_date"](wrong)
