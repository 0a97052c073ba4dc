"""What the views in bi show: names, types and values, held to those of the rows that are published."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from knackpy.models import TIMEZONES

from services.utils import knack
from services.utils.knack.metadata import find_timezone
from services.utils.odk.rows import compile_formatter
from services.utils.odk.schema import open_form
from tests.sql.conftest import Views, field

DATA = Path(__file__).parents[1] / "data"
METADATA = json.loads((DATA / "knack" / "metadata.json").read_text())
RECORDS = {
    key: page["records"] for key, page in json.loads((DATA / "knack" / "records.json").read_text()).items()
}
FORMS = json.loads(gzip.decompress((DATA / "odk" / "dataset.json.gz").read_bytes()))["forms"]
VIEWS = {
    "object_1": "accounts",
    "object_4": "sites",
    "object_9": "inspections",
    "view_31": "inspections_for_publishing",
}
NUL, HALF = "\\u0000", "\\ud83d"


def build_app(*types: Any, zone: str = "America/Chicago") -> dict[str, Any]:
    """Metadata of an app of one object; its fields are types, or (name, type), or (name, type, format)."""
    fields = []
    for number, type_ in enumerate(types, 1):
        name, kind, *format_ = (f"Field {number}", type_) if isinstance(type_, str) else type_
        fields.append(
            {"key": f"field_{number}", "name": name, "type": kind, "format": format_[0] if format_ else {}}
        )
    return {
        "application": {
            "name": "Small",
            "slug": "small",
            "settings": {"timezone": zone},
            "objects": [{"key": "object_1", "name": "Things", "fields": fields}],
            "scenes": [],
        }
    }


def build_form_metadata(name: str) -> dict[str, Any]:
    """The metadata document of one of the recorded forms."""
    form = FORMS[name]
    return {
        "projectId": 1,
        "form": {"xmlFormId": name, "name": name},
        "version": "1",
        "fields": form["fields_odata"],
        "plain_fields": form["fields"],
        "versions": {},
    }


def put_recorded(bi: Views, name: str) -> dict[str, Any]:
    """Store a recorded form and its submissions; what refreshing did."""
    bi.put_form(name, FORMS[name]["fields_odata"], plain=FORMS[name]["fields"])
    bi.fill("odk", name, {row["__id"]: row for row in FORMS[name]["rows"]})
    return bi.refresh("odk", name)


def compare(shown: Any, published: Any, sql_type: str) -> tuple[Any, Any]:
    """A view's value and a row's, made comparable by the column's type."""
    if shown is None or published is None:
        return shown, published
    if sql_type.startswith("timestamp"):
        return shown, dt.datetime.fromisoformat(published)
    if sql_type == "date":
        return shown.isoformat(), published[:10]
    if sql_type.startswith("time"):
        return shown, dt.time.fromisoformat(published).replace(tzinfo=None)
    if sql_type in ("numeric", "bigint"):
        return Decimal(shown), Decimal(str(published))
    return shown, published


# --- Knack ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", VIEWS)
def test_knack__equals_the_rows(bi: Views, container: str) -> None:
    """Every value of the sample is what is published of it, under the same name, as the type it is."""
    bi.put_app(METADATA)
    bi.fill("knack", container, {record["id"]: record for record in RECORDS[container]})
    assert bi.refresh("knack", container)["main"]["name"] == VIEWS[container]
    formatter = knack.compile_formatter(knack.open_app(METADATA), container)
    types = bi.types(VIEWS[container])
    added = [name for name in types if name.endswith(("_latitude", "_longitude"))]
    assert [name for name in types if name not in added] == list(formatter.names.values())
    shown = {row["id"]: row for row in bi.read(VIEWS[container])}
    assert len(shown) == len(RECORDS[container])
    for record in RECORDS[container]:
        for name, published in formatter.format(record).items():
            value = shown[record["id"]][name]
            here, there = compare(value, published, types[name])
            assert here == there, (name, record["id"])


def test_knack__types(bi: Views) -> None:
    """Numbers are numbers, yes/no is boolean, dates are instants, an address can be drawn; the rest is text."""
    bi.put_app(METADATA)
    bi.refresh("knack", "object_9")
    types = bi.types("inspections")
    kinds = {
        "bigint": ["inspection_number", "photo_count"],
        "numeric": [
            *("play_units", "repair_estimate", "condition", "score", "hours_total", "hours_average"),
            *("hours_lowest", "hours_highest", "vendor_address_latitude", "vendor_address_longitude"),
        ],
        "boolean": ["closed"],
        "timestamp with time zone": [
            *("last_modified", "created_on", "due", "crew_start", "closure_window", "warranty_end_(dd/mm)")
        ],
    }
    told = {name: kind for kind, names in kinds.items() for name in names}
    assert types == {name: told.get(name, "text") for name in types}
    assert set(told) <= set(types)


