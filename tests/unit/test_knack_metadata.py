"""A Knack app's metadata: containers, their fields, time zones and dates as filters want them."""

import copy
import json
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import knackpy
import pytest
from knackpy.models import TIMEZONES

from services.utils import knack
from services.utils.errors import ConfigError, SourceError

DATA = Path(__file__).parents[1] / "data" / "knack"


@pytest.fixture(scope="module")
def metadata():
    """The sample's application document."""
    return json.loads((DATA / "metadata.json").read_text())


@pytest.fixture(scope="module")
def app(metadata):
    """The sample's app."""
    return knack.open_app(metadata)


def build_metadata(fields=(), views=(), **application):
    """A small app: object_1 with these fields, and one scene with these views."""
    return {
        "application": {
            "name": "Small",
            "settings": {"timezone": "UTC"},
            "objects": [{"key": "object_1", "name": "things", "fields": list(fields)}],
            "scenes": [{"key": "scene_1", "views": list(views)}],
            **application,
        }
    }


def build_field(key, name="", type_="short_text", **rest):
    """A field as the metadata holds it."""
    return {"key": key, "name": name or key, "type": type_, **rest}


FIELDS = [build_field(f"field_{n}", f"Field {n}") for n in range(1, 9)]


def open_view(view):
    """The field keys of a view in an app of eight fields."""
    view = {"key": "view_1", "source": {"object": "object_1"}, **view}
    return [field.key for field in knack.open_app(build_metadata(FIELDS, [view])).fields("view_1")]


def test_open_app__leaves_metadata_unchanged(metadata):
    """Opening an app and asking everything of it changes nothing in the document that was given."""
    given = copy.deepcopy(metadata)
    app = knack.open_app(given)
    for container in app.containers():
        app.fields(container)
    assert given == metadata


def test_open_app__a_big_app():
    """An app of 3,000 fields and 1,000 views opens whole."""
    objects = [
        {
            "key": f"object_{o}",
            "name": f"o{o}",
            "fields": [build_field(f"field_{o * 30 + n}") for n in range(30)],
        }
        for o in range(100)
    ]
    views = [
        {
            "key": f"view_{v}",
            "type": "table",
            "source": {"object": f"object_{v % 100}"},
            "columns": [{"field": {"key": f"field_{v % 100 * 30 + n}"}} for n in range(25)],
        }
        for v in range(1000)
    ]
    big = build_metadata(objects=objects, scenes=[{"key": "scene_1", "views": views}])
    app = knack.open_app(big)
    assert len(app.fields("view_999")) == 25


@pytest.mark.parametrize("document", [{}, {"application": None}, {"objects": []}, [], {"application": {}}])
def test_open_app__refuses_what_is_no_metadata(document):
    """A document that is no application document is refused in words, not with a KeyError."""
    with pytest.raises(SourceError, match="not the metadata of a Knack app"):
        knack.open_app(document)


def test_fields__equal_knackpy(metadata, app):
    """Objects and table views hold the fields that knackpy gives them, in its order."""
    reference = knackpy.App(app_id="a", api_key="k", metadata=copy.deepcopy(metadata))
    for container in ("object_1", "object_4", "object_9", "view_31", "view_32"):
        expected = [
            one.key
            for one in reference.field_defs
            if (container == one.obj or container in one.views) and one.key != "id"
        ]
        assert [field.key for field in app.fields(container)] == expected


def test_fields__connected_columns(app):
    """A view's connected columns come under the connected object's own field."""
    site = {field.key: field for field in app.fields("view_31")}["field_13"]
    assert (site.object, site.type, site.name) == ("object_4", "address", "Site Location")


def test_fields__unknown_container_names_the_nearest(app):
    """A slip in a container's key, or its name in place of its key, is answered with the key."""
    with pytest.raises(ConfigError, match="view_310.*view_31 "):
        app.fields("view_310")
    with pytest.raises(ConfigError, match="object_9"):
        app.fields("Inspections")


