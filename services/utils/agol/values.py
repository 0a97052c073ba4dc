"""One value of a row as one layer field takes it; a value that does not fit is refused, never bent.

Field types and ranges: ArcGIS REST API, "Field data types". Reasons name rules, never values.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec
from dateutil.parser import isoparse

from services.utils.agol.layer import LayerField

Convert = Callable[[Any], Any]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_WALL_EPOCH = dt.datetime(1970, 1, 1)
_MILLISECOND = dt.timedelta(milliseconds=1)
# ArcGIS keeps big integers within what a double holds exactly.
INTEGER_RANGES = {
    "SmallInteger": (-(2**15), 2**15 - 1),
    "Integer": (-(2**31), 2**31 - 1),
    "BigInteger": (-(2**53 - 1), 2**53 - 1),
}
FLOAT_LIMITS = {"Single": 3.4028234663852886e38, "Double": 1.7976931348623157e308}
UNSENDABLE = frozenset({"OID", "GlobalID", "Geometry", "Blob", "Raster", "XML"})

# As a tuple: `int | float` is made anew each time that it is looked at.
_NUMBERS = (int, float, Decimal)
_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][-+]?\d{1,3})?")
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_OFFSET = re.compile(r"([-+])([01][0-9]|2[0-3]):([0-5][0-9])")
_GUID = re.compile(r"\{?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)(:[0-5]\d)?(?:\.\d+)?(?:Z|[-+]\d\d(?::?\d\d)?)?")

_BREAKS = "br|hr"
_BLOCKS = "p|div|li|ul|ol|tr|table|h[1-6]|blockquote|pre|section|article|header|footer|dl|dt|dd"
_INLINE = (
    "a|abbr|b|big|body|button|caption|center|cite|code|col|em|embed|font|form|frame|head|html|i|iframe|img|"
    "input|ins|del|label|link|map|meta|nav|object|option|q|s|samp|script|select|small|span|strike|strong|"
    "style|sub|sup|svg|tbody|td|textarea|tfoot|th|thead|title|tt|u|video|audio|source"
)
_REST_OF_TAG = r"(?=[\s/>])(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>"
_NEW_LINE = re.compile(rf"<(?:/?(?:{_BREAKS})|/(?:{_BLOCKS})){_REST_OF_TAG}", re.IGNORECASE)
_CELL = re.compile(rf"</(?:td|th){_REST_OF_TAG}", re.IGNORECASE)
_TAG = re.compile(
    rf"</?(?:{_BREAKS}|{_BLOCKS}|{_INLINE}){_REST_OF_TAG}|<!--.*?-->", re.IGNORECASE | re.DOTALL
)


class Unfit(ValueError):
    """A value that its field cannot take. The text is the rule, without the value."""


def compile_converter(field: LayerField, *, guard_html: bool = True) -> Convert:
    """A function from a row's value to what `field` is sent; it raises Unfit.

    Null, empty and blank text, and empty lists are null; null is unfit where the field is not nullable.
    What each type takes and gives:
        String: text as it is; True and False are "Yes" and "No"; numbers as text; lists joined by ", ";
            dicts as JSON. Longer than the field (in UTF-16 units) is unfit, never cut. guard_html: see
            `clean_html`.
        SmallInteger, Integer, BigInteger: whole numbers in range, also as text ("1,234"); True is 1.
        Single, Double: finite numbers, also as text.
        Date: milliseconds since 1970, UTC. Text must be ISO-8601 with an offset; a date alone is its
            midnight in UTC. A time without a zone is unfit: nobody knows when it was.
        DateOnly, TimeOnly, TimestampOffset, GUID: their text forms.
    """
    careful = compile_careful_converter(field, guard_html=guard_html)
    if field.type in INTEGER_RANGES:
        return _compile_quick_integer(careful, *INTEGER_RANGES[field.type])
    if field.type in FLOAT_LIMITS:
        return _compile_quick_float(careful, FLOAT_LIMITS[field.type])
    if field.type == "Date":
        return _compile_quick_date(careful)
    if field.type not in _INNER:
        return _compile_quick_text(careful, field.length, guard_html)
    return careful


def compile_careful_converter(field: LayerField, *, guard_html: bool = True) -> Convert:
    """What `compile_converter` gives, without the short cut that it has for each type's usual values."""
    inner = _INNER.get(field.type, _convert_text)
    if field.type in INTEGER_RANGES:
        inner = _compile_integer(*INTEGER_RANGES[field.type])
    elif field.type in FLOAT_LIMITS:
        inner = _compile_float(FLOAT_LIMITS[field.type])
    elif inner is _convert_text:
        inner = _compile_text(field.length, guard_html)
    nullable = field.nullable

    def convert(value: Any) -> Any:
        if not value and (value is None or value == "" or value == [] or value == {}):
            out = None
        else:
            out = inner(value)
        if out is None and not nullable:
            raise Unfit("may not be empty")
        return out

    return convert


