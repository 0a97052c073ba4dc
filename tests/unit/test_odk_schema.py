"""A form's fields from its metadata document."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from services.utils.errors import ConfigError, SourceError
from services.utils.odk import open_form


def describe(path: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    """A field as /fields gives it."""
    return {
        "path": path,
        "name": path.rpartition("/")[2],
        "type": kind,
        "binary": True if kind == "binary" else None,
        "selectMultiple": None,
        **more,
    }


FIELDS = [
    describe("/name"),
    describe("/house", "structure"),
    describe("/house/rooms", "int"),
    describe("/house/room", "repeat"),
    describe("/house/room/area", "decimal"),
    describe("/house/room/inner", "structure"),
    describe("/house/room/inner/photo", "binary"),
    describe("/house/room/window", "repeat"),
    describe("/house/room/window/glass", selectMultiple=True),
    describe("/house/roommate"),
    describe("/meta", "structure"),
    describe("/meta/instanceID"),
]
DETAILS = {
    "projectId": 3,
    "xmlFormId": "houses",
    "name": "Houses",
    "version": "v2",
    "hash": "h",
    "keyId": None,
}


def build(fields: list[dict[str, Any]] = FIELDS, **more: Any) -> dict[str, Any]:
    """A metadata document."""
    return {
        "projectId": 3,
        "form": DETAILS,
        "version": "v2",
        "fields": fields,
        "plain_fields": fields,
        **more,
    }


def test_open_form__fields() -> None:
    """Fields with a value come in form order, those of the submission apart from those of each repeat."""
    form = open_form(build())
    assert [one.path for one in form.main_fields] == [
        "/name",
        "/house/rooms",
        "/house/roommate",
        "/meta/instanceID",
    ]
    assert ["/".join(one.odata_path) for one in form.repeats] == ["house/room", "house/room/window"]
    assert [one.name for one in form.repeat_fields("house/room")] == ["area", "photo"]
    assert [one.name for one in form.repeat_fields("/house/room/window")] == ["glass"]
    assert (form.title, form.form_id, form.project_id, form.version) == ("Houses", "houses", "3", "v2")


def test_field__where_it_is() -> None:
    """A field knows the names to walk in a record, and in a row of its repeat."""
    form = open_form(build())
    photo = next(one for one in form.fields if one.name == "photo")
    assert photo.odata_path == ("house", "room", "inner", "photo")
    assert (photo.repeat, photo.inner_path) == ("house/room", ("inner", "photo"))
    assert photo.binary and form.binary_fields == (photo,)
    window = form.find_repeat("house/room/window")
    assert (window.repeat, window.inner_path) == ("house/room", ("window",))
    assert form.main_fields[0].inner_path == ("name",)
    assert form.inner_repeats() == (form.find_repeat("house/room"),)
    assert form.inner_repeats("house/room") == (window,)
    assert form.repeat_fields("house/room/window")[0].select_multiple


def test_open_form__names_of_its_own() -> None:
    """Fields carry the form's own names beside those of the feed, and collisions are told."""
    plain = [describe("/имя"), describe("/фамилия"), describe("/a-b"), describe("/a.b"), describe("/ok")]
    feed = [describe("/__"), describe("/__"), describe("/a_b"), describe("/a_b"), describe("/ok")]
    form = open_form(build(feed, plain_fields=plain))
    assert [(one.name, one.odata_path) for one in form.fields] == [
        ("имя", ("__",)),
        ("фамилия", ("__",)),
        ("a-b", ("a_b",)),
        ("a.b", ("a_b",)),
        ("ok", ("ok",)),
    ]
    assert form.collisions == (
        {"property": "/__", "fields": ["/имя", "/фамилия"]},
        {"property": "/a_b", "fields": ["/a-b", "/a.b"]},
    )


def test_open_form__same_name_elsewhere_is_no_collision() -> None:
    """A name that stands in two groups collides with nothing."""
    fields = [describe("/a", "structure"), describe("/a/x"), describe("/b", "structure"), describe("/b/x")]
    assert open_form(build(fields)).collisions == ()


def test_find_repeat__by_either_name() -> None:
    """A repeat is found by its own names and by the feed's; a wrong one names those there are."""
    plain = [describe("/family member", "repeat"), describe("/family member/age", "int")]
    feed = [describe("/family_member", "repeat"), describe("/family_member/age", "int")]
    form = open_form(build(feed, plain_fields=plain))
    assert form.find_repeat("family member") == form.find_repeat("family_member")
    with pytest.raises(ConfigError, match="no repeat 'familymember'; there is: family_member"):
        form.find_repeat("familymember")
    with pytest.raises(ConfigError, match="it has no repeats"):
        open_form(build([describe("/a")])).repeat_fields("a")


@pytest.mark.parametrize(
    "broken", [{}, {"form": {}}, {"form": DETAILS, "fields": [{}]}, {"form": DETAILS, "fields": 3}]
)
def test_open_form__broken(broken: dict[str, Any]) -> None:
    """A document that is no form's metadata says which command makes a new one."""
    with pytest.raises(SourceError, match="metadata_to_postgrest"):
        open_form(broken)


def test_open_form__recorded() -> None:
    """The recorded form has its fields in the places where its recorded rows have them."""
    data = Path(__file__).resolve().parents[1] / "data" / "odk" / "dataset.json.gz"
    recorded = json.loads(gzip.decompress(data.read_bytes()))["forms"]["rental_survey"]
    details = {**DETAILS, "xmlFormId": "rental_survey"}
    form = open_form(
        {"form": details, "fields": recorded["fields_odata"], "plain_fields": recorded["fields"]}
    )
    row = next(row for row in recorded["rows"] if row.get("person_details"))
    for one in form.main_fields:
        value = row
        for name in one.odata_path:
            assert name in value, one.path
            value = value[name]
    person = row["person_details"][0]
    assert {one.inner_path[0] for one in form.repeat_fields("person_details")} <= set(person)