# Raw values, odd ones too: what Knack is known to send, what it might, and what nobody should.
ODD = [
    *(
        "",
        "text",
        "12",
        "1,250",
        "-0.5",
        " 7 ",
        "1e3",
        "yes",
        "true",
        "No",
        "\ud7ff",
        "2025-03-09",
        "<b>x</b>",
    ),
    *(0, 1, -1, 1.5, 10**18, 10**30, 1e308, True, False, None, [], {}, [None], [""], ["a", "b"], [1, 2.5]),
    *([[]], {"unix_timestamp": 1741536300000}, {"unix_timestamp": None}, {"unix_timestamp": "1741536300000"}),
    *({"unix_timestamp": 10**17}, {"unix_timestamp": -(10**17)}, {"unix_timestamp": 253402300799999}),
    *(
        {"unix_timestamp": 1.5},
        {"unix_timestamp": -62135596800000},
        {"email": "a@b"},
        {"email": ""},
        {"url": None},
    ),
    *({"street": "1 Oak", "city": "", "zip": 78701}, [{"street": "1"}, {"city": "B"}], {"full": "512"}),
    *([{"id": "1", "identifier": "North"}, {"id": "2"}, None, ""], {"identifier": "one"}, {"base30": "x_1"}),
    *({"latitude": "30.5", "longitude": 200}, {"a": {"b": [1]}}, "<span>1</span>&nbsp;2", "x" * 5000),
]
TYPES = [
    *("short_text", "paragraph_text", "rich_text", "concatenation", "number", "currency", "equation", "sum"),
    *("min", "max", "average", "count", "rating", "auto_increment", "boolean", "multiple_choice", "name"),
    *("email", "phone", "link", "address", "date_time", "timer", "file", "image", "signature", "connection"),
    *("user_roles", "password", "something_new", ""),
]


def test_knack__odd_values(bi: Views) -> None:
    """Whatever stands in a field of any type, raw or displayed: every row is shown, with the texts of the rows."""
    kinds = [
        (f"F {n}", kind, {"equation_type": "numeric"} if n % 2 else {}) for n, kind in enumerate(TYPES * 2)
    ]
    metadata = build_app(*kinds)
    bi.put_app(metadata)
    records: dict[str, Any] = {}
    for number, odd in enumerate(ODD):
        keys = [f"field_{n}" for n in range(1, len(kinds) + 1)]
        records[f"raw{number:03}"] = {f"{key}_raw": odd for key in keys}
        records[f"shown{number:03}"] = dict.fromkeys(keys, odd)
        records[f"both{number:03}"] = {
            **dict.fromkeys(keys, "as shown"),
            **{f"{key}_raw": odd for key in keys},
        }
    bi.fill("knack", "object_1", records)
    bi.refresh("knack", "object_1")
    types = bi.types("things")
    formatter = knack.compile_formatter(knack.open_app(metadata), "object_1")
    shown = {row["id"]: row for row in bi.read("things")}
    assert set(shown) == set(records)
    texts = 0
    for record_id, record in records.items():
        for name, published in formatter.format(record).items():
            if name == "id" or types[name] != "text" or not isinstance(published, str):
                continue
            # Python's own spelling of what is in a list has no meaning in SQL.
            if not any(word in published for word in ("None", "{", "[")):
                assert shown[record_id][name] == published, (name, record_id)
                texts += 1
    assert texts > 2000


