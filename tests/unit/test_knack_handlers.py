"""One field as another: what is written is what Knack then holds, in every type and format."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dev.simulators.knack.values import Setting, build_cell, set_cell
from services.utils.knack.handlers import Unfit, build_read, read_held, same, shape, tell
from services.utils.knack.metadata import FieldDef

CHICAGO, NEW_YORK = ZoneInfo("America/Chicago"), ZoneInfo("America/New_York")
DAY = {"date_format": "dd/mm/yyyy", "time_format": "Ignore Time"}
MOMENT = {"date_format": "M D, yyyy", "time_format": "HH MM (military)"}
CLOCK = {"date_format": "Ignore Date", "time_format": "HH:MM am"}
AMERICAN = {"date_format": "mm/dd/yyyy", "time_format": "HH:MM am"}


def build(kind: str, form: Mapping[str, Any] | None = None, key: str = "field_1") -> FieldDef:
    """A field."""
    return FieldDef(key, "Name", kind, form or {}, "object_1")


def hold(field: FieldDef, value: Any) -> dict[str, Any]:
    """A record with this value, as Knack keeps it."""
    record: dict[str, Any] = {"id": "5d00"}
    cell = build_cell(
        {"key": field.key, "name": "Name", "type": field.type, "format": field.format}, value, Setting()
    )
    set_cell(record, field.key, cell)
    return record


def carry(
    source: FieldDef, value: Any, dest: FieldDef, handler: str = "copy", **options: Any
) -> dict[str, Any]:
    """What the destination holds after a copy; it must say what was sent."""
    read = build_read(source, dest, handler, options, CHICAGO)
    sent = shape(read(hold(source, value)), dest, CHICAGO, NEW_YORK)
    held = hold(dest, sent)
    assert same(tell(sent, dest), read_held(held, dest), dest)
    return held


@pytest.mark.parametrize(
    ("source", "value", "dest", "shown"),
    [
        (build("short_text"), " a <b> ", build("paragraph_text"), " a <b> "),
        (build("number"), 12.5, build("short_text"), "12.5"),
        (build("short_text"), "1,250", build("number"), 1250),
        (build("number"), "", build("number"), 0),
        (build("currency"), "$1,250.5", build("currency"), "$1,250.50"),
        (build("boolean"), "yes", build("boolean", {"format": "true_false"}), "True"),
        (build("boolean"), "no", build("short_text"), "No"),
        (
            build("multiple_choice", {"type": "multi"}),
            ["a", "b"],
            build("multiple_choice", {"type": "multi"}),
            "a, b",
        ),
        (build("multiple_choice"), "a", build("multiple_choice", {"type": "multi"}), "a"),
        (build("phone"), "512 555 0100", build("phone"), "(512) 555-0100"),
        (build("email"), "a@b.org", build("email"), '<a href="mailto:a@b.org">a@b.org</a>'),
        (build("name"), {"first": "Ana", "last": "Ruiz"}, build("name"), "Ana Ruiz"),
        (build("name"), {"first": "Ana", "last": "Ruiz"}, build("short_text"), "Ana Ruiz"),
        (build("address"), {"street": "1 Oak St", "city": "Austin"}, build("short_text"), "1 Oak St, Austin"),
        (
            build("date_time", AMERICAN),
            datetime(2025, 7, 1, 23, 30),
            build("date_time", MOMENT),
            "Jul 2, 2025 00:30",
        ),
        (
            build("date_time", AMERICAN),
            datetime(2025, 7, 1),
            build("date_time", MOMENT),
            "Jul 1, 2025 01:00",
        ),
        (build("date_time", AMERICAN), datetime(2025, 7, 1, 23, 30), build("date_time", DAY), "01/07/2025"),
        (build("date_time", DAY), datetime(2025, 7, 1), build("date_time", AMERICAN), "07/01/2025 12:00am"),
        (build("date_time", CLOCK), datetime(2012, 1, 1, 0, 5), build("date_time", CLOCK), "12:05am"),
        (build("date_time", AMERICAN), datetime(2025, 7, 1, 9), build("short_text"), "07/01/2025 9:00am"),
        (build("date_time", AMERICAN), "", build("date_time", DAY), ""),
    ],
)
def test_copy__is_what_knack_then_holds(source: FieldDef, value: Any, dest: FieldDef, shown: Any) -> None:
    """A value goes over, shaped for its field, and what comes back is seen to be the same."""
    assert carry(source, value, dest)[dest.key] == shown


def test_copy__a_range_keeps_its_end() -> None:
    """A date with an end is moved as a whole to the other time zone."""
    field = build("date_time", AMERICAN)
    held = carry(field, (datetime(2025, 1, 1, 22), datetime(2025, 1, 1, 23, 30)), field)
    assert held["field_1"] == "01/01/2025 11:00pm to 01/02/2025 12:30am"


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("date_time", "07/01/2025 9:00am", "07/01/2025 12:00am"),
        ("short_text", "a", "A"),
        ("number", 0, 1),
        ("boolean", True, False),
        ("currency", "1.00", "1.01"),
        ("multiple_choice", "a", "b"),
        ("address", {"street": "1 Oak St"}, {"street": "2 Oak St"}),
        (
            "address",
            {"street": "1", "latitude": 30.1, "longitude": -97},
            {"street": "1", "latitude": 30.2, "longitude": -97},
        ),
        ("name", {"first": "Ana", "last": "Ruiz"}, {"last": "Ruiz"}),
        ("link", "https://a.org", "https://b.org"),
        ("phone", "512 555 0100", "512 555 0101"),
    ],
)
def test_same__sees_what_knack_changed(kind: str, one: Any, other: Any) -> None:
    """A time of day that was dropped, another spelling, another part: none of them passes for the same."""
    field = build(kind, AMERICAN if kind == "date_time" else None)
    assert same(read_held(hold(field, one), field), read_held(hold(field, one), field), field)
    assert not same(read_held(hold(field, one), field), read_held(hold(field, other), field), field)


def test_same__lets_knack_place_an_address() -> None:
    """Coordinates that Knack found by itself are no difference."""
    field = build("address")
    placed = hold(field, {"street": "1 Oak St", "latitude": 30.1, "longitude": -97.0})
    assert same(tell({"street": "1 Oak St"}, field), read_held(placed, field), field)


@pytest.mark.parametrize(
    ("value", "dest", "said"),
    [
        ("many", build("number"), "no number"),
        ("1e999999999", build("number"), "no number"),
        ("perhaps", build("boolean"), "neither yes nor no"),
        (["a", "b"], build("multiple_choice"), "takes one option"),
        ("07/01/2025", build("date_time", AMERICAN), "no date"),
    ],
)
def test_shape__refuses_what_does_not_fit(value: Any, dest: FieldDef, said: str) -> None:
    """A value that the field cannot take is refused by a rule that does not repeat it."""
    with pytest.raises(Unfit, match=said) as refused:
        shape(value, dest, CHICAGO, CHICAGO)
    assert "many" not in str(refused.value) and "perhaps" not in str(refused.value)
