"""Writes through the API and through the test helpers, and what they carry along."""

import json
from datetime import UTC, datetime

import pytest

from dev.simulators.city import LOCATIONS, SIGNALS, SIGNALS_VIEW, WORK_ORDERS
from tests.simulators.knack.conftest import METADATA, RECORDS

OBJECT = "/v1/objects/object_9/records"
FIRST, BLANK = RECORDS["object_9"][0], RECORDS["object_9"][1]
FIELDS = {field["key"]: field for one in METADATA["application"]["objects"] for field in one["fields"]}


@pytest.mark.parametrize(
    ("key", "value", "display", "raw"),
    [
        ("field_41", "Slide 4", "Slide 4", "Slide 4"),
        ("field_44", "1,250", "1,250", 1250),
        ("field_44", 3.0, "3", 3),
        ("field_45", "$100.4", "$100.40", "100.40"),
        ("field_46", ["Pass"], "Pass", "Pass"),
        ("field_47", ["Fence", "Bench"], "Fence, Bench", ["Fence", "Bench"]),
        ("field_48", "yes", "Yes", True),
        ("field_59", {"first": "Ana", "middle": "M", "last": "Ruiz"}, "Ruiz, Ana M", None),
        (
            "field_60",
            "a@example.org",
            '<a href="mailto:a@example.org">a@example.org</a>',
            {"email": "a@example.org"},
        ),
        (
            "field_61",
            "512 555 0100",
            "(512) 555-0100",
            {"area": "512", "number": "5550100", "full": "5125550100", "formatted": "(512) 555-0100"},
        ),
        (
            "field_63",
            {"street": "1 Oak St", "street2": "Suite 2", "city": "Austin", "state": "TX", "zip": "78701"},
            "1 Oak St<br />Suite 2<br />Austin, TX 78701",
            None,
        ),
        ("field_66", 3, "3.00", 3),
        ("field_54", "09/03/2025", "09/03/2025", None),
        ("field_52", {"hours": "4", "minutes": "5", "am_pm": "pm"}, "4:05pm", None),
    ],
)
def test_put__display_and_raw(client, key, value, display, raw):
    """A written value comes back as Knack shows it and as Knack keeps it."""
    answer = client.send("PUT", f"{OBJECT}/{BLANK['id']}", json={key: value})
    assert answer.status_code == 200, answer.text
    assert answer.json()[key] == display
    if raw is not None:
        assert answer.json()[f"{key}_raw"] == raw
    assert client.knack.record("object_9", BLANK["id"]) == answer.json()


def test_put__date_object(client):
    """A date becomes the local wall clock labelled as UTC, in all its parts."""
    answer = client.send("PUT", f"{OBJECT}/{BLANK['id']}", json={"field_49": "03/09/2025 4:05pm"}).json()
    assert answer["field_49"] == "03/09/2025 4:05pm"
    assert answer["field_49_raw"] == {
        "date": "03/09/2025",
        "date_formatted": "03/09/2025",
        "hours": "04",
        "minutes": "05",
        "am_pm": "PM",
        "unix_timestamp": 1741536300000,
        "iso_timestamp": "2025-03-09T16:05:00.000Z",
        "timestamp": "03/09/2025 04:05 pm",
        "time": 965,
    }


def test_put__blanks(client):
    """Emptied fields lose their raw half; connections keep an empty list, numbers and yes/no a value."""
    emptied = dict.fromkeys((key for key in FIRST if key in FIELDS), "")
    answer = client.send("PUT", f"{OBJECT}/{FIRST['id']}", json=emptied).json()
    for key in FIRST:
        kind = FIELDS.get(key, {}).get("type")
        if kind in ("number", "boolean"):
            assert answer[f"{key}_raw"] in (0, False)
        elif kind in ("connection", "multiple_choice") and isinstance(FIRST[f"{key}_raw"], list):
            assert (answer[key], answer[f"{key}_raw"]) == ("", [])
        elif kind and kind not in ("auto_increment", "concatenation", "equation") and "field_7" not in key:
            assert answer[key] == ""
            assert f"{key}_raw" not in answer


def test_put__computed_fields_and_unknown_keys_are_dropped(client):
    """What Knack works out, and keys that it does not know, do not change by a write."""
    written = {"field_40": 99, "field_68": 1, "field_71": 1, "field_9999": "x", "field_41_raw": "y"}
    answer = client.send("PUT", f"{OBJECT}/{BLANK['id']}", json=written).json()
    assert {key: answer[key] for key in ("field_40", "field_68", "field_71", "field_41")} == {
        key: BLANK[key] for key in ("field_40", "field_68", "field_71", "field_41")
    }


