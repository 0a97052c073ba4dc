"""Whether a row that readers of a dataset see already says what a row would say, in spite of how Socrata gives it back.

Numbers come back as strings of another spelling, dates in one form, nulls not at all; both sides go through the same
formatters. Places are compared with a tolerance, never by rounding, which tears neighbours apart.

Source: contract of the writing API, "Values": what comes back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from services.utils.socrata.places import format_location
from services.utils.socrata.values import (
    GEO_TYPES,
    NUMBER_TYPES,
    Unfit,
    find_formatter,
    format_key,
)

# A millimetre: what a number may lose on its way through text and geometry, and no place moves by.
DEGREES = 1e-8
_GEOMETRIES = (GEO_TYPES - {"location"}) | {"line", "multiline", "polygon", "multipolygon"}
# What is sent there is a file's name and what comes back is a file: nothing to compare.
_NOT_COMPARED = frozenset({"document"})

_Normalise = Callable[[Any, list[float]], Any]


class Note(msgspec.Struct, array_like=True):
    """What is remembered of a row: a digest of exact values, and coordinates."""

    digest: str
    degrees: list[float]


class Comparer:
    """Compares rows by these columns, as they are sent with as they come back.

    columns: {fieldName: dataTypeName}.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._steps = [
            (name, _find_normaliser(kind)) for name, kind in columns.items() if kind not in _NOT_COMPARED
        ]

    def note(self, row: Mapping[str, Any]) -> Note:
        """What to remember of a row."""
        degrees: list[float] = []
        exact = []
        for name, normalise in self._steps:
            value = row.get(name)
            exact.append(None if value is None else normalise(value, degrees))
        digest = hashlib.blake2b(_encode_sorted(exact), digest_size=16).hexdigest()
        return Note(digest, degrees)

    def same(self, one: Note, other: Note) -> bool:
        """Whether two notes speak of equal rows."""
        return (
            one.digest == other.digest
            and len(one.degrees) == len(other.degrees)
            and all(abs(a - b) <= DEGREES for a, b in zip(one.degrees, other.degrees))
        )


def pack_note(note: Note) -> str:
    """A note as text, for the spool."""
    return msgspec.json.encode(note).decode()


def unpack_note(text: str) -> Note:
    """A note from its text."""
    return msgspec.json.decode(text, type=Note)


def _find_normaliser(kind: str) -> _Normalise:
    if kind in NUMBER_TYPES:
        return lambda value, degrees: format_key(value, "number")
    if kind in _GEOMETRIES:
        return _normalise_geometry
    if kind == "location":
        return _normalise_location
    if kind == "phone":
        return _normalise_phone
    format_value = find_formatter(kind)

    def normalise(value: Any, degrees: list[float]) -> Any:
        """What the column's own formatter makes of it; what others wrote there may be anything."""
        try:
            value = format_value(value)
        except Unfit:
            return value
        # NUL characters are stripped from text, and text of nothing else is none.
        return value.replace("\0", "") or None if isinstance(value, str) else value

    return normalise


def _normalise_geometry(value: Any, degrees: list[float]) -> Any:
    """The shape of its lists; the numbers in them go to `degrees`."""
    if not isinstance(value, dict):
        return value
    return [value.get("type"), _take_numbers(value.get("coordinates"), degrees)]


def _take_numbers(value: Any, degrees: list[float]) -> Any:
    if isinstance(value, list):
        # A position's altitude, if it has one, is nothing that we send.
        if value and not isinstance(value[0], list):
            value = value[:2]
        return [_take_numbers(part, degrees) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        degrees.append(float(value))
        return 0
    return value


def _normalise_location(value: Any, degrees: list[float]) -> Any:
    try:
        found = format_location(value)
    except Unfit:
        return value
    if found is None:
        return None
    degrees += [found["latitude"], found["longitude"]]
    address = value.get("human_address") if isinstance(value, dict) else None
    if isinstance(address, str):
        try:
            address = msgspec.json.decode(address)
        except msgspec.DecodeError:
            return address
    return {name: part for name, part in address.items() if part} if isinstance(address, dict) else {}


def _normalise_phone(value: Any, degrees: list[float]) -> Any:
    return value.get("phone_number") if isinstance(value, dict) else value


def _encode_sorted(exact: Sequence[Any]) -> bytes:
    try:
        return msgspec.json.encode(exact, order="sorted")
    except UnicodeEncodeError:
        # Half a character, which a row of ours never holds.
        return repr(exact).encode("utf-8", "backslashreplace")