def test_knack__numbers(bi: Views) -> None:
    """A number is shown if it is one, whether Knack sent it as number or text; else null, as one too big is."""
    bi.put_app(
        build_app("number", ("Auto", "auto_increment"), ("Eq", "equation", {"equation_type": "numeric"}))
    )
    values = {"a": 12, "b": "12.50", "c": "twelve", "d": 1e308, "e": 10**400, "f": "", "g": 1.5, "h": 10**19}
    bi.fill(
        "knack",
        "object_1",
        {
            key: {f"field_{n}_raw": value for n in (1, 2)} | {"field_3": value}
            for key, value in values.items()
        },
    )
    bi.refresh("knack", "object_1")
    rows = {row["id"]: row for row in bi.read("things")}
    numbers = {key: row["field_1"] for key, row in rows.items()}
    assert numbers == {
        "a": 12,
        "b": Decimal("12.5"),
        "c": None,
        "d": Decimal("1e308"),
        "e": None,
        "f": None,
        "g": Decimal("1.5"),
        "h": 10**19,
    }
    assert {key: row["eq"] for key, row in rows.items()} == numbers
    assert [key for key, row in rows.items() if row["auto"] is not None] == ["a"]


def test_knack__time_zones(bi: Views) -> None:
    """Wall clocks become the instants that are published, also when clocks are changed, in zones far and near."""
    clocks = [
        dt.datetime(2025, month, day, hour, minute)
        for month, day in ((1, 15), (3, 9), (3, 30), (4, 6), (7, 1), (9, 28), (10, 5), (10, 26), (11, 2))
        for hour in (0, 1, 2, 3, 12, 23)
        for minute in (0, 30)
    ]
    zones = [
        "Central Time (US & Canada)",
        "Europe/Berlin",
        "Adelaide",
        "Lord Howe Island",
        "Newfoundland",
        "UTC",
    ]
    epoch = dt.datetime(1970, 1, 1)
    records = {
        clock.isoformat(): {"field_1_raw": {"unix_timestamp": int((clock - epoch).total_seconds() * 1000)}}
        for clock in clocks
    }
    for number, zone in enumerate(zones):
        metadata = build_app(("At", "date_time"), zone=zone)
        bi.put_app(metadata, app=f"app{number}")
        bi.fill("knack", "object_1", records, app=f"app{number}")
        view = bi.refresh("knack", "object_1", app=f"app{number}")["main"]["name"]
        formatter = knack.compile_formatter(knack.open_app(metadata), "object_1")
        for row in bi.read(view):
            published = formatter.format(records[row["id"]])["at"]
            assert row["at"] == dt.datetime.fromisoformat(published), (zone, row["id"])


def test_find_zone__as_the_rows(bi: Views) -> None:
    """Every time zone that Knack names, IANA's own names and plain cities mean the zone that rows are written in."""
    names = [entry["common_name"] for entry in TIMEZONES]
    names += ["America/Chicago", "america/chicago", "UTC", "London", "Edinburgh", "new delhi", "US/Central"]
    names += [
        "  central time (us & canada) ",
        "Guadalajara, Mexico City,Monterrey",
        "New York",
        "Los_Angeles",
    ]
    moments = [dt.datetime(2024, month, 1, 12) for month in range(1, 13)]
    found = dict(bi.stack.execute("select n, bi.find_zone(n) from unnest(%s::text[]) n", [names]))
    for name in names:
        assert found[name], name
        ours, theirs = ZoneInfo(found[name]), find_timezone(name)
        assert [ours.utcoffset(at) for at in moments] == [theirs.utcoffset(at) for at in moments], name
    unknown = bi.stack.execute("select bi.find_zone(n) from unnest(array['Central', 'Mars', '', 'FOO+3']) n")
    assert unknown == [(None,)] * 4


def test_knack__names(bi: Views) -> None:
    """Columns are named as rows are: doubles, a field called ID, letters beyond ASCII; long names are cut apart."""
    long = "Very long name of a field that somebody has typed into the builder, number "
    labels = [
        "Name",
        "name",
        "ID",
        "A-b c",
        "a_b_c",
        "Größe ÄÖÜ",
        "ДАТА",
        "_id",
        "name",
        f"{long}1",
        f"{long}2",
    ]
    metadata = build_app(*[(label, "short_text") for label in labels])
    bi.put_app(metadata)
    bi.refresh("knack", "object_1")
    expected = list(knack.compile_formatter(knack.open_app(metadata), "object_1").names.values())
    names = list(bi.types("things"))
    assert names[:-2] == expected[:-2]
    assert len(set(names)) == len(labels) + 1
    assert all(len(name.encode()) <= 63 for name in names)
    assert all(name.startswith("very_long_name_of_a_field_that_") for name in names[-2:])