def _compile_quick_text(careful: Convert, length: int, guard_html: bool) -> Convert:
    most = length or sys.maxsize

    def convert(value: Any) -> Any:
        if (
            type(value) is str
            and value.isascii()
            and len(value) <= most
            and not (guard_html and "<" in value)
            and value
            and not value.isspace()
        ):
            return value
        return careful(value)

    return convert


def _compile_quick_integer(careful: Convert, low: int, high: int) -> Convert:
    def convert(value: Any) -> Any:
        kind = type(value)
        if kind is int and low <= value <= high:
            return value
        return int(value) if kind is bool else careful(value)

    return convert


def _compile_quick_float(careful: Convert, limit: float) -> Convert:
    def convert(value: Any) -> Any:
        kind = type(value)
        if kind is float or kind is int:
            if -limit <= value <= limit:
                return float(value)
        elif kind is str and _PLAIN_NUMBER.fullmatch(value):
            return float(value)
        return careful(value)

    return convert


def _compile_quick_date(careful: Convert) -> Convert:
    def convert(value: Any) -> Any:
        # "2024-01-02T03:04:05-06:00": days and seconds by themselves, as times with a zone are slow to subtract.
        if type(value) is str and len(value) == 25:
            offset_ms = _read_offset(value[19:])
            try:
                wall = dt.datetime.fromisoformat(value[:19])
            except ValueError:
                return careful(value)
            if offset_ms is not None and wall.tzinfo is None:
                since = wall - _WALL_EPOCH
                return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000 - offset_ms
        return careful(value)

    return convert


@lru_cache(1024)
def _read_offset(text: str) -> int | None:
    """Milliseconds of "-06:00"; None where the text is no offset."""
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    return (-60_000 if found[1] == "-" else 60_000) * minutes


def clean_html(text: str) -> str:
    """Text that the server's HTML guard lets through.

    The guard (`xssInputRule: rejectInvalid`, the default) refuses a whole request for one value with
    "<...>" in it. So known HTML tags are taken out (line breaks and ends of paragraphs become new lines,
    ends of table cells spaces),
    and where "<" and ">" then still both occur, both characters are removed wherever they stand, as
    "<Null>" alone is enough to be refused. A lone "<" or ">" stays.
    """
    if "<" not in text:
        return text
    cleaned = _TAG.sub("", _CELL.sub(" ", _NEW_LINE.sub("\n", text)))
    if cleaned != text:
        cleaned = cleaned.strip()
    if "<" in cleaned and ">" in cleaned:
        cleaned = cleaned.replace("<", "").replace(">", "")
    return cleaned


