"""One value as one Socrata column takes it: a formatter per column type, strict as the storage is.

Each formatter takes a value that is not None and gives what JSON is to hold: None where the value is
empty. It raises Unfit, with the rule and never the value, for what the column would refuse or lose.

Source: contract of the writing API, "Values"; soda-fountain, wiremodels/JsonColumnRep.scala.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timezone
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec
from dateutil import parser as dateutil_parser

from services.utils.socrata.places import (
    format_location,
    format_multipoint,
    format_point,
    make_geometry_formatter,
)
from services.utils.socrata.unfit import Unfit

Formatter = Callable[[Any], Any]

_encode = msgspec.json.encode
_INT64 = 2**63
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
# "1,5" is a decimal comma somewhere: a comma counts as grouping only where it groups by three.
_GROUPED_NUMBER = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
# A time as rows mostly have it, on a day that every month has: nothing is left to be checked.
_PLAIN_TIME = re.compile(
    r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][+-](?:0[0-9]|1[0-4]):[0-5][0-9]"
)
_CURRENCY = re.compile(r"^([+-]?)\s*[$€£]\s*")
# Signs after GMT are read both ways by the tools that write them.
_SIGNED_GMT = re.compile(r"(?:GMT|UTC)\s*[+-]", re.IGNORECASE)
_TRUE = frozenset({"yes", "true", "t", "y", "1", "on", "checked"})
_FALSE = frozenset({"no", "false", "f", "n", "0", "off", "unchecked"})
_EXACT = Context(prec=400)


def format_text(value: Any) -> str | None:
    """Text as it is; numbers in digits, True "Yes", lists joined by ", ", objects as compact JSON."""
    if type(value) is str:
        return value or None
    if value is True:
        return "Yes"
    if value is False:
        return "No"
    if isinstance(value, str | int | Decimal):
        return str(value) or None
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unfit("a number must be finite")
        return repr(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        if any(isinstance(part, dict | list | tuple) for part in value):
            return _format_json_text(value)
        return ", ".join(text for part in value if part is not None and (text := format_text(part))) or None
    if isinstance(value, dict):
        return _format_json_text(value) if value else None
    raise Unfit(f"a text column takes text, not {_name_kind(value)}")


def _format_json_text(value: Any) -> str:
    return _encode(format_json(value)).decode()


def format_json(value: Any) -> Any:
    """Any JSON value with finite numbers."""
    _check_finite(value)
    try:
        _encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unfit("the value is not JSON") from error
    return value


def _check_finite(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unfit("a number must be finite")
    elif isinstance(value, dict):
        for part in value.values():
            _check_finite(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_finite(part)


def format_number(value: Any) -> int | float | str | None:
    """A finite number, or its decimal string; "1,234" and "$1,234.50" lose their ornaments."""
    kind = type(value)
    if kind is int:
        return value if -_INT64 <= value < _INT64 else str(value)
    if kind is float:
        if not math.isfinite(value):
            raise Unfit("a number must be finite")
        return value
    if isinstance(value, str):
        return _read_number(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise Unfit("a number must be finite")
        return str(value)
    raise Unfit(f"a number column takes a number, not {_name_kind(value)}")


def _read_number(value: str) -> str | None:
    text = value.strip()
    if not text:
        return None
    if _PLAIN_NUMBER.fullmatch(text) is None:
        text = _CURRENCY.sub(r"\1", text)
        if _GROUPED_NUMBER.fullmatch(text):
            text = text.replace(",", "")
        elif _PLAIN_NUMBER.fullmatch(text) is None:
            raise Unfit("a number column takes a number, the text is none")
    return text.removeprefix("+").removesuffix(".")


def format_checkbox(value: Any) -> bool | None:
    """True or False; also from yes/no, true/false, t/f, y/n, 1/0, on/off in any case."""
    if value is True or value is False:
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        if not word:
            return None
    elif isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise Unfit("a checkbox column takes yes or no, true or false, 1 or 0")


def format_calendar_date(value: Any) -> str | None:
    """The wall-clock time without a zone: "2025-03-09T16:05:00-05:00" gives "2025-03-09T16:05:00.000".

    The zone is dropped, not converted: rows carry the time in their application's own zone.
    """
    if type(value) is str and _PLAIN_TIME.fullmatch(value) is not None:
        return f"{value[:19]}.000"
    when = _read_time(value, "calendar_date")
    return None if when is None else when.replace(tzinfo=None).isoformat(timespec="milliseconds")


def format_fixed_date(value: Any) -> str | None:
    """The moment in UTC: "2025-03-09T16:05:00-05:00" gives "2025-03-09T21:05:00.000Z"; no zone means UTC."""
    when = _read_time(value, "date")
    if when is None:
        return None
    if when.tzinfo is not None:
        try:
            when = when.astimezone(UTC)
        except OverflowError as error:
            raise Unfit("a date column takes years 1 to 9999") from error
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _read_time(value: Any, kind: str) -> datetime | None:
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if len(text) >= 10 and text[4] == "-" and text[7] == "-":
            try:
                return datetime.fromisoformat(text)
            except ValueError:
                pass
        when = _read_loose_time(text, kind == "date")
        if when is None:
            raise Unfit(f"a {kind} column takes a whole date, the text is none")
        return when
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    raise Unfit(f"a {kind} column takes a date, not {_name_kind(value)}")


@lru_cache(maxsize=2048)
def _read_loose_time(text: str, fixed: bool) -> datetime | None:
    """The time that other spellings mean (month before day), or None.

    dateutil fills what a text lacks from a default: two readings with different defaults agree only
    where year, month and day are all there. For a fixed time a zone must be one with a known offset.
    """

    def read_zone(name: str | None, offset: int | None) -> Any:
        if name is None and offset is None:
            return None
        if fixed and (offset is None or name not in (None, "UTC", "GMT", "Z")):
            raise ValueError("a zone of unknown offset")
        return UTC if offset is None else _make_zone(offset)

    if fixed and _SIGNED_GMT.search(text):
        return None
    try:
        first, second = (
            dateutil_parser.parse(text, default=default, tzinfos=read_zone)
            for default in (datetime(2000, 1, 1), datetime(2001, 2, 2))
        )
    except (ValueError, OverflowError, TypeError):
        return None
    return first if first == second else None


def _make_zone(offset_s: int) -> timezone:
    return timezone(datetime.fromtimestamp(offset_s, UTC) - datetime.fromtimestamp(0, UTC))


def format_url(value: Any) -> dict[str, str] | None:
    """{"url": ...}, with its "description" where there is one."""
    if isinstance(value, str):
        return {"url": value.strip()} if value.strip() else None
    if isinstance(value, dict) and isinstance(value.get("url"), str | None):
        url = (value.get("url") or "").strip()
        if not url:
            return None
        description = value.get("description") or value.get("label")
        return {"url": url, "description": str(description)} if description else {"url": url}
    raise Unfit("a url column takes an address")


def format_phone(value: Any) -> dict[str, str] | None:
    """{"phone_number": ...}, with its "phone_type" where there is one."""
    if isinstance(value, dict) and isinstance(value.get("phone_number"), str):
        return {name: str(value[name]) for name in ("phone_number", "phone_type") if value.get(name)} or None
    text = format_text(value)
    return {"phone_number": text} if text else None


FORMATTERS: dict[str, Formatter] = {
    "text": format_text,
    "number": format_number,
    "money": format_number,
    "percent": format_number,
    "stars": format_number,
    "double": format_number,
    "checkbox": format_checkbox,
    "calendar_date": format_calendar_date,
    "date": format_fixed_date,
    "point": format_point,
    "multipoint": format_multipoint,
    "location": format_location,
    "line": make_geometry_formatter("line", "LineString", 1),
    "multiline": make_geometry_formatter("multiline", "MultiLineString", 2),
    "polygon": make_geometry_formatter("polygon", "Polygon", 2),
    "multipolygon": make_geometry_formatter("multipolygon", "MultiPolygon", 3),
    "url": format_url,
    "phone": format_phone,
    "json": format_json,
}
GEO_TYPES = frozenset({"point", "multipoint", "location"})
NUMBER_TYPES = frozenset({"number", "money", "percent", "stars", "double"})


def find_formatter(column_type: str) -> Formatter:
    """The formatter of a column type; the types that Socrata has given up take text."""
    return FORMATTERS.get(column_type, format_text)


def format_key(value: Any, column_type: str) -> str:
    """A row identifier's one spelling, whether it is about to be sent or was read back.

    Socrata gives numbers back as strings of its own spelling: 7, 7.0 and "7.00" are one key. It strips NUL
    characters from text.
    """
    if column_type not in NUMBER_TYPES:
        return str(value).replace("\0", "")
    if type(value) is int:
        return str(value)
    try:
        number = Decimal(str(value)).normalize(_EXACT)
    except InvalidOperation:
        return str(value)
    if not number:
        return "0"
    return f"{number:f}" if abs(number.adjusted()) < 50 else str(number)


def _name_kind(value: Any) -> str:
    kinds = ((bool, "yes or no"), (int | float, "a number"), (str, "text"), (dict, "an object"))
    for kind, name in kinds:
        if isinstance(value, kind):
            return name
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
