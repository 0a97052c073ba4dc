"""Places as geometry: points from latitude and longitude, lines and polygons from GeoJSON, all in degrees (WGS84).

Source: ArcGIS REST API, "Geometry objects": outer rings run clockwise, holes the other way, which GeoJSON leaves open
or has the other way round; altitudes are left out, as layers take none unless they were made for it.
"""

from __future__ import annotations

import math
from typing import Any

from services.utils.agol.values import Unfit

WGS84 = {"wkid": 4326}
_NUMERIC = (int, float, str)

Line = list[list[float]]


def build_geometry(value: Any, place: str) -> dict[str, Any] | None:
    """A geometry object of a layer's kind, None for an empty place.

    Args:
        value: point and multipoint: see `build_points`; polyline: a GeoJSON LineString or MultiLineString; polygon:
            a GeoJSON Polygon or MultiPolygon.
        place: "point", "multipoint", "polyline" or "polygon".
    Raises: Unfit if the value is of another kind, or a coordinate cannot be.
    """
    if place in ("polyline", "polygon"):
        name, build = ("paths", build_paths) if place == "polyline" else ("rings", build_rings)
        parts = build(value)
        return {name: parts, "spatialReference": WGS84} if parts else None
    points = build_points(value)
    if not points:
        return None
    if place == "multipoint":
        return {"points": points, "spatialReference": WGS84}
    if len(points) > 1 and any(point != points[0] for point in points):
        raise Unfit(f"has {len(points)} places, the layer takes one point")
    return {"x": points[0][0], "y": points[0][1], "spatialReference": WGS84}


def build_points(value: Any) -> Line:
    """[[longitude, latitude], ...] of a {"latitude", "longitude"}, a list of those, or nothing. Raises: Unfit."""
    if value is None or value == "":
        return []
    if isinstance(value, dict):
        point = _build_point(value)
        return [] if point is None else [point]
    places = value if isinstance(value, list | tuple) else [value]
    points = map(_build_point, places)
    return [point for point in points if point is not None]


def build_paths(value: Any) -> list[Line]:
    """The paths of a GeoJSON line, [] for nothing. Raises: Unfit."""
    lines = _read_geojson(value, "LineString", "a line")
    paths = [_read_line(line) for line in lines]
    if any(len(path) < 2 for path in paths):
        raise Unfit("a line has two positions or more")
    return paths


def build_rings(value: Any) -> list[Line]:
    """The rings of a GeoJSON polygon, [] for nothing. Raises: Unfit."""
    rings = []
    for polygon in _read_geojson(value, "Polygon", "a polygon"):
        if not isinstance(polygon, list | tuple):
            raise Unfit("is no GeoJSON polygon")
        for number, part in enumerate(polygon):
            ring = _read_line(part)
            if len(ring) < 4 or ring[0] != ring[-1]:
                raise Unfit("a polygon's ring has four positions or more and ends where it begins")
            is_clockwise = _measure(ring) < 0
            rings.append(ring if is_clockwise == (number == 0) else ring[::-1])
    return rings


def _read_geojson(value: Any, kind: str, words: str) -> list[Any]:
    """The coordinates of each geometry of a kind, or of several of it."""
    if value is None or value == "" or value == {}:
        return []
    coordinates = value.get("coordinates") if isinstance(value, dict) else None
    if not isinstance(coordinates, list | tuple) or value.get("type") not in (kind, f"Multi{kind}"):
        raise Unfit(f"is not {words} (GeoJSON {kind} or Multi{kind}), which the layer takes")
    if not coordinates:
        return []
    return list(coordinates) if value["type"] != kind else [coordinates]


def _read_line(line: Any) -> Line:
    if not isinstance(line, list | tuple):
        raise Unfit("has coordinates that are no list of positions")
    return [_read_position(position) for position in line]


def _read_position(position: Any) -> list[float]:
    if not isinstance(position, list | tuple) or len(position) < 2:
        raise Unfit("has a position without longitude and latitude")
    return _check_range(_read_degrees("longitude", position[0]), _read_degrees("latitude", position[1]))


def _measure(ring: Line) -> float:
    """Twice the area of a ring, below zero if it runs clockwise."""
    x, y = ring[0]
    return sum((ax - x) * (by - y) - (bx - x) * (ay - y) for (ax, ay), (bx, by) in zip(ring, ring[1:]))


def _build_point(place: Any) -> list[float] | None:
    if place is None or place == "" or place == {}:
        return None
    if not isinstance(place, dict) or "coordinates" in place:
        raise Unfit("is no place with latitude and longitude")
    raw_latitude, raw_longitude = place.get("latitude"), place.get("longitude")
    if raw_latitude in (None, "") and raw_longitude in (None, ""):
        return None
    latitude = _read_degrees("latitude", raw_latitude)
    return _check_range(_read_degrees("longitude", raw_longitude), latitude)


def _check_range(longitude: float, latitude: float) -> list[float]:
    if abs(latitude) > 90 >= abs(longitude) and abs(latitude) <= 180:
        raise Unfit("latitude is beyond 90 degrees; latitude and longitude seem to be swapped")
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise Unfit("a coordinate is out of range (latitude 90, longitude 180 degrees at most)")
    return [longitude, latitude]


def _read_degrees(name: str, raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, _NUMERIC):
        raise Unfit(f"{name} is not a number")
    try:
        value = float(raw)
    except (ValueError, OverflowError):
        raise Unfit(f"{name} is not a number") from None
    if not math.isfinite(value):
        raise Unfit(f"{name} is not a number")
    return value