def test_knack__views_of_every_kind(bi: Views) -> None:
    """A view container has the columns that rows have, whatever kind of view it is."""
    nested = [
        {
            "type": "details",
            "columns": [{"groups": [{"columns": [[{"key": "field_41"}, {"key": "field_63"}]]}]}],
        },
        {
            "type": "form",
            "groups": [{"inputs": [{"field": {"key": "field_44"}}]}],
            "rules": [{"field": "field_45"}],
        },
        {
            "type": "report",
            "rows": [{"reports": [{"calculations": [{"field": "field_46"}, {"key": "calc"}]}]}],
        },
        {"type": "list", "columns": [{"key": "field_12"}], "source": {"criteria": [{"field": "field_11"}]}},
    ]
    views = [{**view, "key": f"view_{n}", "name": f"Nested {n}"} for n, view in enumerate(nested, 900)]
    metadata = json.loads(json.dumps(METADATA))
    metadata["application"]["scenes"].append({"key": "scene_900", "views": views})
    bi.put_app(metadata)
    app = knack.open_app(metadata)
    seen = 0
    for view in (view for scene in metadata["application"]["scenes"] for view in scene["views"]):
        fields = app.fields(view["key"])
        if fields:
            made = bi.refresh("knack", view["key"])["main"]["name"]
            names = [name for name in bi.types(made) if not name.endswith(("_latitude", "_longitude"))]
            assert names == ["id", *knack.build_row_names(fields).values()]
            seen += 1
    assert seen >= 6


# --- ODK --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_odk__equals_the_rows(bi: Views, name: str) -> None:
    """Every value of the recorded submissions and their repeats is what is published of it."""
    done = put_recorded(bi, name)
    form = open_form(build_form_metadata(name))
    for repeat in ["", *("/".join(one.odata_path) for one in form.repeats)]:
        view = done[f"repeat:{repeat}" if repeat else "main"]["name"]
        formatter = compile_formatter(form, repeat=repeat)
        rows = {
            values["id"]: values
            for record in FORMS[name]["rows"]
            for values in formatter.format(record, record["__id"])
        }
        types = bi.types(view)
        shown = {row["id"]: row for row in bi.read(view)}
        assert set(shown) == set(rows)
        assert set(rows[next(iter(rows))]) <= set(types)
        for row_id, values in rows.items():
            for column, published in values.items():
                value = shown[row_id][column]
                if formatter.types.get(column) == "geopoint" and published is not None:
                    place = {part: float(shown[row_id][f"{column}_{part}"]) for part in published}
                    assert place == published
                elif isinstance(published, dict):
                    assert value["coordinates"][0][0] == published["coordinates"][0][0]
                else:
                    here, there = compare(value, published, types[column])
                    assert here == there, (column, row_id)


def test_odk__types_and_order(bi: Views) -> None:
    """Columns follow the form, typed; a place is GeoJSON and its parts; what Central adds comes last."""
    put_recorded(bi, "rental_survey")
    types = bi.types("rental_survey")
    names = list(types)
    assert names[:5] == ["id", "start", "end", "today", "deviceid"]
    assert names[-2:] == ["system_edits", "system_form_version"]
    place = names.index("building_location")
    parts = ["latitude", "longitude", "altitude", "accuracy"]
    assert names[place + 1 : place + 5] == [f"building_location_{part}" for part in parts]
    told = {
        "start": "timestamp with time zone",
        "visit_date": "date",
        "visit_time": "time without time zone",
        "building_floors": "bigint",
        "building_area_sqm": "numeric",
        "building_amenities": "text",
        "building_location": "jsonb",
        "building_location_altitude": "numeric",
        "building_boundary": "jsonb",
        "system_submission_date": "timestamp with time zone",
    }
    assert {name: types[name] for name in told} == told
    [row] = bi.read("rental_survey_unified", "*")[:1]
    assert row["building_amenities"] == "power, parking, garden"


