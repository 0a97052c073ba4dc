"""What each column type takes, keeps and gives back: the strict rules of Socrata's storage.

A *reader* is compiled once per column. It takes a JSON value (never null) and gives the value as
readers of the dataset will see it: numbers as plain decimal strings, dates in canonical form, geometry
as GeoJSON. None means that the value was lost without an error. ValueError means that the whole request
is to be refused.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Reader = Callable[[Any], Any]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_DATE = r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?"
_TIME = r"([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?"
_FLOATING = re.compile(f"{_DATE}(?:T(?:{_TIME})?)?")
_FIXED = re.compile(f"{_DATE}(?:T(?:{_TIME})?(Z|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)?)?")
_LOCATION = re.compile(
    r"(?P<address>[\s\S]*?)\(\s*(?P<latitude>[+-]?[0-9.]+)\s*,\s*(?P<longitude>[+-]?[0-9.]+)\s*\)\s*"
)
_WKT = re.compile(r"\s*([A-Za-z]+|[(),]|[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")

# Column type: (GeoJSON kind, depth of lists around a position).
GEOMETRIES = {
    "point": ("Point", 0),
    "multipoint": ("MultiPoint", 1),
    "line": ("LineString", 1),
    "multiline": ("MultiLineString", 2),
    "polygon": ("Polygon", 2),
    "multipolygon": ("MultiPolygon", 3),
}
TEXTS = frozenset({"text", "email", "flag", "drop_down_list", "photo"})
NUMBERS = frozenset({"number", "money", "stars", "percent", "double"})
OBJECTS = frozenset({*GEOMETRIES, "location", "url", "phone", "document"})
TYPES = frozenset({*OBJECTS, *TEXTS, *NUMBERS, "checkbox", "calendar_date", "date"})


def compile_reader(type_name: str, *, lenient: bool = False) -> Reader:
    """The reader of a column type.

    lenient: also take what the front tier may take though storage does not: "true" for a checkbox, ""
    for no number, a bare string for a url.
    Raises: ValueError for a type that does not exist.
    """
    if type_name in TEXTS:
        return read_text
    if type_name in NUMBERS:
        return (lambda value: None if value == "" else read_number(value)) if lenient else read_number
    if type_name == "checkbox":
        return _read_any_checkbox if lenient else read_checkbox
    if type_name == "calendar_date":
        return read_calendar_date
    if type_name == "date":
        return read_date
    if type_name in GEOMETRIES:
        kind, depth = GEOMETRIES[type_name]
        return lambda value: read_geometry(value, kind, depth)
    if type_name == "location":
        return read_location
    if type_name == "url":
        if lenient:
            return lambda value: {"url": value} if isinstance(value, str) else _read_url(value)
        return _read_url
    if type_name == "phone":
        return lambda value: _read_parts(value, "phone_number", "phone_type")
    if type_name == "document":
        return lambda value: _read_parts(value, "file_id", "content_type", "filename")
    raise ValueError(f"no column type {type_name!r}; there are {', '.join(sorted(TYPES))}")


def compile_csv_reader(type_name: str, *, lenient: bool = False) -> Reader:
    """The reader of a column type for the text of a CSV cell (never empty: that is null)."""
    if type_name == "checkbox":
        return _read_any_checkbox
    if type_name in ("url", "phone", "document"):
        first = {"url": "url", "phone": "phone_number", "document": "file_id"}[type_name]
        return lambda text: {first: text.replace("\0", "")}
    return compile_reader(type_name, lenient=lenient)


def read_text(value: Any) -> str:
    """Strings without NUL characters; a number is turned into a string."""
    if type(value) is str:
        return value.replace("\0", "") if "\0" in value else value
    if type(value) is int or type(value) is Decimal:
        return str(value)
    raise ValueError


def read_number(value: Any) -> str:
    """A number or decimal string, as a plain decimal string."""
    if type(value) is int:
        return str(value)
    if type(value) is str:
        if value.isascii() and value.isdigit():
            return str(Decimal(value)) if value[0] == "0" else value
        if _NUMBER.fullmatch(value) is None:
            raise ValueError
        return format(Decimal(value), "f")
    if type(value) is Decimal and abs(value.adjusted()) < 1000:
        return format(value, "f")
    raise ValueError


def read_checkbox(value: Any) -> bool:
    """true or false, nothing else."""
    if value is True or value is False:
        return value
    raise ValueError


def _read_any_checkbox(value: Any) -> bool:
    if type(value) is str and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    return read_checkbox(value)


def read_calendar_date(value: Any) -> str:
    """A local date or date and time; anything with a zone is refused."""
    if type(value) is str and len(value) == 19 and _is_canonical(value):
        return value + ".000"
    match = _FLOATING.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ValueError
    return _build_datetime(match.groups()).isoformat(timespec="milliseconds")


def _is_canonical(text: str) -> bool:
    """Whether a text of 19 characters is a date and time, the quick way: most are."""
    if text[4] != "-" or text[7] != "-" or text[10] != "T" or text[13] != ":" or text[16] != ":":
        return False
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return text[11:13] != "24"


def read_date(value: Any) -> str:
    """A date and time with an offset (none: UTC), given back in UTC."""
    match = _FIXED.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ValueError
    *parts, offset = match.groups()
    moment = _build_datetime(parts)
    if offset and offset != "Z":
        hours, minutes = int(offset[1:3]), int(offset[-2:]) if len(offset) > 3 else 0
        if hours > 23 or minutes > 59:
            raise ValueError
        shift = dt.timedelta(hours=hours, minutes=minutes)
        try:
            moment = moment + shift if offset[0] == "-" else moment - shift
        except OverflowError:
            raise ValueError from None
    return moment.isoformat(timespec="milliseconds") + "Z"


def _build_datetime(parts: Any) -> dt.datetime:
    year, month, day, hour, minute, second, fraction = parts
    return dt.datetime(
        int(year),
        int(month or 1),
        int(day or 1),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        int((fraction or "0")[:3].ljust(3, "0")) * 1000,
    )


def read_geometry(value: Any, kind: str, depth: int) -> dict[str, Any]:
    """GeoJSON or WKT of exactly this kind. Longitude and latitude are not told apart."""
    if type(value) is str:
        return {"type": kind, "coordinates": _read_wkt(value, kind)}
    if type(value) is not dict or value.get("type") != kind:
        raise ValueError
    return {"type": kind, "coordinates": _read_coordinates(value.get("coordinates"), kind, depth)}


def _read_coordinates(value: Any, kind: str, depth: int) -> list[Any]:
    if type(value) is not list or not value:
        raise ValueError
    if depth == 0:
        if not 2 <= len(value) <= 4:
            raise ValueError
        return [_read_coordinate(number) for number in value]
    inner = [_read_coordinates(part, kind, depth - 1) for part in value]
    if depth == 1 and kind in ("LineString", "MultiLineString") and len(inner) < 2:
        raise ValueError
    if depth == 1 and "Polygon" in kind and (len(inner) < 4 or inner[0] != inner[-1]):
        raise ValueError
    return inner


def _read_coordinate(value: Any) -> float:
    if type(value) not in (int, float, Decimal):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _read_wkt(text: str, kind: str) -> list[Any]:
    tokens: list[str] = []
    end = 0
    while match := _WKT.match(text, end):
        tokens.append(match[1])
        end = match.end()
    if text[end:].strip() or not tokens or tokens[0].upper() != kind.upper():
        raise ValueError
    value, rest = _read_wkt_list(tokens[1:])
    if rest:
        raise ValueError
    if kind == "Point":
        value = value[0] if len(value) == 1 else []
    if kind == "MultiPoint":
        # Both MULTIPOINT (1 2, 3 4) and MULTIPOINT ((1 2), (3 4)) are well-known text.
        value = [part[0] if part and type(part[0]) is list else part for part in value]
    return _read_coordinates(value, kind, next(d for k, d in GEOMETRIES.values() if k == kind))


def _read_wkt_list(tokens: list[str]) -> tuple[list[Any], list[str]]:
    if not tokens or tokens[0] != "(":
        raise ValueError
    parts: list[Any] = []
    rest = tokens
    while rest and rest[0] in "(,":
        rest = rest[1:]
        if rest and rest[0] == "(":
            part, rest = _read_wkt_list(rest)
        else:
            part = []
            while rest and rest[0] not in "(),":
                part.append(float(rest[0]))
                rest = rest[1:]
        parts.append(part)
    if not rest or rest[0] != ")":
        raise ValueError
    return parts, rest[1:]


def read_location(value: Any) -> dict[str, str] | None:
    """A legacy location: an object, or "(lat, lon)" after an optional address. Unreadable: null."""
    if type(value) is str:
        return _read_location_text(value)
    if type(value) is not dict:
        return None
    location: dict[str, str] = {}
    for name in ("latitude", "longitude"):
        part = value.get(name)
        if type(part) in (int, Decimal):
            location[name] = read_number(part)
        elif type(part) is str:
            if _NUMBER.fullmatch(part):
                location[name] = read_number(part)
        elif part is not None:
            return None
    address = value.get("human_address")
    if type(address) is dict:
        location["human_address"] = json.dumps(address, default=str)
    elif type(address) is str:
        location["human_address"] = address.replace("\0", "")
    elif address is not None:
        return None
    return location or None


def _read_location_text(text: str) -> dict[str, str] | None:
    match = _LOCATION.fullmatch(text)
    if match is None or not _NUMBER.fullmatch(match["latitude"]) or not _NUMBER.fullmatch(match["longitude"]):
        return None
    location = {"latitude": read_number(match["latitude"]), "longitude": read_number(match["longitude"])}
    street, _, rest = match["address"].strip().partition("\n")
    if street:
        city, _, state = rest.partition(",")
        state, _, code = state.strip().partition(" ")
        parts = {"address": street.strip(), "city": city.strip(), "state": state, "zip": code.strip()}
        location["human_address"] = json.dumps(parts)
    return location


def _read_url(value: Any) -> dict[str, str] | None:
    return _read_parts(value, "url", "description")


def _read_parts(value: Any, *names: str) -> dict[str, str] | None:
    """An object of optional strings; unreadable: null."""
    if type(value) is not dict:
        return None
    parts = {name: value[name] for name in names if value.get(name) is not None}
    if not all(type(part) is str for part in parts.values()):
        return None
    return {name: part.replace("\0", "") for name, part in parts.items()} or None


def format_cell(value: Any) -> str:
    """A value as it stands in a CSV answer."""
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if type(value) is dict:
        if "coordinates" in value:
            return f"{value['type'].upper()} {_format_wkt(value['coordinates'])}"
        if "latitude" in value and "longitude" in value:
            return f"({value['latitude']}, {value['longitude']})"
        if "url" in value:
            text = value.get("description")
            return f"{text} ({value['url']})" if text else str(value["url"])
        return json.dumps(value)
    return str(value)


def _format_wkt(coordinates: list[Any]) -> str:
    if type(coordinates[0]) is not list:
        return f"({' '.join(f'{number:.15g}' for number in coordinates)})"
    inner = [_format_wkt(part) for part in coordinates]
    if type(coordinates[0][0]) is not list:
        inner = [part[1:-1] for part in inner]
    return f"({', '.join(inner)})"
