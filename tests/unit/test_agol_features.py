"""Rows to ArcGIS features, and features compared: no network."""

from __future__ import annotations

import copy
import datetime as dt
import logging
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.utils.agol.compare import Comparer, Note, pack_note, unpack_note
from services.utils.agol.features import FeatureBuilder, build_feature
from services.utils.agol.layer import Layer, LayerField
from services.utils.agol.shapes import build_points
from services.utils.agol.values import (
    INTEGER_RANGES,
    Unfit,
    clean_html,
    compile_careful_converter,
    compile_converter,
    count_utf16,
)
from services.utils.errors import ConfigError
from services.utils.records import Row

OID = LayerField("OBJECTID", "OID", nullable=False, editable=False)
ID = LayerField("id", "String", 50)


def make_layer(
    *fields: LayerField, place: str = "point", kind: str = "layer", guards_html: bool = True
) -> Layer:
    """A layer of these fields beside the object id and the key."""
    return Layer(
        portal=SimpleNamespace(),  # type: ignore[arg-type]
        url="",
        id=0,
        name="signs",
        kind=kind,
        item_id="item1",
        oid_field="OBJECTID",
        fields=(OID, ID, *fields),
        place="" if kind == "table" else place,
        guards_html=guards_html,
    )


def build(layer: Layer, location_field=None, **values):
    """The feature of a row with these values and a key."""
    return build_feature(Row("r1", {"id": "r1", **values}), layer, location_field=location_field)


def convert(kind: str, value, **field):
    """A value as a field of this type is sent it."""
    return compile_converter(LayerField("F", kind, **field))(value)


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        ("String", "Elm St", "Elm St"),
        ("String", True, "Yes"),
        ("String", False, "No"),
        ("String", 7, "7"),
        ("String", 7.0, "7"),
        ("String", 7.25, "7.25"),
        ("String", ["a", None, "", 3, True], "a, 3, Yes"),
        ("String", [], None),
        ("String", {"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        ("String", [{"a": 1}, {"b": 2}], '{"a":1}, {"b":2}'),
        ("String", "  ", None),
        ("String", "\n", None),
        ("String", " padded ", " padded "),
        ("SmallInteger", 32767, 32767),
        ("SmallInteger", True, 1),
        ("SmallInteger", False, 0),
        ("Integer", "1,234,567", 1234567),
        ("Integer", " 12 ", 12),
        ("Integer", "-5", -5),
        ("Integer", 3.0, 3),
        ("Integer", "3.00", 3),
        ("Integer", "1e3", 1000),
        ("Integer", "", None),
        ("Integer", " ", None),
        ("BigInteger", 2**53 - 1, 2**53 - 1),
        ("BigInteger", "9007199254740991", 2**53 - 1),
        ("Double", "1,234.5", 1234.5),
        ("Double", 3, 3.0),
        ("Double", ".5", 0.5),
        ("Double", True, 1.0),
        ("Single", 1.5, 1.5),
        ("Date", "2024-01-02T03:04:05+00:00", 1704164645000),
        ("Date", "2024-01-01T21:04:05-06:00", 1704164645000),
        ("Date", "2024-01-02T03:04:05.678Z", 1704164645678),
        ("Date", "1969-12-31T23:59:59Z", -1000),
        ("Date", "2024-01-02", 1704153600000),
        ("Date", dt.date(2024, 1, 2), 1704153600000),
        ("Date", dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC), 1704164645000),
        ("Date", "", None),
        ("DateOnly", "2024-01-01T21:04:05-06:00", "2024-01-01"),
        ("DateOnly", "2024-01-02", "2024-01-02"),
        ("TimeOnly", "09:05", "09:05:00"),
        ("TimeOnly", dt.time(9, 5), "09:05:00"),
        ("TimeOnly", "16:30:00.000+05:00", "16:30:00"),
        ("TimeOnly", "16:30Z", "16:30:00"),
        ("TimestampOffset", "2024-01-01T21:04:05-06:00", "2024-01-01T21:04:05-06:00"),
        ("GUID", "{B1A7A8C0-0000-4000-8000-000000000001}", "B1A7A8C0-0000-4000-8000-000000000001"),
        *[(kind, None, None) for kind in ("String", "Integer", "Double", "Date", "DateOnly", "GUID")],
    ],
)
def test_compile_converter__types(kind, value, sent):
    """Each field type is sent what it takes, and null for nothing."""
    got = convert(kind, value)
    assert got == sent
    assert type(got) is type(sent)


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("String", "abcdef", "has 6 characters, the field takes 5"),
        ("String", "ab\N{GRINNING FACE}\N{GRINNING FACE}", "has 6 characters"),
        ("String", "a\ud800", "half of a character"),
        ("SmallInteger", 40000, "outside of -32768 to 32767"),
        ("Integer", 2**31 + 5, "outside of"),
        ("Integer", 1.5, "has decimals"),
        ("Integer", "12,34", "not a number"),
        ("Integer", "twelve", "not a number"),
        ("Integer", {"a": 1}, "not a number"),
        ("Integer", float("inf"), "not a finite number"),
        ("BigInteger", 2**53 + 7, "outside of"),
        ("Double", "12 ft", "not a number"),
        ("Double", float("nan"), "not a finite number"),
        ("Single", 1e39, "beyond"),
        ("Double", 10**400, "beyond"),
        ("Date", "2024-01-02T03:04:05", "without a zone"),
        ("Date", dt.datetime(2024, 1, 2), "without a zone"),
        ("Date", "next week", "not an ISO-8601 date"),
        ("Date", "05/06/2024", "not an ISO-8601 date"),
        ("Date", True, "not a date"),
        ("Date", 1704164645000, "not a date"),
        ("GUID", "5f0c", "not a GUID"),
        ("TimeOnly", "25:00", "not a time of day"),
        ("TimeOnly", "9:05", "not a time of day"),
    ],
)
def test_compile_converter__unfit_values(kind, value, why):
    """A value that its field cannot take is refused with the rule, and never bent to fit."""
    with pytest.raises(Unfit, match=why) as caught:
        convert(kind, value, length=5)
    assert str(value) not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", "  ", []])
