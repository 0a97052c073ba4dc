"""One field of a source app as one field of another: named handlers, the value to write, and when two are the same.

    copy        (where none is named) the value, shaped for the destination's type; dates keep their moment where
                the apps' time zones differ, a text is what people see
    text        what people see, as text: identifiers joined by ", ", an address on one line, a date as it is shown
    strip       as text, without blanks at its ends
    choice      by `map`: {"what stands here": "what stands there"}; what it does not list is refused, or is `default`
    connection  the records there whose `lookup` field (default: the object's identifier) holds what is shown here
    default     always `default`; for fields without a source

Reading and shaping touch no network, clock or environment. Source: contract of Knack's API, "Records in both format".
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from services.utils.knack.metadata import FieldDef, date_format, to_knack_date
from services.utils.knack.values import WallClock, build_reader

HANDLERS = ("copy", "text", "strip", "choice", "connection", "default")
TEXTS = frozenset({"short_text", "paragraph_text", "rich_text"})
NUMBERS = frozenset({"number", "currency", "rating"})
# What can be written; Knack works out or keeps all others itself.
WRITABLE = (
    TEXTS
    | NUMBERS
    | {
        *(
            "boolean",
            "multiple_choice",
            "date_time",
            "address",
            "name",
            "email",
            "link",
            "phone",
            "connection",
        )
    }
)
_PARTS = {
    "address": ("street", "street2", "city", "state", "zip", "country", "latitude", "longitude"),
    "name": ("title", "first", "middle", "last"),
    "email": ("email", "label"),
    "link": ("url", "label"),
}
_EPOCH = dt.datetime(1970, 1, 1)
_MOST_DIGITS = 300
_TAGS = re.compile(r"<[^>]*>")
_TRUE, _FALSE = frozenset({"yes", "true", "on", "1"}), frozenset({"no", "false", "off", "0"})


class Unfit(ValueError):
    """A value that the destination's field cannot take. The text is the rule, never the value."""


Read = Callable[[Mapping[str, Any]], Any]


def build_read(
    source: FieldDef | None, dest: FieldDef, handler: str, options: Mapping[str, Any], zone: ZoneInfo
) -> Read:
    """The function that reads a record's value for a handler and a field there; None where it is blank.

    source: None for "default", and for the record's own id.
    """
    if handler == "default":
        return lambda record: options["default"]
    if source is None:
        return lambda record: record.get("id")
    key = source.key
    read_text = _build_text_reader(source, zone)
    if handler in ("text", "strip"):
        return (lambda record: (read_text(record) or "").strip() or None) if handler == "strip" else read_text
    if handler == "choice":
        return _build_choice_reader(source, read_text, options)
    if dest.type in TEXTS:
        return read_text
    if source.type == "date_time":
        is_day = not has_time(source)

        def read_date(record: Mapping[str, Any]) -> list[dt.datetime] | list[dt.date] | None:
            moments = _read_moments(record.get(f"{key}_raw"))
            return ([one.date() for one in moments] if is_day else moments) or None

        return read_date
    if source.type == "connection" or handler == "connection":
        return lambda record: _read_identifiers(record, key) or None
    if source.type in _PARTS or source.type in ("boolean", "multiple_choice", "phone", *NUMBERS):
        return lambda record: _read_raw(record, key)
    return read_text


def shape(value: Any, dest: FieldDef, source_zone: ZoneInfo, zone: ZoneInfo) -> Any:
    """A value as it is written to a field; "" where it is blank.

    Connections are left as the texts to look for.
    Raises: Unfit.
    """
    if value is None or value == "" or value == []:
        return ""
    kind = dest.type
    if kind in TEXTS:
        return _as_text(value)
    if kind in NUMBERS:
        return as_number(value)
    if kind == "boolean":
        word = str(value).strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise Unfit("it is neither yes nor no")
    if kind == "multiple_choice":
        chosen = [_as_text(one) for one in (value if isinstance(value, list) else [value])]
        if is_many(dest):
            return chosen
        if len(chosen) > 1:
            raise Unfit("it takes one option, there are several")
        return chosen[0]
    if kind == "date_time":
        return _as_date(value, dest, source_zone, zone)
    if kind == "connection":
        return [_as_text(one).strip() for one in (value if isinstance(value, list) else [value])]
    if kind == "phone":
        return _as_text(value.get("full") if isinstance(value, dict) else value)
    if isinstance(value, dict):
        return {part: value[part] for part in _PARTS[kind] if value.get(part) not in (None, "")} or ""
    first = "street" if kind == "address" else "last" if kind == "name" else _PARTS[kind][0]
    return {first: _as_text(value)}