def count_utf16(text: str) -> int:
    """Length as ArcGIS counts it: an emoji is two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _format_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unfit("is not a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int | Decimal):
        return str(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    if isinstance(value, Iterable):
        return ", ".join(part for part in map(_format_text, value) if part.strip())
    raise Unfit("is of a kind that has no text")


def _convert_text(value: Any) -> str | None:
    text = _format_text(value)
    return text if text.strip() else None


def _compile_text(length: int, guard_html: bool) -> Convert:
    def convert(value: Any) -> str | None:
        text = value if isinstance(value, str) else _format_text(value)
        if guard_html and "<" in text:
            text = clean_html(text)
        if not text or text.isspace():
            return None
        try:
            units = len(text) if text.isascii() else count_utf16(text)
        except UnicodeEncodeError:
            raise Unfit("holds half of a character (a lone surrogate)") from None
        if length and units > length:
            raise Unfit(f"has {units} characters, the field takes {length}")
        return text

    return convert


def _parse_number(value: Any) -> int | float | Decimal | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, _NUMBERS):
        return value
    if not isinstance(value, str):
        raise Unfit("is not a number")
    text = value.strip()
    if not text:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise Unfit("is not a number")
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        raise Unfit("is not a number") from None


def _compile_integer(low: int, high: int) -> Convert:
    def convert(value: Any) -> int | None:
        number = _parse_number(value)
        if number is None:
            return None
        if not math.isfinite(number):
            raise Unfit("is not a finite number")
        whole = int(number)
        if whole != number:
            raise Unfit("has decimals, the field takes whole numbers")
        if not low <= whole <= high:
            raise Unfit(f"is outside of {low} to {high}")
        return whole

    return convert


def _compile_float(limit: float) -> Convert:
    def convert(value: Any) -> float | None:
        number = _parse_number(value)
        if number is None:
            return None
        try:
            real = float(number)
        except OverflowError:
            raise Unfit(f"is beyond {limit:g}") from None
        if not math.isfinite(real):
            raise Unfit("is not a finite number")
        if abs(real) > limit:
            raise Unfit(f"is beyond {limit:g}")
        return real

    return convert


def parse_moment(value: Any) -> dt.datetime | None:
    """A moment with its offset; None for blank text. Raises: Unfit."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if _DATE.fullmatch(text):
            text += "T00:00:00+00:00"
        try:
            value = dt.datetime.fromisoformat(text)
        except ValueError:
            try:
                value = isoparse(text)
            except ValueError:
                raise Unfit("is not an ISO-8601 date") from None
    elif isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if not isinstance(value, dt.datetime):
        raise Unfit("is not a date")
    if value.utcoffset() is None:
        raise Unfit("is a time without a zone")
    return value


def _convert_date(value: Any) -> int | None:
    moment = parse_moment(value)
    return None if moment is None else (moment - EPOCH) // _MILLISECOND


def _convert_date_only(value: Any) -> str | None:
    """The day as it is written, in the zone that it is written in."""
    moment = parse_moment(value)
    return None if moment is None else moment.date().isoformat()


def _convert_timestamp(value: Any) -> str | None:
    moment = parse_moment(value)
    return None if moment is None else moment.isoformat()


def _convert_time_only(value: Any) -> str | None:
    """The time of day as it is written, in the zone that it is written in, in whole seconds."""
    if isinstance(value, dt.time):
        return value.isoformat(timespec="seconds")
    if not isinstance(value, str):
        raise Unfit("is not a time of day")
    text = value.strip()
    if not text:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise Unfit("is not a time of day (hh:mm:ss)")
    return found[1] + (found[2] or ":00")


def _convert_guid(value: Any) -> str | None:
    text = str(value).strip()
    if not text:
        return None
    match = _GUID.fullmatch(text)
    if match is None:
        raise Unfit("is not a GUID")
    return match[1]


_INNER: dict[str, Convert] = {
    "Date": _convert_date,
    "DateOnly": _convert_date_only,
    "TimeOnly": _convert_time_only,
    "TimestampOffset": _convert_timestamp,
    "GUID": _convert_guid,
}