def test_compile_converter__not_nullable(value):
    """Nothing is unfit for a field that may not be empty."""
    with pytest.raises(Unfit, match="may not be empty"):
        convert("String", value, nullable=False)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("5 < 6", "5 < 6"),
        ("6 > 5", "6 > 5"),
        ("<Null>", "Null"),
        ("a <- b -> c", "a - b - c"),
        ("x < 5 and y > 3", "x  5 and y  3"),
        ("<b>bold</b> text", "bold text"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("one<br>two<br/>three<BR />four", "one\ntwo\nthree\nfour"),
        ("<a href=\"http://x/?a=1&b=2>3\" target='_blank'>link</a>", "link"),
        ("<p><strong>Lamar</strong></p><ul><li><5 east</li></ul>", "Lamar\n<5 east"),
        ("<<b>script>alert(1)</script>", "scriptalert(1)"),
        ("<!-- note\n-->text", "text"),
        ("<bold>", "bold"),
        ("<table><tr><td>row</td><td>1</td></tr></table>", "row 1"),
    ],
)
def test_clean_html__cases(text, clean):
    """Known tags go, line breaks stay, and no "<...>" is left for the server to refuse."""
    assert clean_html(text) == clean


MOMENTS = st.builds(
    lambda moment, offset, timespec: moment.replace(
        tzinfo=None if offset is None else dt.timezone(dt.timedelta(minutes=offset))
    ).isoformat(timespec=timespec),
    st.datetimes(),
    st.none() | st.integers(-1439, 1439),
    st.sampled_from(["hours", "minutes", "seconds", "milliseconds", "microseconds"]),
)
ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.decimals(allow_nan=False),
    st.text(max_size=12),
    st.text(alphabet="<>aä \n\ud800\N{GRINNING FACE}", max_size=12),
    st.text(alphabet="0123456789-+.,eE _", max_size=20),
    st.from_regex(r"-?[0-9]{1,16}(\.[0-9]{0,16})?", fullmatch=True),
    st.text(alphabet="0123456789-+:.TWZ ", min_size=23, max_size=27),
    MOMENTS,
    st.datetimes(timezones=st.none() | st.just(dt.UTC)),
    st.dates(),
    st.lists(st.text(max_size=3), max_size=3),
)
ANY_FIELD = st.builds(
    LayerField,
    st.just("F"),
    st.sampled_from(["String", "Date", "Single", "Double", "GUID", "DateOnly", "Strange", *INTEGER_RANGES]),
    st.sampled_from([0, 3, 8]),
    st.booleans(),
)