@pytest.mark.parametrize(
    "view",
    [
        {"type": "details", "columns": [{"groups": [{"columns": [[{"key": "field_3"}, {"key": "field_1"}]]}]}]},
        {"type": "list", "columns": [{"groups": [{"columns": [[{"key": "field_1"}], [{"key": "field_3"}]]}]}]},
        {
            "type": "form",
            "groups": [
                {"columns": [{"inputs": [{"field": {"key": "field_3"}}, {"field": {"key": "field_1"}}]}]}
            ],
            "rules": {"records": [{"values": [{"field": "field_5"}]}]},
        },
        {"type": "search", "results": {"columns": [{"field": {"key": "field_1"}}, {"field": {"key": "field_3"}}]}},
        {
            "type": "map",
            "address_field": {"key": "field_3"},
            "details": {"columns": [{"groups": [{"columns": [[{"key": "field_1"}]]}]}]},
        },
        {"type": "calendar", "events": {"event_field": {"key": "field_1"}, "label_field": {"key": "field_3"}}},
        {"type": "report", "rows": [{"reports": [{"groups": [{"field": "field_1"}, {"field": "field_3"}]}]}]},
    ],
    ids=lambda view: view["type"],
)  # fmt: skip
def test_fields__views_that_are_no_tables(view):
    """Every kind of view gives the fields it shows; those it only filters, sorts or sets by are not among them."""
    view = {
        **view,
        "source": {
            "object": "object_1",
            "criteria": {"rules": [{"field": "field_6"}]},
            "sort": [{"field": "field_7"}],
        },
        "preset_filters": [{"field": "field_8"}],
    }
    assert open_view(view) == ["field_1", "field_3"]


def test_fields__table_columns_without_field():
    """Link columns, and columns on a field that the app has lost, are left out."""
    columns = [
        {"type": "link", "link_text": "Edit"},
        {"field": {"key": "field_2"}},
        {"field": {"key": "field_99"}},
        {"field": None},
    ]
    assert open_view({"type": "table", "columns": columns}) == ["field_2"]


def test_field__by_key(app):
    """A field is found in the whole app or in one container, with what Knack says of it."""
    field = app.field("field_49")
    assert (field.key, field.name, field.type, field.object) == (
        "field_49",
        "Last Modified",
        "date_time",
        "object_9",
    )
    assert field.format["date_format"] == "mm/dd/yyyy"
    assert app.field("field_49", "view_31") == field


def test_field__unknown_names_the_nearest(app):
    """A field that is not there is answered with what may have been meant."""
    with pytest.raises(ConfigError, match=r"field_49 \('Last Modified'\)"):
        app.field("last modified")
    with pytest.raises(ConfigError, match="view_31 .*has no field 'field_42'"):
        app.field("field_42", "view_31")


def test_exposes__object_and_view(app):
    """A view exposes only what it shows, an object all of its fields."""
    assert app.exposes("object_9", "field_42")
    assert not app.exposes("view_31", "field_42")
    assert app.exposes("view_31", "field_13")
    assert not app.exposes("object_9", "field_13")


def test_source_object__and_scene(app):
    """A view says which object its records are of and which scene it is on; an object is its own."""
    assert (app.source_object("view_31"), app.scene("view_31")) == ("object_9", "scene_20")
    assert (app.source_object("object_4"), app.scene("object_4")) == ("object_4", "")


def test_source_object__view_without_records():
    """A menu has no records, and saying so beats asking Knack for them."""
    app = knack.open_app(build_metadata(FIELDS, [{"key": "view_1", "type": "menu", "source": {}}]))
    with pytest.raises(ConfigError, match="'menu' without records"):
        app.source_object("view_1")


def test_modified_field__usable(app):
    """The field that dates changes is given with its format, for an object and for a view that shows it."""
    for container in ("object_9", "view_31"):
        assert knack.date_format(app.modified_field(container, "field_49")) == "mm/dd/yyyy"


@pytest.mark.parametrize(
    ("container", "key", "said"),
    [
        ("view_31", "field_50", "view_31 .*has no field 'field_50'"),
        ("object_9", "field_15", "object_9 .*has no field 'field_15'"),
        ("object_9", "field_41", "of type 'short_text'"),
        ("object_9", "field_52", "a time without a date"),
    ],
)
def test_modified_field__unusable(app, container, key, said):
    """A field that the container does not show, or that holds no date, cannot date its changes."""
    with pytest.raises(ConfigError, match=said):
        app.modified_field(container, key)