def test_odk__unified(bi: Views) -> None:
    """The unified view has every main column, each repeat as one array, and where the files are in the bucket."""
    put_recorded(bi, "rental_survey")
    rows = FORMS["rental_survey"]["rows"]
    record = next(
        row for row in rows if len(row.get("person_details", [])) > 1 and row["building"]["building_image"]
    )
    image = record["building"]["building_image"]
    bi.stack.execute(
        "insert into api.odk_attachments (app_id, container_id, record_id, field_path, name, key, state) values "
        "('h/1', 'rental_survey', %(id)s, 'building/building_image', %(image)s, 'survey/a/image.jpg', 'stored'),"
        "('h/1', 'rental_survey', %(id)s, 'person_details[1]/person_image', 'p.png', 'survey/a/p.png', 'stored'),"
        "('h/1', 'rental_survey', %(id)s, 'x', 'late.png', null, 'missing'),"
        "('h/1', 'rental_survey', %(id)s, 'x', 'gone.png', 'survey/a/gone.png', 'deleted'),"
        "('h/2', 'rental_survey', %(id)s, 'x', 'other.png', 'other/a/other.png', 'stored')",
        {"id": record["__id"], "image": image},
    )
    types = bi.types("rental_survey_unified")
    assert set(bi.types("rental_survey")) < set(types)
    assert types["person_details"] == types["person_details_documents"] == types["media"] == "jsonb"
    [row] = [row for row in bi.read("rental_survey_unified") if row["id"] == record["__id"]]

    def clean(value: Any) -> Any:
        if isinstance(value, list):
            return [clean(part) for part in value]
        if isinstance(value, dict):
            return {key: clean(part) for key, part in value.items() if not key.endswith("navigationLink")}
        return value

    assert row["person_details"] == clean(record["person_details"])
    documents = [one for person in record["person_details"] for one in person.get("documents", [])]
    assert row["person_details_documents"] == clean(documents)
    assert row["building_building_image_key"] == "survey/a/image.jpg"
    assert [(file["name"], file["key"]) for file in row["media"]] == [
        (image, "survey/a/image.jpg"),
        ("p.png", "survey/a/p.png"),
    ]
    assert row["media"][1]["field"] == "person_details[1]/person_image"
    others = [row for row in bi.read("rental_survey_unified") if row["id"] != record["__id"]]
    assert all(row["media"] == [] and row["building_building_image_key"] is None for row in others)
    assert any(row["person_details"] == [] for row in others)


def test_odk__repeats_of_any_depth(bi: Views) -> None:
    """Repeats within groups and repeats, empty and odd ones: a view each, whose keys lead from row to row."""
    bi.put_form(
        "deep",
        [
            field("/house", "structure"),
            field("/house/inner", "structure"),
            field("/house/inner/room", "repeat"),
            field("/house/inner/room/name"),
            field("/house/inner/room/box", "structure"),
            field("/house/inner/room/box/shelf", "repeat"),
            field("/house/inner/room/box/shelf/size", "int"),
            field("/house/inner/room/box/shelf/thing", "repeat"),
            field("/house/inner/room/box/shelf/thing/id"),
            field("/house/inner/room/box/shelf/thing/parent_id"),
            field("/house/inner/room/box/shelf/thing/photo", "binary"),
            field("/room", "repeat"),
            field("/room/x"),
        ],
    )
    thing = {"id": "T", "parent_id": "P", "photo": "x.jpg", "__id": "abc"}
    room = {
        "name": "A",
        "box": {"shelf": [{"size": 1, "thing": [thing, {}]}, {"size": 2}], "x@odata.navigationLink": "S"},
    }
    bi.fill(
        "odk",
        "deep",
        {
            "s1": {"house": {"inner": {"room": [room, {"name": "B", "box": {"shelf": []}}, None, 7, {}]}}},
            "s2": {"house": {"inner": {}}},
            "s3": {"house": None},
            "s4": {"house": {"inner": {"room": {"name": "no list"}}}},
        },
    )
    bi.refresh("odk", "deep")
    room_view, shelf_view = "deep_house_inner_room", "deep_house_inner_room_box_shelf"
    assert bi.names() == ["deep", room_view, shelf_view, f"{shelf_view}_thing", "deep_room", "deep_unified"]
    assert [(row["id"], row["parent_id"], row["position"], row["name"]) for row in bi.read(room_view)] == [
        ("s1/house/inner/room[1]", "s1", 1, "A"),
        ("s1/house/inner/room[2]", "s1", 2, "B"),
        ("s1/house/inner/room[5]", "s1", 5, None),
    ]
    shelves = bi.read(shelf_view)
    assert [(row["id"], row["parent_id"], row["submission_id"], row["size"]) for row in shelves] == [
        ("s1/house/inner/room[1]/box/shelf[1]", "s1/house/inner/room[1]", "s1", 1),
        ("s1/house/inner/room[1]/box/shelf[2]", "s1/house/inner/room[1]", "s1", 2),
    ]
    things = bi.read(f"{shelf_view}_thing")
    assert list(things[0]) == [
        "id",
        "submission_id",
        "parent_id",
        "position",
        "_id",
        "parent_id_parent_id",
        "photo",
        "photo_key",
    ]
    assert [(row["parent_id"], row["position"], row["_id"]) for row in things] == [
        ("s1/house/inner/room[1]/box/shelf[1]", 1, "T"),
        ("s1/house/inner/room[1]/box/shelf[1]", 2, None),
    ]
    unified = {row["id"]: row for row in bi.read("deep_unified")}
    assert unified["s1"]["house_inner_room_box_shelf_thing"] == [thing, {}]
    assert "navigationLink" not in json.dumps(unified["s1"]["house_inner_room"])
    assert [unified[key]["house_inner_room"] for key in ("s2", "s3", "s4")] == [[], [], []]
    # A key leads from a row to the one that it stands in.
    joined = bi.reader.execute(
        f"select r.name, s.size from bi.{shelf_view} s join bi.{room_view} r on r.id = s.parent_id order by 2"
    )
    assert joined.fetchall() == [("A", 1), ("A", 2)]


