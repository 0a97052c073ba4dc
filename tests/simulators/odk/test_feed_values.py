"""How values look in the feed, against texts that phones send; and filters against a plain model."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.simulators.odk import filters
from dev.simulators.odk.instances import build_nodes, read_instance
from dev.simulators.odk.problems import Problem
from dev.simulators.odk.rows import render_row
from dev.simulators.odk.schema import build_schema, odata_name
from dev.simulators.odk.values import read_value
from dev.simulators.odk.xforms import read_definition, write_definition


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "12", 12),
        ("int", "12.7", 12),
        ("int", "-3", -3),
        ("int", "text", None),
        ("int", "9007199254740993", 9007199254740992),
        ("decimal", "754.50", 754.5),
        ("decimal", "2.0", 2),
        ("decimal", ".5", 0.5),
        ("decimal", "1e3", 1000),
        ("decimal", "not a number", None),
        ("string", "  two  spaces\t", "  two  spaces\t"),
        ("string", "", None),
        ("boolean", "true", "true"),
        ("dateTime", "2026-05-05T09:10:00.000+07", "2026-05-05T09:10:00.000+07:00"),
        ("dateTime", "2026-05-05T09:10:00.000Z", "2026-05-05T09:10:00.000Z"),
        ("date", "2026-05-05", "2026-05-05"),
        ("geopoint", "43.25 76.95", {"type": "Point", "coordinates": [76.95, 43.25]}),
        (
            "geopoint",
            "43.25 76.95 700.5 3.2",
            {"type": "Point", "coordinates": [76.95, 43.25, 700.5], "properties": {"accuracy": 3.2}},
        ),
        ("geopoint", "not a point", None),
        ("geotrace", "1 2 0 0;3 4 0 0", {"type": "LineString", "coordinates": [[2, 1, 0], [4, 3, 0]]}),
        ("geotrace", "1 2 0 0", None),
        ("geoshape", "1 2;3 4;1 2;", {"type": "Polygon", "coordinates": [[[2, 1], [4, 3], [2, 1]]]}),
    ],
)
def test_read_value__as_measured(kind, text, value):
    """Texts become what the real feed made of them."""
    found = read_value(kind, text, False)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("e-mail.address", "e_mail_address"),
        ("контакт", "__"),
        ("1st", "_1st"),
        ("a__b", "a__b"),
        ("ok", "ok"),
    ],
)
def test_odata_name__as_measured(name, expected):
    """Names become what the real feed made of them."""
    assert odata_name(name) == expected


def test_write_definition__read_back():
    """A form that is given as fields has an XForm that says the same."""
    specs = [
        ("a", "int"),
        ("g/b", "select_multiple"),
        ("g/photo", "image"),
        ("r", "repeat"),
        ("r/c", "geopoint"),
        ("r/s", "repeat"),
        ("r/s/d", "date"),
    ]
    schema = build_schema(specs)
    written = write_definition("form & <id>", "1", "Título", schema)
    read = read_definition(written.xml)
    assert (read.form_id, read.version, read.title) == ("form & <id>", "1", "Título")
    assert read.schema.to_json() == schema.to_json()
    assert [one["type"] for one in read.schema.to_json()][:4] == ["int", "structure", "string", "binary"]


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
LEAF = st.fixed_dictionaries(
    {
        "size": st.none() | st.integers(-(10**6), 10**6),
        "name": st.none() | TEXT.filter(lambda text: text != ""),
    }
)
VALUES = st.fixed_dictionaries(
    {
        "name": st.none() | TEXT.filter(lambda text: text != ""),
        "group": LEAF,
        "part": st.lists(st.fixed_dictionaries({"n": st.integers(0, 9), "bit": st.lists(LEAF, max_size=2)})),
    }
)
SCHEMA = build_schema(
    [
        "name",
        ("group/size", "int"),
        "group/name",
        ("part", "repeat"),
        ("part/n", "int"),
        ("part/bit", "repeat"),
        ("part/bit/size", "int"),
        "part/bit/name",
    ]
)


def strip(value):
    """A row without what the feed adds, and repeats that are there even when empty."""
    if isinstance(value, dict):
        left = {
            key: strip(part) for key, part in value.items() if "@" not in key and not key.startswith("__")
        }
        left.pop("meta", None)
        for name in ("part", "bit"):
            if (name == "part" and "group" in left) or (name == "bit" and "n" in left):
                left.setdefault(name, [])
        return left
    return [strip(part) for part in value] if isinstance(value, list) else value


@settings(max_examples=60)
@given(values=VALUES)
def test_render_row__gives_back_what_was_sent(values):
    """Values become XML, are parsed as a phone's would be, and come back in the feed."""
    from dev.simulators.odk.instances import Instance

    sent = Instance("form", "1", build_nodes(values, SCHEMA)).to_xml()
    row = render_row("uuid:1", read_instance(sent.encode()).nodes, SCHEMA, {}, True, False)
    assert strip(row) == values