@settings(max_examples=400)
@given(ANY_FIELD, ANY_VALUE, st.booleans())
@example(LayerField("F", "Date"), "2024-01-02T03+01:00+05:00", True)
@example(LayerField("F", "Date"), "2024-01-02T03:04:05-24:00", True)
@example(LayerField("F", "Date"), "20240102T030405.678-06:00", True)
@example(LayerField("F", "Date"), "1969-12-31T23:59:59+00:00", True)
@example(LayerField("F", "Date"), "0001-01-01T00:00:00+14:00", True)
@example(LayerField("F", "Double"), "-0", True)
@example(LayerField("F", "Double"), "123456789012345.123456789012345", True)
@example(LayerField("F", "Double"), "\u0661", True)
@example(LayerField("F", "Double"), "1,234", True)
@example(LayerField("F", "Double"), "12,34", True)
@example(LayerField("F", "Single"), 3.5e38, True)
@example(LayerField("F", "Single"), -3.5e38, True)
@example(LayerField("F", "Double"), -(2**1024), True)
@example(LayerField("F", "Integer"), -(2**31) - 1, True)
@example(LayerField("F", "Double"), 2**1024, True)
@example(LayerField("F", "String", 3), "abcd", True)
@example(LayerField("F", "String"), "a<Null>", True)
@example(LayerField("F", "String"), "a<Null>", False)
def test_compile_converter__short_cuts(field, value, guard_html):
    """The short cut for a type's usual values gives what the careful way gives, or leaves the value to it."""

    def take(compile_one):
        try:
            out = compile_one(field, guard_html=guard_html)(value)
        except Unfit as error:
            return error.args
        return type(out), repr(out)

    assert take(compile_converter) == take(compile_careful_converter)


@given(st.text(alphabet="<>/ab p\"'=!-\n", max_size=60))
def test_clean_html__leaves_no_pair(text):
    """Whatever goes in, "<" and ">" never come out together."""
    cleaned = clean_html(text)
    assert not ("<" in cleaned and ">" in cleaned)
    assert clean_html(cleaned) == cleaned


def test_compile_converter__html_guard_off():
    """Where the service takes HTML, text is sent as it is."""
    assert compile_converter(LayerField("F", "String"), guard_html=False)("<b>x</b>") == "<b>x</b>"


def test_compile_converter__html_before_length():
    """What counts against the length is the text as it is sent."""
    assert convert("String", "<b>abcde</b>", length=5) == "abcde"


@given(st.text(max_size=30))
def test_count_utf16__is_utf16(text):
    """Length counts UTF-16 units."""
    assert count_utf16(text) == len(text.encode("utf-16-le")) // 2


def test_build_feature__matches_names(caplog):
    """Names match exactly, else without case, else without punctuation; the rest is left out and named once."""
    layer = make_layer(
        LayerField("NAME", "String", 50),
        LayerField("asset_id", "String", 50),
        LayerField("GlobalID", "GlobalID", editable=False),
        LayerField("created_date", "Date", editable=False),
    )
    builder = FeatureBuilder(layer)
    row = Row(
        "r1", {"id": "r1", "name": "Elm", "Asset - ID#": "a1", "globalid": "g", "created_date": "x", "new": 1}
    )
    before = copy.deepcopy(row)
    with caplog.at_level(logging.WARNING):
        first, second = builder.build(row), builder.build(Row("r2", {**row.values, "id": "r2"}))
    assert first == {"attributes": {"id": "r1", "NAME": "Elm", "asset_id": "a1"}}
    assert second["attributes"]["id"] == "r2"
    assert row == before
    assert [f.name for f in builder.used] == ["id", "NAME", "asset_id"]
    for name in ("globalid", "created_date", "new"):
        assert sum(f'"{name}"' in message for message in caplog.messages) == 1


def test_build_feature__two_names_one_field():
    """Of two names for one field the closer one fills it, whatever the order."""
    layer = make_layer(LayerField("Name", "String", 50))
    assert build(layer, name="far", Name="near")["attributes"]["Name"] == "near"
    assert build(layer, Name="near", name="far")["attributes"]["Name"] == "near"


def test_build_feature__unfit_names_field_not_value():
    """The reason names the field and the rule, not the value."""
    layer = make_layer(LayerField("NAME", "String", 5))
    with pytest.raises(Unfit, match=r"field NAME \(name\): has 6 characters") as caught:
        build(layer, name="secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", [None, "", " "])