def test_odk__names_of_the_form(bi: Views) -> None:
    """Columns have the form's own names, not the feed's; what the feed runs together is one column, and says so."""
    fields = [
        field("/a_b"),
        field("/a_b"),
        field("/__"),
        field("/ok"),
        field("/system_edits"),
        field("/g", "structure"),
    ]
    fields += [field("/g/x_y"), field("/g_x", "structure"), field("/g_x/y")]
    paths = ["/a-b", "/a.b", "/имя", "/OK", "/system_edits", "/g", "/g/x_y", "/g_x", "/g_x/y"]
    plain = [{**one, "path": path, "name": path.rpartition("/")[2]} for one, path in zip(fields, paths)]
    bi.put_form("names", fields, plain=plain)
    bi.fill(
        "odk",
        "names",
        {"s": {"a_b": "dashdot", "__": "Айжан", "ok": 1, "g": {"x_y": "1"}, "g_x": {"y": "2"}}},
    )
    bi.refresh("odk", "names")
    metadata = {"form": {"xmlFormId": "names"}, "fields": fields, "plain_fields": plain}
    expected = ["id", *compile_formatter(open_form(metadata)).names.values()]
    assert list(bi.types("names")) == expected
    [row] = bi.read("names")
    assert (row["a_b"], row["имя"], row["ok"], row["g_x_y"], row["g_x_y_g_x__y"]) == (
        "dashdot",
        "Айжан",
        "1",
        "1",
        "2",
    )


# --- odd documents ------------------------------------------------------------------------------------

FINE = {
    "text": "fine",
    "whole": 1,
    "day": "2024-02-29",
    "at": "2024-02-29T23:59:59.5+05:30",
    "group": {"n": 1.5},
}
ODD_FORM = [
    field("/text"),
    field("/whole", "int"),
    field("/day", "date"),
    field("/clock", "time"),
    field("/at", "dateTime"),
    field("/yes", "boolean"),
    field("/place", "geopoint"),
    field("/many", many=True),
    field("/group", "structure"),
    field("/group/n", "decimal"),
    field("/people", "repeat"),
    field("/people/name"),
    field("/people/age", "int"),
]