def tell(value: Any, dest: FieldDef) -> Any:
    """What a written or a held raw value says, as JSON that is equal where nothing needs to be written.

    Blank is None; for numbers also 0, for yes/no also False: Knack keeps those for blanks.
    """
    if value is None or value == "" or value == [] or value == [None] or value == {}:
        return None
    kind = dest.type
    if kind in NUMBERS:
        try:
            number = Decimal(str(value)).normalize()
            if kind == "currency":
                number = number.quantize(Decimal("0.01")).normalize()
        except InvalidOperation:
            return str(value)
        return None if kind == "number" and not number else format(number, "f")
    if kind == "boolean":
        return True if value is True else None
    if kind == "multiple_choice":
        return [str(one) for one in value] if isinstance(value, list) else [str(value)]
    if kind == "date_time":
        return _tell_date(value, dest)
    if kind == "connection":
        listed = value if isinstance(value, list) else [value]
        return sorted(one["id"] if isinstance(one, dict) else str(one) for one in listed)
    if kind == "phone":
        digits = re.sub(r"\D", "", str(value.get("full", "") if isinstance(value, dict) else value))
        return digits[1:] if len(digits) == 11 and digits[0] == "1" else digits
    if kind in _PARTS and isinstance(value, dict):
        # Knack may place an address by itself: coordinates count only where both sides have them (see `same`).
        return {part: str(value[part]) for part in _PARTS[kind] if value.get(part) not in (None, "")} or None
    return str(value)


def same(wanted: Any, held: Any, dest: FieldDef) -> bool:
    """Whether two tellings agree."""
    if dest.type == "address" and isinstance(wanted, dict) and isinstance(held, dict):
        held = dict(held)
        for part in ("latitude", "longitude"):
            if part not in wanted:
                held.pop(part, None)
            elif part in held and _is_near(wanted[part], held[part]):
                held[part] = wanted[part]
    if dest.type == "email" and isinstance(wanted, dict) and isinstance(held, dict):
        held = {part: text for part, text in held.items() if part in wanted or part != "label"}
    return bool(wanted == held)


def read_held(record: Mapping[str, Any], dest: FieldDef) -> Any:
    """What a record of the destination says in a field."""
    value = record.get(f"{dest.key}_raw", None if dest.type in _RAW_ONLY else record.get(dest.key))
    return tell(value, dest)


_RAW_ONLY = frozenset({"connection", "date_time", "boolean", *_PARTS})


def is_many(field: FieldDef) -> bool:
    """Whether a multiple choice takes several."""
    return field.format.get("type") in ("multi", "checkboxes")


def _is_near(one: str, other: str) -> bool:
    try:
        return abs(float(one) - float(other)) < 1e-6
    except ValueError:
        return False


def _read_raw(record: Mapping[str, Any], key: str) -> Any:
    value = record.get(f"{key}_raw")
    if value is None:
        value = record.get(key)
    return None if value in ("", [], [None], {}) else value


def _build_text_reader(source: FieldDef, zone: ZoneInfo) -> Read:
    if source.type in ("date_time", "boolean"):
        # What people see is what the app shows.
        return lambda record: record.get(source.key) or None
    read = build_reader(source.type, source.key, WallClock(zone))

    def read_text(record: Mapping[str, Any]) -> str | None:
        value = read(record)
        if value is None:
            return None
        text = _as_text(value)
        return _TAGS.sub("", text) if source.type in ("connection", "email", "link") else text

    return read_text