def test_build_feature__without_key(key):
    """A row without a key is unfit."""
    with pytest.raises(Unfit, match="key field id is empty"):
        build_feature(Row("r1", {"id": key}), make_layer())
    with pytest.raises(Unfit, match="key field id is empty"):
        build_feature(Row("r1", {"name": "x"}), make_layer())


def test_build_feature__key_field_missing_or_of_wrong_type():
    """A layer without a fit field for the key is a configuration error."""
    with pytest.raises(ConfigError, match='no editable field "ticket"'):
        build_feature(Row("r1", {}), make_layer(), key_field="ticket")
    with pytest.raises(ConfigError, match="cannot hold keys"):
        build_feature(Row("r1", {}), make_layer(LayerField("day", "Date")), key_field="day")
    with pytest.raises(ConfigError, match="no editable field"):
        build_feature(Row("r1", {}), make_layer(), key_field="OBJECTID")


POINT = {"latitude": 30.25, "longitude": -97.75}
WGS84 = {"wkid": 4326}


@pytest.mark.parametrize(
    ("place", "value", "geometry"),
    [
        ("point", POINT, {"x": -97.75, "y": 30.25, "spatialReference": WGS84}),
        ("point", {**POINT, "city": "Austin"}, {"x": -97.75, "y": 30.25, "spatialReference": WGS84}),
        (
            "point",
            {"latitude": "30.25", "longitude": "-97.75"},
            {"x": -97.75, "y": 30.25, "spatialReference": WGS84},
        ),
        ("point", [POINT], {"x": -97.75, "y": 30.25, "spatialReference": WGS84}),
        ("point", [POINT, POINT], {"x": -97.75, "y": 30.25, "spatialReference": WGS84}),
        ("point", None, None),
        ("point", [], None),
        ("point", {}, None),
        ("point", {"latitude": None, "longitude": None}, None),
        ("multipoint", POINT, {"points": [[-97.75, 30.25]], "spatialReference": WGS84}),
        (
            "multipoint",
            [POINT, None, {"latitude": 31, "longitude": -98}],
            {"points": [[-97.75, 30.25], [-98.0, 31.0]], "spatialReference": WGS84},
        ),
        ("multipoint", [], None),
        ("multipoint", [None], None),
    ],
)
def test_build_feature__geometry(place, value, geometry):
    """The layer's geometry type decides the shape; an empty place is null, so that an update clears it."""
    feature = build(make_layer(place=place), "location", location=value)
    assert feature["geometry"] == geometry


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"latitude": 95, "longitude": 200}, "out of range"),
        ({"latitude": -97.75, "longitude": 30.25}, "swapped"),
        ({"latitude": 30.25, "longitude": -190}, "out of range"),
        ({"latitude": 30.25, "longitude": None}, "longitude is not a number"),
        ({"latitude": True, "longitude": 1}, "latitude is not a number"),
        ({"latitude": "north", "longitude": 1}, "latitude is not a number"),
        ({"latitude": "nan", "longitude": 1}, "latitude is not a number"),
        ("30.25, -97.75", "no place"),
        ([POINT, {"latitude": 31, "longitude": -98}], "2 places, the layer takes one point"),
    ],
)
def test_build_feature__unfit_places(value, why):
    """A place that cannot be is refused and not moved to where it can."""
    with pytest.raises(Unfit, match=f"location location: .*{why}"):
        build(make_layer(), "location", location=value)


LINE = [[77.1, 43.1, 800.5], [77.2, 43.2, 0], [77.3, 43.1, 0]]
# Counter-clockwise, as GeoJSON has outer rings.
RING = [[77.0, 43.0], [77.1, 43.0], [77.1, 43.1], [77.0, 43.0]]
HOLE = [[77.06, 43.02], [77.08, 43.03], [77.08, 43.02], [77.06, 43.02]]