@pytest.mark.parametrize(
    ("format_", "written"),
    [
        ({"date_format": "mm/dd/yyyy"}, "03/09/2025"),
        ({"date_format": "dd/mm/yyyy"}, "09/03/2025"),
        ({"date_format": "M D, yyyy"}, "March 9, 2025"),
        ({}, "03/09/2025"),
    ],
)
def test_to_knack_date__in_the_fields_format(format_, written):
    """A day is written as the field writes its own; without a format, as Knack does by default."""
    field = knack.FieldDef("field_1", "When", "date_time", format_, "object_1")
    assert knack.to_knack_date(date(2025, 3, 9), field) == written


def test_to_knack_date__unknown_format():
    """A format that is not known is refused: a guess would filter by the wrong day without a word."""
    field = knack.FieldDef("field_1", "When", "date_time", {"date_format": "yyyy.mm"}, "object_1")
    with pytest.raises(ConfigError, match="yyyy.mm"):
        knack.to_knack_date(date(2025, 3, 9), field)


def test_sort_field__auto_increment(app):
    """Records are walked by the auto increment of their source object, in a view only if it shows it."""
    assert app.sort_field("object_9") == "field_40"
    assert app.sort_field("view_31") == "field_40"
    assert app.sort_field("object_1") is None


def test_sort_field__view_that_hides_it():
    """A view without the auto increment gives none, unless fields that it does not show are asked for too."""
    fields = [build_field("field_1"), build_field("field_2", "No", "auto_increment")]
    view = {
        "key": "view_1",
        "type": "table",
        "source": {"object": "object_1"},
        "columns": [{"field": {"key": "field_1"}}],
    }
    app = knack.open_app(build_metadata(fields, [view]))
    assert app.sort_field("view_1") is None
    assert app.sort_field("view_1", exposed=False) == "field_2"


def test_find_timezone__all_of_knackpys_names():
    """Every name of knackpy's table is a zone: the one it names, or the right spelling of the two it misspells."""
    right = {"America/Sao_Paul": "America/Sao_Paulo", "Europe/Istanbu": "Europe/Istanbul"}
    for entry in TIMEZONES:
        expected = right.get(entry["iana_name"], entry["iana_name"])
        assert knack.find_timezone(entry["common_name"]) == ZoneInfo(expected)


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("America/Chicago", "America/Chicago"),
        ("america/chicago", "America/Chicago"),
        ("UTC", "UTC"),
        ("central time (us & canada)", "America/Chicago"),
        ("Guadalajara, Mexico City, Monterrey", "America/Mexico_City"),
        (" Guadalajara,Mexico City,  Monterrey ", "America/Mexico_City"),
        ("London", "Europe/London"),
        ("Edinburgh", "Europe/London"),
        ("Mexico City", "America/Mexico_City"),
    ],
)
def test_find_timezone__ways_of_writing(name, zone):
    """IANA names, Knack's names whatever their case and spacing, and single cities are all understood."""
    assert knack.find_timezone(name) == ZoneInfo(zone)


@pytest.mark.parametrize(
    "name", ["Atlantis", "", "../../etc/passwd", "Central Tim (US & Canada)", "/", "Central", "GMT+5"]
)
def test_find_timezone__unknown(name):
    """A name that means no zone is an error that repeats it: a guess would shift every date."""
    with pytest.raises(ConfigError) as caught:
        knack.open_app(build_metadata(settings={"timezone": name}))
    assert repr(name) in str(caught.value)
    assert "Small" in str(caught.value)


def test_find_timezone__unknown_names_the_nearest():
    """A slip of typing is answered with the name that was meant."""
    with pytest.raises(ConfigError, match="nearest: Central Time"):
        knack.find_timezone("Central Tim (US & Canada)")


def test_open_app__without_timezone():
    """An app that names no time zone cannot be read: its times would be of unknown meaning."""
    with pytest.raises(ConfigError, match="the time zone ''"):
        knack.open_app(build_metadata(settings={}))
