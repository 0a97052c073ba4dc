"""How a text from XML looks in the feed, by the field's type."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_INT = re.compile(r"\s*([+-]?\d+)")
_DECIMAL = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_SHORT_OFFSET = re.compile(r"[+-]\d\d$")


def read_value(kind: str, text: str, wkt: bool) -> Any:
    """The JSON value of a text; "" and what cannot be read is None."""
    if text == "":
        return None
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(text)
    if kind in _PLACES:
        place = _PLACES[kind](text)
        return write_wkt(place) if wkt and place is not None else place
    return text


def read_int(text: str) -> int | float | None:
    """As JavaScript's parseInt: the leading digits, through a double."""
    found = _INT.match(text)
    return None if found is None else to_number(float(found[1]))


def read_decimal(text: str) -> int | float | None:
    """As JavaScript's parseFloat."""
    found = _DECIMAL.match(text)
    return None if found is None else to_number(float(found[1]))


def to_number(value: float) -> int | float | None:
    """A double as JSON.stringify prints it: whole ones without a point, infinite ones as null."""
    if value in (float("inf"), float("-inf")):
        return None
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def read_date_time(text: str) -> str:
    """The text, with a whole offset: `+07` becomes `+07:00`."""
    return text + ":00" if "T" in text and _SHORT_OFFSET.search(text) else text


def read_point(text: str) -> dict[str, Any] | None:
    """`latitude longitude [altitude [accuracy]]` as GeoJSON."""
    position, accuracy = _read_position(text)
    if position is None:
        return None
    point: dict[str, Any] = {"type": "Point", "coordinates": position}
    if accuracy is not None:
        point["properties"] = {"accuracy": accuracy}
    return point


def read_trace(text: str) -> dict[str, Any] | None:
    """Positions with semicolons between as a GeoJSON line."""
    positions = _read_positions(text)
    return None if positions is None else {"type": "LineString", "coordinates": positions}


def read_shape(text: str) -> dict[str, Any] | None:
    """Positions with semicolons between as a GeoJSON polygon."""
    positions = _read_positions(text)
    return None if positions is None else {"type": "Polygon", "coordinates": [positions]}


def _read_positions(text: str) -> list[list[int | float]] | None:
    positions = [_read_position(part)[0] for part in text.strip().strip(";").split(";")]
    found = [position for position in positions if position is not None]
    return found if len(found) == len(positions) and len(found) > 1 else None


def _read_position(text: str) -> tuple[list[int | float] | None, int | float | None]:
    numbers = [read_decimal(part) for part in text.split()]
    if len(numbers) < 2 or numbers[0] is None or numbers[1] is None:
        return None, None
    position = [numbers[1], numbers[0]]
    if len(numbers) > 2 and numbers[2] is not None:
        position.append(numbers[2])
    return position, numbers[3] if len(numbers) > 3 else None


def write_wkt(place: dict[str, Any]) -> str:
    """A GeoJSON place as well-known text; its accuracy is lost."""
    coordinates = place["coordinates"]
    if place["type"] == "Point":
        return f"POINT ({_write_position(coordinates)})"
    if place["type"] == "LineString":
        return f"LINESTRING ({','.join(map(_write_position, coordinates))})"
    return f"POLYGON (({','.join(map(_write_position, coordinates[0]))}))"


def _write_position(position: list[int | float]) -> str:
    return " ".join(repr(number) for number in position)


_READERS: dict[str, Callable[[str], Any]] = {
    "int": read_int,
    "decimal": read_decimal,
    "dateTime": read_date_time,
}
_PLACES: dict[str, Callable[[str], dict[str, Any] | None]] = {
    "geopoint": read_point,
    "geotrace": read_trace,
    "geoshape": read_shape,
}
