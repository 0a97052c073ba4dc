"""Submissions as rows: names, values, repeats, settings; odd shapes of every kind never raise."""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.utils.errors import ConfigError
from services.utils.odk.rows import RowFormatter, build_row_names, compile_formatter, format_rows
from services.utils.odk.schema import Form, open_form
from services.utils.odk.values import build_reader
from services.utils.records import Document, Reject, Row

KEY = "uuid:5bc8"
FIELDS = [
    ("/today", "date"),
    ("/seen at", "time"),
    ("/start", "dateTime"),
    ("/UUID", "string"),
    ("/consent", "boolean"),
    ("/house", "structure"),
    ("/house/floors", "int"),
    ("/house/Area-m2", "decimal"),
    ("/house/amenities", "multiple"),
    ("/house/photo", "binary"),
    ("/house/location", "geopoint"),
    ("/house/path", "geotrace"),
    ("/house/boundary", "geoshape"),
    ("/house/rent", "structure"),
    ("/house/rent/currency", "string"),
    ("/person", "repeat"),
    ("/person/name", "string"),
    ("/person/home", "geopoint"),
    ("/person/job", "structure"),
    ("/person/job/hours", "int"),
    ("/person/job/papers", "repeat"),
    ("/person/job/papers/number", "string"),
    ("/meta", "structure"),
    ("/meta/instanceID", "string"),
]
RECORD = {
    "today": "2026-06-06",
    "seen_at": "16:30:00.000+05:00",
    "start": "2026-06-06T09:27:00.000+05:00",
    "UUID": "e6c8",
    "consent": "true",
    "house": {
        "floors": 16,
        "Area_m2": 92.46,
        "amenities": "power garden",
        "photo": "1767225687000.jpg",
        "location": {
            "type": "Point",
            "coordinates": [77.06, 43.34, 799.8],
            "properties": {"accuracy": 2.26},
        },
        "path": {"type": "LineString", "coordinates": [[77.06, 43.34, 0], [77.07, 43.35, 0]]},
        "boundary": {"type": "Polygon", "coordinates": [[[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 0, 1]]]},
        "rent": {"currency": "KZT"},
    },
    "meta": {"instanceID": "uuid:5bc8"},
    "__id": "uuid:5bc8",
    "__system": {
        "submissionDate": "2026-11-21T20:41:53.022Z",
        "updatedAt": None,
        "submitterId": "5",
        "submitterName": "admin@example.org",
        "attachmentsPresent": 1,
        "attachmentsExpected": 2,
        "status": None,
        "reviewState": "approved",
        "deviceId": None,
        "edits": 0,
        "formVersion": "7",
        "deletedAt": None,
    },
    "person@odata.navigationLink": "Submissions('uuid%3A5bc8')/person",
    "person": [
        {"name": "Aru", "home": None, "job": {"hours": 40}, "__id": "3f48"},
        {
            "name": "Bolat",
            "home": {"type": "Point", "coordinates": [1.5, 2]},
            "job": {
                "hours": None,
                "papers@odata.navigationLink": "...",
                "papers": [
                    {"number": "N1", "__id": "fe09"},
                    {"number": None, "__id": "fe10"},
                ],
            },
            "__id": "5bc8",
        },
    ],
}
SYSTEM = {
    "system_submission_date": "2026-11-21T20:41:53.022Z",
    "system_updated_at": None,
    "system_submitter_id": "5",
    "system_submitter_name": "admin@example.org",
    "system_attachments_present": 1,
    "system_attachments_expected": 2,
    "system_status": None,
    "system_review_state": "approved",
    "system_device_id": None,
    "system_edits": 0,
    "system_form_version": "7",
}


def make_form(fields: list[tuple[str, str]], **details: Any) -> Form:
    """A form of these fields (own path, type); the feed's names are made as Central makes them."""
    import re

    def describe(path: str, type_: str) -> dict[str, Any]:
        return {
            "path": path,
            "name": path.rpartition("/")[2],
            "type": "string" if type_ == "multiple" else type_,
            "binary": type_ == "binary" or None,
            "selectMultiple": type_ == "multiple" or None,
        }

    def sanitise(path: str) -> str:
        return "/".join(re.sub(r"[^A-Za-z0-9_]+", "_", part) for part in path.split("/"))

    return open_form(
        {
            "projectId": 1,
            "form": {"xmlFormId": "survey", "name": "Survey", "version": "7", **details},
            "fields": [describe(sanitise(path), type_) for path, type_ in fields],
            "plain_fields": [describe(path, type_) for path, type_ in fields],
        }
    )