@pytest.mark.parametrize(
    ("place", "kind", "coordinates", "parts"),
    [
        ("polyline", "LineString", LINE, {"paths": [[[77.1, 43.1], [77.2, 43.2], [77.3, 43.1]]]}),
        ("polyline", "MultiLineString", [RING, HOLE], {"paths": [RING, HOLE]}),
        ("polyline", "LineString", [], None),
        ("polygon", "Polygon", [RING], {"rings": [RING[::-1]]}),
        ("polygon", "Polygon", [RING[::-1]], {"rings": [RING[::-1]]}),
        ("polygon", "Polygon", [RING, HOLE], {"rings": [RING[::-1], HOLE[::-1]]}),
        ("polygon", "Polygon", [RING[::-1], HOLE[::-1]], {"rings": [RING[::-1], HOLE[::-1]]}),
        ("polygon", "MultiPolygon", [[RING], [HOLE]], {"rings": [RING[::-1], HOLE]}),
        ("polygon", "Polygon", [], None),
    ],
)
def test_build_feature__lines_and_polygons(place, kind, coordinates, parts):
    """GeoJSON becomes paths and rings: two numbers a position, outer rings clockwise, holes the other way."""
    feature = build(make_layer(place=place), "area", area={"type": kind, "coordinates": coordinates})
    assert feature["geometry"] == (parts and {**parts, "spatialReference": WGS84})


@pytest.mark.parametrize("place", ["polyline", "polygon"])
def test_build_feature__no_line(place):
    """An empty line is null, so that an update clears it."""
    for value in (None, "", {}):
        assert build(make_layer(place=place), "area", area=value)["geometry"] is None


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("polyline", POINT, "is not a line"),
        ("polyline", "LINESTRING (1 2, 3 4)", "is not a line"),
        ("polyline", {"type": "Polygon", "coordinates": [RING]}, "is not a line"),
        ("polyline", {"type": "LineString", "coordinates": [[1, 2]]}, "two positions"),
        ("polyline", {"type": "LineString", "coordinates": [[1], [2, 3]]}, "without longitude"),
        ("polyline", {"type": "LineString", "coordinates": [1, 2]}, "without longitude"),
        ("polyline", {"type": "MultiLineString", "coordinates": [1, 2]}, "no list of positions"),
        ("polyline", {"type": "LineString", "coordinates": [[1, None], [2, 3]]}, "latitude is not a number"),
        ("polyline", {"type": "LineString", "coordinates": [[1, 91], [2, 3]]}, "swapped"),
        ("polygon", {"type": "LineString", "coordinates": RING}, "is not a polygon"),
        ("polygon", {"type": "Polygon", "coordinates": [RING[:3]]}, "four positions"),
        ("polygon", {"type": "Polygon", "coordinates": [[*RING[:3], [77.0, 43.01]]]}, "ends where it begins"),
        ("polygon", {"type": "MultiPolygon", "coordinates": [3]}, "no GeoJSON polygon"),
        ("point", {"type": "Polygon", "coordinates": [RING]}, "no place with latitude"),
    ],
)
def test_build_feature__unfit_lines(place, value, why):
    """A geometry of another kind is refused and never bent."""
    with pytest.raises(Unfit, match=f"location area: .*{why}"):
        build(make_layer(place=place), "area", area=value)


def test_build_feature__location_names():
    """Of several location fields the first that has a place counts."""
    layer, names = make_layer(), ["school", "signal"]
    assert build(layer, names, school=None, signal=POINT)["geometry"]["y"] == 30.25
    other = {"latitude": 31, "longitude": -98}
    assert build(layer, names, school=other, signal=POINT)["geometry"]["y"] == 31
    assert build(layer, names, school=None, signal=None)["geometry"] is None
    assert build(layer, names)["geometry"] is None


def test_build_feature__geometry_left_alone():
    """Tables, other geometries and runs without a location field send no geometry at all."""
    assert "geometry" not in build(make_layer(kind="table"), "location", location=POINT)
    assert "geometry" not in build(make_layer(place="esriGeometryMultiPatch"), "location", location=POINT)
    assert "geometry" not in build(make_layer(), None, location=POINT)


@given(
    st.floats(-90, 90, allow_nan=False),
    st.floats(-180, 180, allow_nan=False),
)
def test_build_points__any_place(latitude, longitude):
    """Every possible place passes unchanged, longitude first."""
    assert build_points({"latitude": latitude, "longitude": longitude}) == [[longitude, latitude]]


FIELDS = [
    ID,
    LayerField("t", "String", 50),
    LayerField("i", "Integer"),
    LayerField("s", "Single"),
    LayerField("d", "Double"),
    LayerField("at", "Date"),
    LayerField("g", "GUID"),
    LayerField("o", "TimestampOffset"),
]