class Row:
    """What a filter looks at."""

    def __init__(self, created, updated, deleted, state):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        self.instance_id = "uuid:1"
        self.submitter_id = 5
        self.review_state = state
        self.created_at, self.updated_at, self.deleted_at = (
            None if minutes is None else start + timedelta(minutes=minutes)
            for minutes in (created, updated, deleted)
        )


MINUTES = st.integers(0, 5)
ROWS = st.builds(
    Row, MINUTES, st.none() | MINUTES, st.none() | MINUTES, st.sampled_from([None, "edited", "approved"])
)


@st.composite
def conditions(draw, depth=2):
    """A filter, and the same as a function of three values."""
    kind = draw(st.sampled_from(["compare", "state", "and", "or", "not"] if depth else ["compare", "state"]))
    if kind == "compare":
        name = draw(st.sampled_from(["submissionDate", "updatedAt", "deletedAt"]))
        attribute = {"submissionDate": "created_at", "updatedAt": "updated_at", "deletedAt": "deleted_at"}[
            name
        ]
        operator = draw(st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"]))
        minute = draw(MINUTES)
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        text = f"__system/{name} {operator} 2026-01-01T00:{minute:02d}:00.000Z"

        def test(row):
            value = getattr(row, attribute)
            if operator in ("eq", "ne"):
                return (value == moment) is (operator == "eq")
            if value is None:
                return None
            return {"gt": value > moment, "ge": value >= moment, "lt": value < moment, "le": value <= moment}[
                operator
            ]

        return text, test
    if kind == "state":
        state = draw(st.sampled_from(["null", "'edited'"]))
        wanted = None if state == "null" else "edited"
        operator = draw(st.sampled_from(["eq", "ne"]))
        return (
            f"__system/reviewState {operator} {state}",
            lambda row: (row.review_state == wanted) is (operator == "eq"),
        )
    if kind == "not":
        text, test = draw(conditions(depth - 1))
        return f"not ({text})", lambda row: None if test(row) is None else not test(row)
    (left, one), (right, two) = draw(conditions(depth - 1)), draw(conditions(depth - 1))

    def join(row):
        results = [one(row), two(row)]
        decisive = kind == "or"
        if decisive in results:
            return decisive
        return None if None in results else not decisive

    return f"({left}) {kind} ({right})", join


@settings(max_examples=150)
@given(condition=conditions(), row=ROWS)
def test_compile_filter__as_sql(condition, row):
    """Any filter gives what SQL's logic of three values gives."""
    text, expected = condition
    test, mentions_deleted = filters.compile_filter(text, filters.FIELDS)
    assert test(row) is expected(row)
    assert mentions_deleted is ("deletedAt" in text)


@settings(max_examples=200)
@given(text=st.text("_a/() '\"eq gt0123456789-:TZ.system\0ж", max_size=30))
def test_compile_filter__never_breaks(text):
    """Whatever is written in a filter is a test, or a refusal with a code of Central's or a bare 500."""
    try:
        filters.compile_filter(text, filters.FIELDS)
    except Problem as problem:
        assert problem.code in (400.18, 501.4, 501.5, 400.11, None)