FORM = make_form(FIELDS)


def shape(record: Any, formatter: RowFormatter | None = None, **settings: Any) -> list[dict[str, Any]]:
    """The values of a document's rows; nothing of it may be refused."""
    refused: list[Reject] = []
    document = Document(KEY, json.dumps(record).encode())
    rows = list(
        format_rows([document], formatter or compile_formatter(FORM, **settings), on_reject=refused.append)
    )
    assert refused == [] and {row.record_id for row in rows} <= {KEY}
    return [row.values for row in rows]


def fail(reject: Reject) -> None:
    """No document is to be refused."""
    pytest.fail(f"{reject.record_id}: {reject.reason}")


# -- main rows -------------------------------------------------------------------------------------


def test_format_rows__main() -> None:
    """Groups are flattened, each type has its meaning, the key and what Central adds stand beside."""
    before = copy.deepcopy(RECORD)
    assert shape(RECORD) == [
        {
            "id": KEY,
            "today": "2026-06-06",
            "seen_at": "16:30:00.000+05:00",
            "start": "2026-06-06T09:27:00.000+05:00",
            "uuid": "e6c8",
            "consent": True,
            "house_floors": 16,
            "house_area_m2": 92.46,
            "house_amenities": "power, garden",
            "house_photo": "1767225687000.jpg",
            "house_location": {"latitude": 43.34, "longitude": 77.06},
            "house_path": {"type": "LineString", "coordinates": [[77.06, 43.34, 0], [77.07, 43.35, 0]]},
            "house_boundary": {
                "type": "Polygon",
                "coordinates": [[[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 0, 1]]],
            },
            "house_rent_currency": "KZT",
            "meta_instanceid": "uuid:5bc8",
            **SYSTEM,
        }
    ]
    assert before == RECORD


def test_compile_formatter__names_and_types() -> None:
    """names has a path's row name, types a row name's type, both in the order of the row."""
    formatter = compile_formatter(FORM, fields=["house/Area-m2", "today", "__system/edits"])
    assert formatter.names == {
        "today": "today",
        "house/Area-m2": "house_area_m2",
        "__system/edits": "system_edits",
    }
    assert formatter.types == {"today": "date", "house_area_m2": "decimal", "system_edits": "int"}


def test_format_rows__encrypted() -> None:
    """An encrypted submission has its key and what Central adds; every other name is there and empty."""
    [values] = shape({"__id": KEY, "__system": {**RECORD["__system"], "status": "notDecrypted"}})
    filled = {name: value for name, value in values.items() if value is not None}
    assert filled == {
        "id": KEY,
        **{name: value for name, value in SYSTEM.items() if value is not None},
        "system_status": "notDecrypted",
    }
    assert values.keys() == shape(RECORD)[0].keys()
    assert shape({"__id": KEY, "__system": {}}, repeat="person") == []


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("string", "", None),
        ("string", "  two  spaces\t", "  two  spaces\t"),
        ("string", 754.5, "754.5"),
        ("string", 11, "11"),
        ("string", True, "true"),
        ("string", {"moved": "into a group"}, None),
        ("string", [1], None),
        ("binary", "фото дома 1.jpg", "фото дома 1.jpg"),
        ("date", "2026-06-06", "2026-06-06"),
        ("dateTime", "2026-06-06T09:27:00.000+05:00", "2026-06-06T09:27:00.000+05:00"),
        ("int", 9007199254740992, 9007199254740992),
        ("int", 12.7, 12.7),
        ("int", 0, 0),
        ("int", " 12 ", "12"),
        ("int", "a dozen", "a dozen"),
        ("int", True, None),
        ("decimal", {"a": 1}, None),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("boolean", "1", True),
        ("boolean", 0, False),
        ("boolean", False, False),
        ("boolean", "maybe", "maybe"),
        ("boolean", "", None),
        ("multiple", "one", "one"),
        ("multiple", " a  b\nc ", "a, b, c"),
        ("multiple", "  ", None),
        ("multiple", 3, "3"),
        ("geopoint", {"type": "Point", "coordinates": [1, -2]}, {"latitude": -2, "longitude": 1}),
        ("geopoint", {"type": "Point", "coordinates": [1]}, None),
        ("geopoint", {"type": "Point", "coordinates": [None, 2]}, None),
        ("geopoint", {"type": "Point"}, None),
        ("geopoint", {"type": "Polygon", "coordinates": [1, 2]}, None),
        ("geopoint", "POINT (1 2)", None),
        ("geotrace", {"type": "LineString", "coordinates": []}, None),
        ("geotrace", {"type": "LineString", "coordinates": [[1, 2], [3]]}, None),
        ("geotrace", {"type": "LineString", "coordinates": [1, 2]}, None),
        ("geoshape", {"type": "Polygon", "coordinates": []}, None),
        ("geoshape", {"type": "Polygon", "coordinates": [[]]}, None),
        (
            "geoshape",
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]},
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        ),
        (
            "geoshape",
            {"type": "Polygon", "coordinates": [[[0, 0, 5], [1, 0, 5], [1, 1, 5], [0, 0, 6]]]},
            {"type": "Polygon", "coordinates": [[[0, 0, 5], [1, 0, 5], [1, 1, 5], [0, 0, 6]]]},
        ),
        ("a type of tomorrow", "text", "text"),
    ],
)
def test_build_reader__values(type_: str, value: Any, expected: Any) -> None:
    """Each type gives its value, and of a value of another kind what can be made of it."""
    read = build_reader(("group", "field"), type_, type_ == "multiple")
    found = read({"group": {"field": value}})
    assert found == expected and type(found) is type(expected)


