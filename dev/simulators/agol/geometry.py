"""Points, multipoints, lines and polygons between degrees (WGS84) and metres (Web Mercator)."""

from __future__ import annotations

import math
from typing import Any

from dev.simulators.agol.refusals import EditRefusal

POINT = "esriGeometryPoint"
MULTIPOINT = "esriGeometryMultipoint"
POLYLINE = "esriGeometryPolyline"
POLYGON = "esriGeometryPolygon"

Position = tuple[float, float]
Line = tuple[Position, ...]
# A point is one position, a multipoint a tuple of them, a line or polygon a tuple of paths or rings, in the
# layer's own reference.
Geometry = Position | Line | tuple[Line, ...]

_RADIUS_M = 6378137.0
_MERCATOR = frozenset({102100, 102113, 3857, 900913})


def normalize_wkid(wkid: Any) -> int:
    """4326 or 102100; raises ValueError for a reference that the simulator does not know."""
    if wkid in _MERCATOR:
        return 102100
    if wkid == 4326:
        return 4326
    raise ValueError(f"spatial reference {wkid!r} is not known")


def describe_reference(wkid: int) -> dict[str, int]:
    """A spatial reference as the service writes it."""
    return {"wkid": wkid, "latestWkid": 3857 if wkid == 102100 else wkid}


def read_reference(value: Any) -> int:
    """A spatial reference as a client writes it: a number, its text, or {"wkid": ...}."""
    if isinstance(value, dict):
        value = value.get("latestWkid") or value.get("wkid")
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool):
        raise ValueError("a spatial reference is a number")
    return normalize_wkid(value)


def project(position: Position, source: int, target: int) -> Position:
    """One position in another reference; raises ValueError where it has no place there."""
    if source == target:
        return position
    x, y = position
    if target == 102100:
        if abs(y) >= 90:
            raise ValueError("a pole has no place in Web Mercator")
        return (
            math.radians(x) * _RADIUS_M,
            math.log(math.tan(math.pi / 4 + math.radians(y) / 2)) * _RADIUS_M,
        )
    return (
        math.degrees(x / _RADIUS_M),
        math.degrees(2 * math.atan(math.exp(y / _RADIUS_M)) - math.pi / 2),
    )


def read_geometry(value: Any, kind: str | None, wkid: int, text_coordinates: bool) -> Geometry | None:
    """A feature's geometry in the layer's reference; None where it is null or has no points.

    A polygon's rings are closed; the first one runs clockwise, as outer rings do. Nobody knows what the service
    makes of others: whoever sends them does not mean what is stored.
    Raises: EditRefusal 1015.
    """
    if value is None:
        return None
    if kind is None:
        raise _refuse("the table has no geometry")
    if not isinstance(value, dict):
        raise _refuse("the geometry is no object")
    source = wkid
    if value.get("spatialReference") is not None:
        try:
            source = read_reference(value["spatialReference"])
        except ValueError as error:
            raise _refuse(str(error)) from error
    if kind == POINT:
        if "x" not in value or "y" not in value:
            raise _refuse("a point has x and y")
        return _read_position([value["x"], value["y"]], source, wkid, text_coordinates)
    if kind == MULTIPOINT:
        return _read_line(value, "points", source, wkid, text_coordinates) or None
    name = "paths" if kind == POLYLINE else "rings"
    if not isinstance(value.get(name), list):
        raise _refuse(f"the geometry has {name}")
    parts = tuple(_read_line({name: part}, name, source, wkid, text_coordinates) for part in value[name])
    if kind == POLYLINE and any(len(path) < 2 for path in parts):
        raise _refuse("a path has two positions")
    if kind == POLYGON:
        if any(len(ring) < 4 or ring[0] != ring[-1] for ring in parts):
            raise _refuse("a ring has four positions and ends where it begins")
        if parts and not _is_clockwise(parts[0]):
            raise _refuse("the outer ring runs clockwise")
    return parts or None


def format_geometry(geometry: Geometry | None, kind: str | None, wkid: int, target: int) -> Any:
    """A stored geometry as the service writes it, without its spatial reference."""
    if geometry is None:
        return None
    if kind == POINT:
        x, y = project(geometry, wkid, target)  # type: ignore[arg-type]
        return {"x": x, "y": y}
    if kind == MULTIPOINT:
        return {"points": _format_line(geometry, wkid, target)}  # type: ignore[arg-type]
    parts = [_format_line(part, wkid, target) for part in geometry]  # type: ignore[arg-type]
    return {"paths" if kind == POLYLINE else "rings": parts}


def turn_ring(ring: Line) -> Line:
    """The same closed ring, begun one position later."""
    return (*ring[1:], ring[1])


def _format_line(line: Line, wkid: int, target: int) -> list[list[float]]:
    return [list(project(pair, wkid, target)) for pair in line]


def _read_line(value: Any, name: str, source: int, wkid: int, text_coordinates: bool) -> Line:
    if not isinstance(value.get(name), list):
        raise _refuse(f"the geometry has {name}")
    return tuple(_read_position(pair, source, wkid, text_coordinates) for pair in value[name])


def _is_clockwise(ring: Line) -> bool:
    x, y = ring[0]
    twice = sum((ax - x) * (by - y) - (bx - x) * (ay - y) for (ax, ay), (bx, by) in zip(ring, ring[1:]))
    return twice < 0


def _read_position(pair: Any, source: int, wkid: int, text_coordinates: bool) -> Position:
    if not isinstance(pair, list) or len(pair) < 2:
        raise _refuse("a position has two numbers")
    numbers = []
    for number in pair[:2]:
        if text_coordinates and isinstance(number, str):
            try:
                number = float(number)
            except ValueError as error:
                raise _refuse("a coordinate is no number") from error
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise _refuse("a coordinate is no number")
        numbers.append(float(number))
    try:
        return project((numbers[0], numbers[1]), source, wkid)
    except (ValueError, OverflowError) as error:
        raise _refuse(str(error)) from error


def _refuse(why: str) -> EditRefusal:
    return EditRefusal(1015, f"Geometry could not be set: {why}.")