RINGS = Comparer("OBJECTID", FIELDS, geometry=True, rings=True)
TURNED = [*RING[1:], RING[1]]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ([RING], [RING], True),
        ([RING], [TURNED], True),
        ([RING], [[[x + 9e-7, y - 9e-7] for x, y in TURNED]], True),
        ([RING, HOLE], [TURNED, HOLE], True),
        ([RING], [RING[::-1]], False),
        ([RING], [[[x + 3e-6, y] for x, y in RING]], False),
        ([RING], [RING, HOLE], False),
        ([RING, HOLE], [HOLE, RING], False),
        ([RING], [[*RING[:2], [77.05, 43.05], *RING[2:]]], False),
        ([RING], [], False),
        ([], [], True),
    ],
)
def test_comparer__rings(one, other, alike):
    """The server may begin a ring elsewhere; it goes round the same way, within a millionth of a degree."""
    notes = [
        RINGS.note({"attributes": {"OBJECTID": 1}, "geometry": {"rings": rings}}) for rings in (one, other)
    ]
    assert RINGS.same(*notes) is alike
    assert RINGS.same(*notes[::-1]) is alike


def note(geometry=None, **attributes) -> Note:
    """What is remembered of a feature."""
    comparer = Comparer("OBJECTID", FIELDS, geometry=True)
    return comparer.note({"attributes": {"OBJECTID": 1, "id": "a", **attributes}, "geometry": geometry})


def same(one: Note, other: Note) -> bool:
    """Whether two notes agree, one of which went through the spool."""
    return Comparer("OBJECTID", FIELDS, geometry=True).same(one, unpack_note(pack_note(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"t": None}, {"t": ""}),
        ({"t": " "}, {}),
        ({"s": 0.1}, {"s": 0.10000000149011612}),
        ({"s": 16777216.0}, {"s": 16777217.0}),
        ({"d": 30.267153}, {"d": 30.267153000000004}),
        ({"d": 3}, {"d": 3.0}),
        ({"at": 1704164645000}, {"at": 1704164645000.0}),
        ({"g": "{B1A7A8C0-0000-4000-8000-000000000001}"}, {"g": "b1a7a8c0-0000-4000-8000-000000000001"}),
        ({"o": "2024-01-01T21:04:05-06:00"}, {"o": "2024-01-02T03:04:05+00:00"}),
        ({"geometry": {"x": -97.75, "y": 30.25}}, {"geometry": {"x": -97.7500009, "y": 30.2499991}}),
        # Two neighbours that rounding to six places would tear apart:
        ({"geometry": {"x": 0.00000049999, "y": 0}}, {"geometry": {"x": 0.00000050001, "y": 0}}),
        ({"geometry": None}, {"geometry": {"points": []}}),
        ({"geometry": None}, {"geometry": {"x": "NaN", "y": "NaN"}}),
        ({"geometry": None}, {"geometry": {"x": None, "y": None}}),
        (
            {"geometry": {"points": [[1, 2], [3, 4]]}},
            {"geometry": {"points": [[1.0000001, 2], [3, 4.0000001]]}},
        ),
        ({"geometry": {"paths": [[[1, 2], [3, 4]]]}}, {"geometry": {"paths": [[[1.0000009, 2], [3, 4]]]}}),
        ({"geometry": None}, {"geometry": {"paths": []}}),
    ],
)
def test_comparer__same(one, other):
    """What the server keeps in another spelling is no difference."""
    assert same(note(**one), note(**other))
    assert same(note(**other), note(**one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"t": "a"}, {"t": "A"}),
        ({"t": "a"}, {"t": "a "}),
        ({"t": "a"}, {}),
        ({"i": 0}, {}),
        ({"s": 0.1}, {"s": 0.10001}),
        ({"d": 1.0}, {"d": 1.0000001}),
        ({"d": 0.0}, {"d": None}),
        ({"at": 1704164645000}, {"at": 1704164645001}),
        ({"id": "a"}, {"id": "A"}),
        ({"geometry": {"x": -97.75, "y": 30.25}}, {"geometry": {"x": -97.750003, "y": 30.25}}),
        ({"geometry": {"x": -97.75, "y": 30.25}}, {"geometry": None}),
        ({"geometry": {"points": [[1, 2]]}}, {"geometry": {"points": [[1, 2], [3, 4]]}}),
        ({"geometry": {"paths": [RING]}}, {"geometry": {"paths": [TURNED]}}),
        ({"geometry": {"paths": [RING]}}, {"geometry": {"paths": [RING, RING]}}),
    ],
)
def test_comparer__differs(one, other):
    """A real difference is seen, however small."""
    assert not same(note(**one), note(**other))