def test_build_reader__absent() -> None:
    """What is not in the record, or stands where a group should, is None."""
    read = build_reader(("a", "b", "c"), "string")
    for record in ({}, {"a": None}, {"a": "x"}, {"a": {"b": ["c"]}}, {"a": {"b": {}}}):
        assert read(record) is None


def test_format_rows__older_version() -> None:
    """A document of an older version keeps its shape: fields removed, moved or not there yet are None."""
    record = {"floors": 3, "house": "a text then", "person": {"name": "a group then"}, "__id": KEY}
    [values] = shape(record)
    assert {name for name, value in values.items() if value is not None} == {"id"}
    assert shape(record, repeat="person") == []


# -- repeats ---------------------------------------------------------------------------------------


def test_format_rows__repeat() -> None:
    """Each instance is a row with the submission's key, its parent's id and its position."""
    assert shape(RECORD, repeat="person") == [
        {
            "id": f"{KEY}/person[1]",
            "submission_id": KEY,
            "parent_id": KEY,
            "position": 1,
            "name": "Aru",
            "home": None,
            "job_hours": 40,
        },
        {
            "id": f"{KEY}/person[2]",
            "submission_id": KEY,
            "parent_id": KEY,
            "position": 2,
            "name": "Bolat",
            "home": {"latitude": 2, "longitude": 1.5},
            "job_hours": None,
        },
    ]


def test_format_rows__nested_repeat() -> None:
    """The rows of an inner repeat name the row they stand in, through all groups on the way."""
    rows = shape(RECORD, repeat="/person/job/papers")
    assert rows == [
        {
            "id": f"{KEY}/person[2]/job/papers[{position}]",
            "submission_id": KEY,
            "parent_id": f"{KEY}/person[2]",
            "position": position,
            "number": number,
        }
        for position, number in ((1, "N1"), (2, None))
    ]


def test_format_rows__empty_instances() -> None:
    """An instance of nulls is a row; what is no instance is none, and the others keep their positions."""
    rows = shape({"person": [{"name": None}, None, "x", {"name": "Chen"}]}, repeat="person")
    assert [(row["position"], row["name"]) for row in rows] == [(1, None), (4, "Chen")]


@pytest.mark.parametrize(
    "key", [KEY, "a/b[1]", "x/person[3]", "with\nlines/", "/", "[", "person[1]/person[1]"]
)
def test_find_owner__any_key(key: str) -> None:
    """A row's id leads back to the submission, whatever stands in its key."""
    for repeat in ("person", "person/job/papers"):
        formatter = compile_formatter(FORM, repeat=repeat)
        for values in formatter.format(RECORD, key):
            assert formatter.find_owner(values["id"]) == key