def put_odd(bi: Views, documents: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Store documents given as JSON beside a fine one; rows of the unified view by key."""
    bi.put_form("odd", ODD_FORM)
    bi.put("odk", "odd", {"fine": json.dumps(FINE), **documents}, source_text=True)
    bi.refresh("odk", "odd")
    rows = {row["id"]: row for row in bi.read("odd_unified")}
    assert set(rows) == {"fine", *documents}
    assert rows["fine"]["text"] == "fine"
    assert rows["fine"]["at"] == dt.datetime(2024, 2, 29, 18, 29, 59, 500000, dt.UTC)
    return rows


def test_odd__characters(bi: Views) -> None:
    """A text with U+0000 or half a surrogate pair is null, alone: its neighbours, and texts that look alike, stay."""
    rows = put_odd(
        bi,
        {
            "nul": f'{{"text": "a{NUL}b", "whole": 2, "many": "a b"}}',
            "half": f'{{"text": "a{HALF}", "whole": 2, "group": {{"n": 2}}}}',
            "low": r'{"text": "\udef4\ud83d", "whole": 2}',
            "pair": r'{"text": "\ud83d\udef4 \u00e9", "whole": 2}',
            "escaped": r'{"text": "\\u0000 \\ud83d", "whole": 2}',
            "both": f'{{"text": "\\\\u0000", "whole": 2, "x": "{NUL}"}}',
            "thrice": r'{"text": "\\\u0000", "whole": 2}',
            "key": f'{{"b{NUL}": 1, "b{HALF}": 2, "text": "here", "whole": 2}}',
            "repeat": f'{{"people": [{{"name": "x{NUL}", "age": 3}}, {{"name": "\\"{HALF}", "age": 4}}], "whole": 2}}',
            "quotes": f'{{"text": "\\"", "people": [{{"name": "\\\\", "age": 5}}], "whole": 2, "x": "{NUL}"}}',
        },
    )
    assert all(row["whole"] == 2 for key, row in rows.items() if key != "fine")
    texts = {key: row["text"] for key, row in rows.items() if row["text"] is not None and key != "fine"}
    assert texts == {
        "both": "\\u0000",
        "pair": "🛴 é",
        "escaped": "\\u0000 \\ud83d",
        "key": "here",
        "quotes": '"',
    }
    assert rows["nul"]["many"] == "a, b"
    assert rows["half"]["group_n"] == 2
    people = bi.read("odd_people")
    assert [(row["name"], row["age"]) for row in people] == [("\\", 5), (None, 3), (None, 4)]
    assert rows["repeat"]["people"] == [{"name": None, "age": 3}, {"name": None, "age": 4}]


def test_odd__numbers(bi: Views) -> None:
    """Numbers beyond what SQL holds are null, wherever they stand; hex digits and texts that look alike are not."""
    digits = "9" * 140_000
    rows = put_odd(
        bi,
        {
            "exponent": '{"whole": 1e400000, "group": {"n": -1E+99999}, "text": "x"}',
            "tiny": '{"whole": 1e-20000, "group":{"n":1e-400}, "text": "x"}',
            "digits": f'{{"whole": {digits}, "group": {{"n": -{digits}.5}}, "text": "x"}}',
            "quoted": f'{{"whole": "{digits}", "group": {{"n": "{digits}"}}, "text": "x"}}',
            "double": '{"whole": 99999999999999999999, "group": {"n": 2e308}, "text": "x"}',
            "most": '{"whole": 9223372036854775807, "group": {"n": 1.5e308}, "text": "x"}',
            "list": '{"whole": [1e99999, 2], "group": {"n": {"a": 1e99999}}, "text": "x"}',
            "alike": '{"whole": "12e5", "group": {"n": "1.5"}, "text": "x", "y": "1e99999, 1e99999]", "z": [1e99999]}',
            "fraction": '{"whole": 12.7, "group": {"n": "Infinity"}, "text": "x"}',
            "nan": '{"whole": "NaN", "group": {"n": "-inf"}, "text": "x"}',
        },
    )
    assert all(row["text"] == "x" for key, row in rows.items() if key != "fine")
    whole = {key: int(row["whole"]) for key, row in rows.items() if row["whole"] is not None}
    assert whole == {"fine": 1, "most": 9223372036854775807, "alike": 1200000}
    shown = {key for key, row in rows.items() if row["group_n"] is not None}
    assert shown <= {"fine", "most", "alike", "tiny"}
    assert rows["most"]["group_n"] == Decimal("1.5e308")


def test_odd__dates(bi: Views) -> None:
    """Days, clocks and instants that are none are null; those that are, are shown."""
    days = {
        "2024-02-29": True,
        "2023-02-29": False,
        "1900-02-29": False,
        "2000-02-29": True,
        "2024-13-01": False,
        "2024-04-31": False,
        "0000-01-01": False,
        "9999-12-31": True,
        "2024-1-1": False,
        "31/12/2024": False,
        "": False,
        "infinity": False,
        "today": False,
        "2024-02-29T10:00:00Z": True,
        "20240229": False,
    }
    instants = {
        "2024-02-29T10:00:00.123Z": dt.datetime(2024, 2, 29, 10, 0, 0, 123000, dt.UTC),
        "2024-02-29T10:00+05": dt.datetime(2024, 2, 29, 5, 0, tzinfo=dt.UTC),
        "2024-02-29T10:00:00-0330": dt.datetime(2024, 2, 29, 13, 30, tzinfo=dt.UTC),
        "2024-02-29T10:00:00": dt.datetime(2024, 2, 29, 10, 0, tzinfo=dt.UTC),
        **dict.fromkeys(["2024-02-30T10:00:00Z", "2024-02-29T24:00:00Z", "2024-02-29T10:60:00Z", "now"]),
        **dict.fromkeys(
            ["2024-02-29T10:00:00+25:00", "9999-12-31T23:59:59-11:00", "0001-01-01T00:00:00+14:00"]
        ),
        **dict.fromkeys(["2024-02-29 10:00:00Z", "2024-02-29T10:00:00 America/Chicago", "epoch"]),
    }
    clocks = {
        "12:30:00.000+05:00": dt.time(12, 30),
        "23:59": dt.time(23, 59),
        "24:00": None,
        "noon": None,
        "1:00": None,
    }
    documents = {f"day {day}": json.dumps({"day": day}) for day in days}
    documents |= {f"at {at}": json.dumps({"at": at}) for at in instants}
    documents |= {f"clock {clock}": json.dumps({"clock": clock}) for clock in clocks}
    rows = put_odd(bi, documents)
    assert {day: rows[f"day {day}"]["day"] is not None for day in days} == days
    assert {at: rows[f"at {at}"]["at"] for at in instants} == instants
    assert {clock: rows[f"clock {clock}"]["clock"] for clock in clocks} == clocks


def test_odd__shapes(bi: Views) -> None:
    """Groups that are texts, texts that are lists, documents that are no objects: null there, and nothing worse."""
    deep = '{"a":' * 6000 + "1" + "}" * 6000
    rows = put_odd(
        bi,
        {
            "text": '{"group": "x", "people": "y", "place": "z", "text": "t"}',
            "list": "[1, 2]",
            "scalar": '"x"',
            "null": "null",
            "number": "1e99999",
            "empty": "{}",
            "deep": deep,
            "deeper": f'{{"text":{deep}}}',
            "objects": '{"text": {"a": 1}, "whole": {"b": 2}, "many": [1], "day": true, "yes": "perhaps"}',
            "places": '{"place": {"type": "Point", "coordinates": ["x", 1e999, null]}, "yes": "true"}',
            "no place": '{"place": {"type": "Polygon", "coordinates": [[1, 2]]}, "yes": false}',
            "twice": '{"text": "first", "text": "second", "people": [[1], "x", null, {"name": 5}]}',
        },
    )
    assert {key: row["text"] for key, row in rows.items() if row["text"]} == {
        "fine": "fine",
        "text": "t",
        "twice": "second",
    }
    assert all(row["people"] == [] for key, row in rows.items() if key != "twice")
    assert [row["name"] for row in bi.read("odd_people")] == ["5"]
    assert (rows["places"]["yes"], rows["no place"]["yes"], rows["objects"]["yes"]) == (True, False, None)
    assert rows["places"]["place_latitude"] is None
    assert rows["no place"]["place"] is None


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"field_1":', "}"), ('[{"field_1":', "}]")])
def test_odd__deepest(bi: Views, opens: str, closes: str) -> None:
    """The deepest document that the server takes is null in its view, and the others are shown."""
    bi.put_app(build_app("short_text"))
    bi.fill("knack", "object_1", {"a": {"field_1": "fine"}})
    bi.refresh("knack", "object_1")
    low, high = 1000, 50_000
    while low < high - 1:
        depth = (low + high) // 2
        try:
            bi.fill("knack", "object_1", {f"depth {depth:05}": opens * depth + "1" + closes * depth})
            low = depth
        except psycopg.errors.StatementTooComplex:
            high = depth
    assert low > 3000
    rows = bi.read("things")
    assert rows[0]["field_1"] == "fine"
    assert rows[-1] == {"id": f"depth {low:05}", "field_1": None}


def test_odd__metadata(bi: Views) -> None:
    """Metadata with such characters, and names that SQL knows, still make views."""
    names = ['a"b', "a'b", "100%", "select", "x;y", "a\\b", "%s", "é\u0301", " ", "$1"]
    metadata = build_app(*[(name, "short_text") for name in names])
    metadata["application"]["note"] = "nul \x00"
    bi.stack.execute("insert into api.knack_metadata values ('a', %s::text::json)", [json.dumps(metadata)])
    bi.fill("knack", "object_1", {"r": {f"field_{n}": f"v{n}" for n in range(1, len(names) + 1)}})
    bi.refresh("knack", "object_1")
    [row] = bi.read("things")
    assert list(row.values()) == ["r", *(f"v{n}" for n in range(1, len(names) + 1))]
    assert list(row)[1:] == [name.replace(" ", "_") for name in names]
