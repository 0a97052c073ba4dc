"""What one value of a submission means: a function for each field, made once for its type.

The feed gives texts as sent, numbers through floating point, yes and no as the texts "true" and "false", the choices
of a select-multiple with spaces between, places as GeoJSON. Documents keep the shape of the form's version
at the time they were loaded: a group may be a field today, a number a text. Odd values never raise:

    the field, or a group on the way to it, is not in the record     None
    an object or a list where a single value belongs                 None
    a number or yes/no in a text field                               its text, as the feed gives it today
    a text in a number or yes/no field                               the text; whoever takes it decides
    a place that is no GeoJSON of the field's kind                   None
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

Record = Mapping[str, Any]
Reader = Callable[[Record], Any]
Convert = Callable[[Any], Any]

# Types whose values are places, by the geometry that they give.
PLACES = {"geopoint": "Point", "geotrace": "LineString", "geoshape": "Polygon"}


def build_reader(path: Sequence[str], type_: str, select_multiple: bool = False) -> Reader:
    """A function that gives a field's value out of a record, or of a row of a repeat.

    path: the names to walk. The value is
        text, date, time, date and time, file      text as sent
        int, decimal                               a number
        boolean                                    True or False
        select-multiple                            the choices joined by ", "
        geopoint                                   {"latitude", "longitude"} in degrees (WGS84)
        geotrace, geoshape                         a GeoJSON LineString; a Polygon, its rings closed
    """
    convert = _join_choices if select_multiple else _CONVERTERS.get(type_, _read_text)
    *groups, name = path
    if not groups:
        return lambda record: convert(record.get(name))

    def read(record: Record) -> Any:
        inner: Any = record
        for group in groups:
            inner = inner.get(group)
            if not isinstance(inner, dict):
                return None
        return convert(inner.get(name))

    return read


def _read_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    return None


def _read_number(value: Any) -> int | float | str | None:
    if isinstance(value, str):
        return value.strip() or None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read_boolean(value: Any) -> bool | str | None:
    if isinstance(value, bool):
        return value
    text = _read_text(value)
    return {"true": True, "1": True, "false": False, "0": False}.get(text.strip(), text) if text else None


def _join_choices(value: Any) -> str | None:
    text = _read_text(value)
    return ", ".join(text.split()) or None if text else None


def _read_point(value: Any) -> dict[str, float] | None:
    coordinates = _find_coordinates(value, "geopoint")
    if not _is_position(coordinates):
        return None
    return {"latitude": coordinates[1], "longitude": coordinates[0]}


def _read_trace(value: Any) -> dict[str, Any] | None:
    coordinates = _find_coordinates(value, "geotrace")
    if not _are_positions(coordinates):
        return None
    return {"type": "LineString", "coordinates": coordinates}


def _read_shape(value: Any) -> dict[str, Any] | None:
    coordinates = _find_coordinates(value, "geoshape")
    if not (isinstance(coordinates, list) and coordinates and all(map(_are_positions, coordinates))):
        return None
    # Altitude does not count: where the walk ends is where it began.
    rings = [ring if ring[0][:2] == ring[-1][:2] else [*ring, ring[0]] for ring in coordinates]
    return {"type": "Polygon", "coordinates": rings}


def _find_coordinates(value: Any, type_: str) -> Any:
    return (
        value.get("coordinates") if isinstance(value, dict) and value.get("type") == PLACES[type_] else None
    )


def _are_positions(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_position, value))


def _is_position(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(part, int | float) and not isinstance(part, bool) for part in value)
    )


_CONVERTERS: dict[str, Convert] = {
    "int": _read_number,
    "decimal": _read_number,
    "boolean": _read_boolean,
    "geopoint": _read_point,
    "geotrace": _read_trace,
    "geoshape": _read_shape,
}