def test_find_owner__other_ids() -> None:
    """What is no id of this repeat's rows belongs to nobody."""
    formatter = compile_formatter(FORM, repeat="person/job/papers")
    for other in (
        KEY,
        f"{KEY}/person[1]",
        f"{KEY}/person[1]/papers[1]",
        f"{KEY}/person[x]/job/papers[1]",
        "",
    ):
        assert formatter.find_owner(other) is None
    assert compile_formatter(FORM, repeat="person").find_owner(f"{KEY}/person[1] ") is None


def test_format_rows__parts() -> None:
    """Every document that can be read is noted, and a deleted one gives no rows; one that cannot is not."""
    formatter = compile_formatter(FORM, repeat="person")
    parts = formatter.build_parts()
    assert parts is not None
    refused: list[Reject] = []
    documents = [
        Document("a", json.dumps(RECORD).encode()),
        Document("b", json.dumps(RECORD).encode(), deleted=True),
        Document("c", b"{}"),
        Document("d", b"nonsense"),
        Document("e", b"nonsense", deleted=True),
        Document("a", b"{}"),
    ]
    rows = list(format_rows(documents, formatter, on_reject=refused.append, parts=parts))
    assert [row.values["id"] for row in rows] == ["a/person[1]", "a/person[2]"]
    assert [reject.record_id for reject in refused] == ["d"]
    assert list(parts.owners()) == ["a", "b", "c", "e"] and parts.count() == 4
    assert parts.owns("a/person[7]") and not parts.owns("d/person[1]") and not parts.owns("a")
    parts.close()
    assert compile_formatter(FORM).build_parts() is None


# -- documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"null", b"\xff{}", b"[" * 100_000])
def test_format_rows__no_record(body: bytes) -> None:
    """A document that is no JSON object is refused; a deleted one has a row that holds its key."""
    refused: list[Reject] = []
    formatter = compile_formatter(FORM)
    assert list(format_rows([Document(KEY, body)], formatter, on_reject=refused.append)) == []
    assert [reject.record_id for reject in refused] == [KEY]
    [row] = format_rows([Document(KEY, body, deleted=True)], formatter, on_reject=refused.append)
    assert row.deleted and row.values["id"] == KEY and len(refused) == 1


def test_format_rows__deleted() -> None:
    """A tombstone's row has its last values and says that it is deleted."""
    formatter = compile_formatter(FORM, fields=["today"])
    documents = [Document(KEY, json.dumps(RECORD).encode(), deleted=True)]
    assert list(format_rows(documents, formatter, on_reject=fail)) == [
        Row(KEY, {"id": KEY, "today": "2026-06-06"}, True)
    ]