def test_put__modified_date(client):
    """A write through the API does not stamp the modified date, unless the app has such a rule."""
    client.knack.clock = lambda: datetime(2026, 7, 1, 1, 30, 59, tzinfo=UTC)
    path = f"{OBJECT}/{FIRST['id']}"
    assert client.send("PUT", path, json={"field_41": "x"}).json()["field_49"] == FIRST["field_49"]
    client.knack.switches.api_writes_touch = True
    assert client.send("PUT", path, json={"field_41": "y"}).json()["field_49"] == "06/30/2026 8:30pm"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"field_44": "many"}, ["field_44"]),
        ({"field_45": "dear", "field_48": "perhaps"}, ["field_45", "field_48"]),
        ({"field_49": "2025-03-09"}, ["field_49"]),
        ({"field_54": "03/13/2025"}, ["field_54"]),
        ({"field_56": "5d00000000000000000000ff"}, ["field_56"]),
        ({"field_60": "nobody"}, ["field_60"]),
        ({"field_69": "5d00000000000000000000ff"}, ["field_69"]),
    ],
)
def test_put__refused_values(client, body, fields):
    """Values that do not fit are a 400 with JSON that names the fields; nothing is changed."""
    answer = client.send("PUT", f"{OBJECT}/{FIRST['id']}", json=body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == fields
    assert client.knack.record("object_9", FIRST["id"]) == FIRST


def test_post__required_and_unique(visitor):
    """A record without a required value, or with a value that must be unique, is refused."""
    path = f"/v1/objects/{LOCATIONS}/records"
    taken = visitor.knack.records(LOCATIONS)[0]
    missing = visitor.send("POST", path, json={"field_213": "1"})
    double = visitor.send("POST", path, json={"field_211": "X", "field_214": taken["field_214"] or "LOC1"})
    made = visitor.send("POST", path, json={"field_211": "X", "field_214": "LOC-new"})
    assert missing.json()["errors"] == [{"field": "field_211", "message": "Location Name is required."}]
    assert made.json()["field_210"] == 26
    if taken["field_214"]:
        assert double.json()["errors"] == [{"field": "field_214", "message": "ID must be unique."}]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", OBJECT + "/5d00000000000000000000ff", 404),
        ("DELETE", OBJECT + "/5d00000000000000000000ff", 404),
        ("DELETE", OBJECT, 404),
        ("PATCH", f"{OBJECT}/{FIRST['id']}", 404),
    ],
)
def test_writes__of_what_is_not_there(client, method, path, status):
    """An unknown record, or a method that does not fit the path, is plain words and changes nothing."""
    answer = client.send(method, path, json={"field_41": "x"})
    assert answer.status_code == status
    assert client.knack.records("object_9") == RECORDS["object_9"]


def test_writes__need_the_content_type(client):
    """A body that is not labelled as JSON is refused."""
    body = json.dumps({"field_41": "x"})
    assert client.send("POST", OBJECT, data=body).status_code == 400
    assert len(client.knack.records("object_9")) == 25


def test_edit_record__touch(sample):
    """An edit stamps the modified date with the clock, in the app's zone and to the minute; or leaves it."""
    sample.clock = lambda: datetime(2025, 11, 2, 7, 30, 45, tzinfo=UTC)
    sample.edit_record("object_9", FIRST["id"], {"field_41": "x"}, touch=False)
    assert sample.record("object_9", FIRST["id"])["field_49"] == FIRST["field_49"]
    sample.edit_record("object_9", FIRST["id"], {"field_41": "y"})
    assert (
        sample.record("object_9", FIRST["id"])["field_49_raw"]["iso_timestamp"] == "2025-11-02T01:30:00.000Z"
    )


def test_edit_record__new_identifier_reaches_connections(town):
    """A renamed location is renamed in what connects to it, and no date on those records changes."""
    before = town.record(SIGNALS, town.records(SIGNALS)[0]["id"])
    place = before["field_243_raw"][0]["id"]
    town.records(SIGNALS_VIEW)
    town.edit_record(LOCATIONS, place, {"field_211": "NEW <b>NAME</b>"})
    after = town.record(SIGNALS, before["id"])
    assert after["field_243_raw"] == [{"id": place, "identifier": "NEW <b>NAME</b>"}]
    assert after["field_243"] == f'<span class="{place}">NEW <b>NAME</b></span>'
    assert after["field_246"] == before["field_246"]
    shown = [row for row in town.records(SIGNALS_VIEW) if row["field_243_raw"] == after["field_243_raw"]]
    assert shown
    assert all(row["field_211"] == "NEW <b>NAME</b>" for row in shown)


def test_edit_record__shows_in_views(town):
    """A view that was read before shows a changed record, and a changed record behind a connection."""
    row = next(row for row in town.records(SIGNALS_VIEW) if row["field_243_raw"])
    place = row["field_243_raw"][0]["id"]
    town.edit_record(SIGNALS, row["id"], {"field_247": "https://example.org/new"})
    assert town.record(SIGNALS_VIEW, row["id"])["field_247_raw"] == {"url": "https://example.org/new"}
    town.edit_record(
        LOCATIONS, place, {"field_212": {"street": "1 New St", "latitude": 30.1, "longitude": -97}}
    )
    assert town.record(SIGNALS_VIEW, row["id"])["field_212_raw"]["street"] == "1 New St"


def test_delete_record__leaves_connections(town):
    """A deleted location is gone from what connected to it."""
    signal = town.records(SIGNALS)[0]
    town.delete_record(LOCATIONS, signal["field_243_raw"][0]["id"])
    after = town.record(SIGNALS, signal["id"])
    assert (after["field_243"], after["field_243_raw"]) == ("", [])


def test_add_record__python_values_and_formulas(town, small_city):
    """A record can be added from Python's own values; numbers and text formulas are worked out."""
    crew = [record["id"] for record in small_city.records["object_1"][:2]]
    made = town.add_record(
        WORK_ORDERS,
        {"field_301": "Fix it", "field_311": datetime(2025, 1, 2, 0, 5), "field_327": crew, "id": "5" * 24},
    )
    record = town.record(WORK_ORDERS, made)
    assert made == "5" * 24
    assert (record["field_300"], record["field_328"]) == (121, "121 - Fix it")
    assert (record["field_311"], record["field_311_raw"]["time"]) == ("01/02/2025 00:05", 725)
    assert [link["id"] for link in record["field_327_raw"]] == crew
    assert set(record) >= {field["key"] for field in small_city.fields[WORK_ORDERS]}
