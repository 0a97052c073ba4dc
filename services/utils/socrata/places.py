"""Places as Socrata columns take them: points from latitude and longitude, lines and polygons from GeoJSON.

Each formatter is as those in `values`. Source: contract of the writing API, "Values"; soda-fountain,
wiremodels/JsonColumnRep.scala.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from services.utils.socrata.unfit import Unfit

_WKT_POINT = re.compile(r"\s*POINT\s*\(\s*(\S+)\s+(\S+)\s*\)\s*", re.IGNORECASE)


def format_point(value: Any) -> dict[str, Any] | None:
    """A GeoJSON Point from {"latitude", "longitude"} (or a list of one), GeoJSON or "POINT (lon lat)"."""
    pairs = _read_places(value, "Point")
    if not pairs:
        return None
    if len(pairs) > 1:
        raise Unfit("a point column takes one place, there are several")
    return {"type": "Point", "coordinates": pairs[0]}


def format_multipoint(value: Any) -> dict[str, Any] | None:
    """A GeoJSON MultiPoint from one {"latitude", "longitude"}, a list of them, or GeoJSON."""
    pairs = _read_places(value, "MultiPoint")
    return {"type": "MultiPoint", "coordinates": pairs} if pairs else None


def format_location(value: Any) -> dict[str, Any] | None:
    """{"latitude", "longitude"} and, where there are address parts, "human_address" (JSON in a string)."""
    pairs = _read_places(value, "Point")
    if not pairs:
        return None
    if len(pairs) > 1:
        raise Unfit("a location column takes one place, there are several")
    (longitude, latitude) = pairs[0]
    location: dict[str, Any] = {"latitude": latitude, "longitude": longitude}
    places = [value] if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    place = next((p for p in places if isinstance(p, dict) and not _is_blank(p.get("latitude"))), {})
    if isinstance(place.get("human_address"), str):
        location["human_address"] = place["human_address"]
    else:
        parts = {
            "address": place.get("street"),
            "city": place.get("city"),
            "state": place.get("state"),
            "zip": place.get("zip"),
        }
        if any(parts.values()):
            location["human_address"] = msgspec.json.encode(
                {n: str(p or "") for n, p in parts.items()}
            ).decode()
    return location


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read_places(value: Any, geometry: str) -> list[list[float]]:
    """[longitude, latitude] of each place; places without coordinates are left out."""
    if isinstance(value, list | tuple):
        return [pair for part in value if part is not None for pair in _read_places(part, geometry)]
    if isinstance(value, dict):
        if "type" in value and "coordinates" in value:
            return _read_geojson_points(value, geometry)
        latitude, longitude = value.get("latitude"), value.get("longitude")
        if _is_blank(latitude) and _is_blank(longitude):
            return []
        return [_read_pair(longitude, latitude)]
    if isinstance(value, str):
        if not value.strip():
            return []
        found = _WKT_POINT.fullmatch(value)
        if found is not None:
            return [_read_pair(found[1], found[2])]
    raise Unfit('a place is {"latitude": ..., "longitude": ...} or a list of those')


def _read_geojson_points(value: dict[str, Any], geometry: str) -> list[list[float]]:
    coordinates = value["coordinates"]
    if not isinstance(coordinates, list | tuple):
        raise Unfit("a GeoJSON geometry has a list of coordinates")
    if value["type"] == "Point":
        coordinates = [coordinates]
    elif value["type"] != geometry:
        raise Unfit(f"the column takes a GeoJSON {geometry}, not another geometry")
    for pair in coordinates:
        if not isinstance(pair, list | tuple) or len(pair) < 2:
            raise Unfit("a position is a longitude and a latitude")
    return [_read_pair(pair[0], pair[1]) for pair in coordinates]


def _read_pair(longitude: Any, latitude: Any) -> list[float]:
    return [_read_degrees(longitude, 180, "longitude"), _read_degrees(latitude, 90, "latitude")]


def _read_degrees(value: Any, limit: int, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise Unfit(f"the {name} is no number")
    try:
        degrees = float(value)
    except (ValueError, OverflowError) as error:
        raise Unfit(f"the {name} is no number") from error
    # Socrata takes swapped or impossible coordinates without a word; nan fails the comparison too.
    if not -limit <= degrees <= limit:
        raise Unfit(f"the {name} is not within {limit} degrees")
    return degrees


def make_geometry_formatter(column_type: str, geometry: str, depth: int) -> Callable[[Any], Any]:
    """The formatter of a column of lines or polygons; depth: of the lists around its positions.

    A column that takes several (Multi...) takes a single one too, as one of several.
    """
    single = geometry.removeprefix("Multi")

    def format_geometry(value: Any) -> dict[str, Any] | None:
        """A GeoJSON geometry of the column's kind, each position a longitude and a latitude."""
        if isinstance(value, str) and not value.strip():
            return None
        if not isinstance(value, dict) or value.get("type") not in (geometry, single):
            raise Unfit(f"a {column_type} column takes a GeoJSON {geometry}")
        coordinates = value.get("coordinates")
        if not isinstance(coordinates, list):
            raise Unfit("a GeoJSON geometry has a list of coordinates")
        if not coordinates:
            return None
        if value["type"] != geometry:
            coordinates = [coordinates]
        return {"type": geometry, "coordinates": _read_lines(coordinates, depth, single)}

    return format_geometry


def _read_lines(coordinates: Any, depth: int, single: str) -> list[Any]:
    if not isinstance(coordinates, list):
        raise Unfit("a GeoJSON geometry has lists of positions")
    if depth > 1:
        return [_read_lines(part, depth - 1, single) for part in coordinates]
    line = []
    for position in coordinates:
        if not isinstance(position, list) or len(position) < 2:
            raise Unfit("a position is a longitude and a latitude")
        line.append(_read_pair(position[0], position[1]))
    if len(line) < 2:
        raise Unfit("a line has two positions or more")
    if single == "Polygon" and (len(line) < 4 or line[0] != line[-1]):
        raise Unfit("a polygon's ring has four positions or more and ends where it begins")
    return line