def test_format_rows__odd_json() -> None:
    """Half a character becomes a sign of its own, a number beyond a double nothing."""
    body = rb'{"today": "\ud83d!", "house": {"floors": 1e999}}'
    formatter = compile_formatter(FORM, fields=["today", "house/floors"])
    [row] = format_rows([Document(KEY, body)], formatter, on_reject=fail)
    assert row.values == {"id": KEY, "today": "�!", "house_floors": None}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["Point", "LineString", "Polygon"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["house", "person", "job", "papers", "location", "path", "boundary", "type", "coordinates"]
                + ["floors", "amenities", "consent", "name", "number", "__system", "edits", "meta", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
FORMATTERS = [compile_formatter(FORM, repeat=repeat) for repeat in ("", "person", "person/job/papers")]


def mutate(draw: st.DrawFn, value: Any) -> Any:
    """The value with parts of it left out or replaced by anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    if isinstance(value, dict):
        return {name: mutate(draw, part) for name, part in value.items() if draw(st.integers(0, 9))}
    if isinstance(value, list):
        return [mutate(draw, part) for part in value]
    return value


@st.composite
def odd_records(draw: st.DrawFn) -> Any:
    """Records that are somewhat like the form's, and some that are not at all."""
    return mutate(draw, RECORD) if draw(st.booleans()) else draw(st.dictionaries(st.text(max_size=5), JSON))


def is_fit(value: Any, type_: str) -> bool:
    """Whether a row's value is of the kind that its type promises."""
    if value is None:
        return True
    if type_ in ("int", "decimal"):
        return isinstance(value, int | float | str) and not isinstance(value, bool)
    if type_ == "boolean":
        return isinstance(value, bool | str)
    if type_ == "geopoint":
        return isinstance(value, dict) and set(value) == {"latitude", "longitude"}
    if type_ in ("geotrace", "geoshape"):
        return (
            isinstance(value, dict) and set(value) == {"type", "coordinates"} and bool(value["coordinates"])
        )
    return isinstance(value, str) and value != ""


@given(odd_records())
def test_format_rows__any_record(record: Any) -> None:
    """Whatever stands in a document: no error, every name in every row, values of the promised kinds."""
    document = Document(KEY, json.dumps(record).encode())
    before = copy.deepcopy(record)
    for formatter in FORMATTERS:
        refused: list[Reject] = []
        rows = list(format_rows([document], formatter, on_reject=refused.append))
        assert bool(refused) is not isinstance(record, dict)
        assert len(rows) == isinstance(record, dict) or formatter.repeat
        ids = [row.values["id"] for row in rows]
        assert len(set(ids)) == len(ids)
        for row in rows:
            assert set(formatter.types) <= set(row.values)
            for name, type_ in formatter.types.items():
                assert is_fit(row.values[name], type_), (name, row.values[name])
            assert formatter.find_owner(row.values["id"]) == KEY
    assert record == before


# -- names -----------------------------------------------------------------------------------------


def test_build_row_names__collisions() -> None:
    """The first of several keeps the name, later ones end in their path; "id" and reserved names are kept free."""
    paths = ["ID", "id", "a/b", "a_b", "A-B", "a b", "position", "контакт", "e-mail.address"]
    assert build_row_names(paths, ["id", "position"]) == {
        "ID": "_id",
        "id": "_id_id",
        "a/b": "a_b",
        "a_b": "a_b_a_b",
        "A-B": "a_b_A-B",
        "a b": "a_b_a b",
        "position": "position_position",
        "контакт": "контакт",
        "e-mail.address": "e_mail.address",
    }
    assert build_row_names(["a/b", "a_b/c", "a/b_c", "a/b/c"])["a/b/c"] == "a_b_c_a__b__c"


@given(st.lists(st.text("abAB/_- i", min_size=1, max_size=6), max_size=12, unique=True))
def test_build_row_names__always_differ(paths: list[str]) -> None:
    """Every field has a name of its own, and none has the key's."""
    names = build_row_names(paths, ["id", "a"])
    assert len(set(names.values()) | {"id", "a"}) == len(paths) + 2


def test_compile_formatter__system_names_are_reserved() -> None:
    """A field of the form does not take the name of what Central adds."""
    form = make_form([("/system", "structure"), ("/system/edits", "string"), ("/system_edits", "int")])
    formatter = compile_formatter(form)
    assert formatter.names["__system/edits"] == "system_edits"
    assert formatter.names["system/edits"] == "system_edits_system__edits"
    assert formatter.names["system_edits"] == "system_edits_system_edits"
    record = {"system": {"edits": "a"}, "system_edits": 2, "__system": {"edits": 3}}
    [values] = shape(record, formatter)
    assert [values[formatter.names[path]] for path in ("system/edits", "system_edits", "__system/edits")] == [
        "a",
        2,
        3,
    ]


def test_compile_formatter__fields_run_together() -> None:
    """Fields that the feed makes one property of are published once, by the first one's name."""
    formatter = compile_formatter(make_form([("/a-b", "string"), ("/a.b", "string"), ("/ok", "string")]))
    assert (
        shape({"a_b": "dashdot", "ok": "fine"}, formatter)[0].items()
        >= {
            "a_b": "dashdot",
            "ok": "fine",
        }.items()
    )
    assert "a.b" not in formatter.names


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "paths"),
    [
        ("house/floors", ["house/floors"]),
        ("/house/floors", ["house/floors"]),
        ("house_floors", ["house/floors"]),
        ("house/Area_m2", ["house/Area-m2"]),
        ("seen at", ["seen at"]),
        ("seen_at", ["seen at"]),
        ("house/rent", ["house/rent/currency"]),
        ("__system/submitterName", ["__system/submitterName"]),
        ("system_submitter_name", ["__system/submitterName"]),
        ("id", []),
    ],
)
def test_compile_formatter__entries(entry: str, paths: list[str]) -> None:
    """An entry is a path as the form or the feed has it, a group's path, or a row name; the key always comes."""
    formatter = compile_formatter(FORM, fields=[entry])
    assert list(formatter.names) == paths
    assert "id" in shape(RECORD, formatter)[0]
    if paths:
        left = compile_formatter(FORM, exclude_fields=[entry]).names
        assert set(compile_formatter(FORM).names) - set(left) == set(paths)