def _build_choice_reader(source: FieldDef, read_text: Read, options: Mapping[str, Any]) -> Read:
    known = options["map"]

    def read_choice(record: Mapping[str, Any]) -> Any:
        raw = _read_raw(record, source.key)
        found = [str(one) for one in raw] if isinstance(raw, list) else [read_text(record)]
        mapped = []
        for one in found:
            if one is None:
                continue
            if one not in known and "default" not in options:
                raise Unfit(f"{source.name} ({source.key}) holds an option that its map does not list")
            mapped.append(known.get(one, options.get("default")))
        return mapped or options.get("default")

    return read_choice


def _read_identifiers(record: Mapping[str, Any], key: str) -> list[str]:
    raw = _read_raw(record, key)
    listed = raw if isinstance(raw, list) else [] if raw is None else [raw]
    named = (one.get("identifier") if isinstance(one, dict) else one for one in listed)
    return [_TAGS.sub("", str(one)).strip() for one in named if one not in (None, "")]


def _read_moments(raw: Any) -> list[dt.datetime]:
    """The wall clock of a date, and of its end where it has one."""
    if not isinstance(raw, dict):
        return []
    stamp = raw.get("unix_timestamp")
    if isinstance(stamp, bool) or not isinstance(stamp, int | float):
        return []
    return [_EPOCH + dt.timedelta(milliseconds=stamp), *_read_moments(raw.get("to"))]


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(str(part) for part in value.values() if part not in (None, ""))
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    return ("Yes" if value else "No") if isinstance(value, bool) else str(value)


def as_number(value: Any) -> Any:
    """A value as a number, however people write it. Raises: Unfit."""
    if isinstance(value, bool):
        raise Unfit("it is no number")
    if isinstance(value, int | float):
        return value
    text = str(value).strip().replace(",", "").lstrip("$€£")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Unfit("it is no number") from None
    # Beyond what a float holds, a short text would be written out as millions of digits.
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        raise Unfit("it is no number")
    return int(number) if number == number.to_integral_value() else float(number)


def _as_date(value: Any, dest: FieldDef, source_zone: ZoneInfo, zone: ZoneInfo) -> dict[str, Any] | str:
    moments = value if isinstance(value, list) and value and isinstance(value[0], dt.date) else None
    if moments is None:
        raise Unfit("it is no date of a date/time field")
    moves = has_date(dest) and has_time(dest) and source_zone.key != zone.key
    moments = [
        # A day alone is the same day everywhere.
        dt.datetime.combine(one, dt.time())
        if not isinstance(one, dt.datetime)
        else one.replace(tzinfo=source_zone).astimezone(zone).replace(tzinfo=None)
        if moves
        else one
        for one in moments
    ]
    written = [_write_moment(one, dest) for one in moments]
    if len(written) > 1:
        return {**written[0], "to": written[1]}
    # A day alone is written as people enter it.
    return written[0] if has_time(dest) else str(written[0]["date"])


def has_date(field: FieldDef) -> bool:
    """Whether a date/time field holds a day."""
    return date_format(field) != "Ignore Date"


def has_time(field: FieldDef) -> bool:
    """Whether a date/time field holds a time of day."""
    return field.format.get("time_format", "Ignore Time") != "Ignore Time"


def _write_moment(at: dt.datetime, dest: FieldDef) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if has_date(dest):
        written["date"] = to_knack_date(at.date(), dest)
    if has_time(dest):
        # In parts of their own: whether Knack heeds a time of day within a text is disputed.
        written |= {
            "hours": f"{at.hour % 12 or 12:02}",
            "minutes": f"{at.minute:02}",
            "am_pm": "AM" if at.hour < 12 else "PM",
        }
    return written


def _tell_date(value: Any, dest: FieldDef) -> Any:
    if not isinstance(value, dict):
        return {"date": str(value)}
    if "unix_timestamp" in value:
        moments = _read_moments(value)
        if not moments:
            return None
        value = _write_moment(moments[0], dest)
        if len(moments) > 1:
            value["to"] = _write_moment(moments[1], dest)
    return value
