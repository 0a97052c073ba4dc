"""Whether a feature in the layer already says what a row says, in spite of how the server keeps it.

Blank text and null are one. Places were projected to the layer's reference and back, numbers went
through decimal text: both are compared with a tolerance, never by rounding, which tears neighbours apart.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from services.utils.agol.layer import LayerField
from services.utils.agol.values import EPOCH, INTEGER_RANGES, Unfit, parse_moment

DEGREES = 1e-6
DOUBLE_TOLERANCE = 1e-12
SINGLE_TOLERANCE = 1e-6


class Note(msgspec.Struct, array_like=True):
    """What is remembered of a feature: its object id, a digest of exact values, and inexact ones.

    parts: the positions of its geometry: paths, rings, or all points as one part. key: as it stands in the layer.
    """

    oid: int
    digest: str
    floats: list[float | None]
    parts: list[list[list[float]]] | None
    key: str = ""


class Comparer:
    """Compares by `fields`, all of which both sides give, and by place if `geometry`.

    rings: the geometries are polygons, whose rings the server may begin elsewhere.
    """

    def __init__(
        self, oid_field: str, fields: Sequence[LayerField], *, geometry: bool, rings: bool = False
    ) -> None:
        self.oid_field = oid_field
        self._same_part = _same_ring if rings else _same_line
        self._exact = [
            (f.name, _NORMALISE.get(f.type, _normalise_text))
            for f in fields
            if f.type not in ("Single", "Double")
        ]
        self._floats = [(f.name, f.type == "Single") for f in fields if f.type in ("Single", "Double")]
        self._geometry = geometry

    def note(self, feature: dict[str, Any]) -> Note:
        """What to remember of a feature, from the layer or built from a row (whose oid is 0)."""
        attributes = feature["attributes"]
        exact = [normalise(attributes.get(name)) for name, normalise in self._exact]
        digest = hashlib.blake2b(msgspec.json.encode(exact), digest_size=12).hexdigest()
        floats = [_read_float(attributes.get(name)) for name, _ in self._floats]
        parts = read_parts(feature.get("geometry")) if self._geometry else None
        return Note(int(attributes.get(self.oid_field) or 0), digest, floats, parts)

    def same(self, one: Note, other: Note) -> bool:
        """Whether two notes speak of equal features; object ids do not count."""
        return (
            one.digest == other.digest
            and all(map(_same_float, one.floats, other.floats, (single for _, single in self._floats)))
            and self._same_parts(one.parts, other.parts)
        )

    def _same_parts(self, one: list[list[list[float]]] | None, other: list[list[list[float]]] | None) -> bool:
        if one is None or other is None:
            return one is other
        return len(one) == len(other) and all(map(self._same_part, one, other))


def pack_note(note: Note) -> str:
    """A note as text, for the spool."""
    return msgspec.json.encode(note).decode()


def unpack_note(text: str) -> Note:
    """A note from its text."""
    return msgspec.json.decode(text, type=Note)


def read_parts(geometry: Any) -> list[list[list[float]]] | None:
    """[[[x, y], ...], ...] of a geometry; None where there is no place, in any of its spellings."""
    if not isinstance(geometry, dict):
        return None
    raw = geometry.get("paths") or geometry.get("rings")
    if raw is None:
        points = geometry.get("points")
        raw = [[[geometry.get("x"), geometry.get("y")]] if points is None else points]
    parts = [
        [[p[0], p[1]] for p in part if len(p) >= 2 and _is_number(p[0]) and _is_number(p[1])] for part in raw
    ]
    return [part for part in parts if part] or None


def _is_number(value: Any) -> bool:
    kind = type(value)
    return (kind is int or kind is float) and math.isfinite(value)


def _normalise_text(value: Any) -> Any:
    if value is None:
        return None
    text = value if type(value) is str else str(value)
    return text if text and not text.isspace() else None


def _normalise_whole(value: Any) -> Any:
    return int(value) if _is_number(value) else _normalise_text(value)


def _normalise_guid(value: Any) -> Any:
    text = _normalise_text(value)
    return text and text.strip("{} ").lower()


def _normalise_moment(value: Any) -> Any:
    try:
        moment = parse_moment(_normalise_text(value) or "")
    except Unfit:
        return value
    return None if moment is None else (moment - EPOCH).total_seconds()


def _normalise_time(value: Any) -> Any:
    text = _normalise_text(value)
    return text and text.partition(".")[0]


_NORMALISE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys((*INTEGER_RANGES, "Date"), _normalise_whole),
    "GUID": _normalise_guid,
    "TimestampOffset": _normalise_moment,
    "TimeOnly": _normalise_time,
}


def _read_float(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _same_float(one: float | None, other: float | None, single: bool) -> bool:
    if one is None or other is None:
        return one is other
    if one == other:
        return True
    if single and _as_single(one) == _as_single(other):
        return True
    return math.isclose(one, other, rel_tol=SINGLE_TOLERANCE if single else DOUBLE_TOLERANCE, abs_tol=0.0)


def _as_single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return value


def _same_line(one: list[list[float]], other: list[list[float]]) -> bool:
    return len(one) == len(other) and all(map(_same_position, one, other))


def _same_ring(one: list[list[float]], other: list[list[float]]) -> bool:
    """Whether two closed rings go the same way round, wherever they begin."""
    if len(one) != len(other):
        return False
    one, other = one[:-1], other[:-1]
    starts = (start for start, position in enumerate(other) if _same_position(one[0], position))
    return any(_same_line(one, other[start:] + other[:start]) for start in starts)


def _same_position(one: list[float], other: list[float]) -> bool:
    return abs(one[0] - other[0]) <= DEGREES and abs(one[1] - other[1]) <= DEGREES