def test_compile_formatter__path_before_name() -> None:
    """What is a path of one field and a row name of another means the former alone."""
    form = make_form([("/a", "structure"), ("/a/b", "string"), ("/a_b", "string")])
    assert list(compile_formatter(form, fields=["a_b"]).names) == ["a_b"]
    assert list(compile_formatter(form, fields=["a/b"]).names) == ["a/b"]


def test_compile_formatter__group_and_system() -> None:
    """A group means all fields in it, also Central's own; exclude_fields counts also against fields."""
    formatter = compile_formatter(
        FORM, fields=["house", "__system"], exclude_fields=["house/rent", "house_path"]
    )
    assert list(formatter.names)[:3] == ["house/floors", "house/Area-m2", "house/amenities"]
    assert not {"house/rent/currency", "house/path"} & set(formatter.names)
    assert set(SYSTEM) <= set(formatter.types)


def test_compile_formatter__repeat_entries() -> None:
    """For a repeat, paths within it and whole ones both serve; its keys always come."""
    formatter = compile_formatter(FORM, repeat="person", fields=["job/hours", "person/name"])
    assert list(formatter.names) == ["name", "job/hours"]
    assert set(shape(RECORD, formatter)[0]) == {
        "id",
        "submission_id",
        "parent_id",
        "position",
        "name",
        "job_hours",
    }


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"fields": ["house/flors"]}, "fields names 'house/flors', .*nearest: 'house/floors'"),
        ({"exclude_fields": ["person/name"]}, "exclude_fields names 'person/name', which is no field"),
        ({"exclude_fields": ["id"]}, "exclude_fields names 'id', by which rows are told apart"),
        ({"repeat": "person", "exclude_fields": ["parent_id"]}, "names 'parent_id', by which"),
        ({"location_fields": ["house/floors"]}, "'house/floors', a field of type int; only geopoint"),
        ({"location_fields": ["id"]}, "a field of type key"),
        ({"location_fields": ["house_path"], "exclude_fields": ["house/path"]}, "leave out"),
        ({"location_fields": [""]}, "names ''"),
        ({"repeat": "persons"}, "no repeat 'persons'.*person"),
        ({"repeat": "house"}, "no repeat 'house'"),
    ],
)
def test_compile_formatter__wrong_settings(settings: dict[str, Any], why: str) -> None:
    """A setting that names nothing is an error that says what to do; nothing was sent."""
    with pytest.raises(ConfigError, match=why) as caught:
        compile_formatter(FORM, **settings)
    assert "Nothing was sent" in str(caught.value)


def test_compile_formatter__a_field_called_id() -> None:
    """A field of the form called id can be left out by its row name."""
    form = make_form([("/id", "string"), ("/other", "string")])
    assert compile_formatter(form).names["id"] == "_id"
    assert "id" not in compile_formatter(form, exclude_fields=["_id"]).names
    with pytest.raises(ConfigError, match="by its row name"):
        compile_formatter(form, exclude_fields=["id"])


# -- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape_", "names"),
    [
        ("point", ["house_location"]),
        ("multipoint", ["house_location"]),
        ("polyline", ["house_path"]),
        ("polygon", ["house_boundary"]),
        ("", None),
        ("esriGeometryMultiPatch", None),
    ],
)
def test_name_places__by_kind(shape_: str, names: list[str] | None) -> None:
    """Without a setting, the first field of the form that fits gives the geometry."""
    assert compile_formatter(FORM).name_places(shape_) == names
    located = compile_formatter(FORM, location_fields=["house/boundary", "house_path", "house/location"])
    assert located.name_places(shape_) == names


def test_name_places__settings(caplog: pytest.LogCaptureFixture) -> None:
    """location_fields decide, in their order; where none of them fits, it is an error; a guess is told."""
    form = make_form([("/home", "geopoint"), ("/job", "geopoint"), ("/road", "geotrace")])
    assert compile_formatter(form, location_fields=["job", "home"]).name_places("point") == ["job", "home"]
    with pytest.raises(ConfigError, match="polyline geometry, which comes from fields of type geotrace"):
        compile_formatter(form, location_fields=["job"]).name_places("polyline")
    assert compile_formatter(form, fields=["home"]).name_places("polyline") is None
    with caplog.at_level(logging.WARNING):
        assert compile_formatter(form).name_places("point") == ["home"]
    assert "home gives the places" in caplog.text and "job" in caplog.text
