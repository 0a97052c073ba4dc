"""Rows as they are sent against rows as Socrata gives them back: equal where nothing changed, and only there."""

from __future__ import annotations

from typing import Any

import pytest

from services.utils.socrata.compare import Comparer, pack_note, unpack_note

POINT = {"type": "Point", "coordinates": [-97.74, 30.27]}


def same(kind: str, sent: Any, held: Any) -> bool:
    """Whether a value that is about to be sent is the one that was read."""
    comparer = Comparer({"id": "text", "it": kind})
    notes = [comparer.note({"id": "1", **({} if value is None else {"it": value})}) for value in (sent, held)]
    return comparer.same(notes[0], unpack_note(pack_note(notes[1])))


@pytest.mark.parametrize(
    ("kind", "sent", "held"),
    [
        ("text", "Oak", "Oak"),
        ("text", "a\0b", "ab"),
        ("text", "\0", None),
        ("number", 7, "7"),
        ("number", 13.7333, "13.7333"),
        ("number", "7.50", "7.5"),
        ("money", 1e-7, "0.0000001"),
        ("checkbox", False, False),
        ("calendar_date", "2025-03-09T16:05:00.000", "2025-03-09T16:05:00.000"),
        ("calendar_date", "2025-03-09T16:05:00.000", "2025-03-09T16:05:00"),
        ("date", "2025-03-09T21:05:00.000Z", "2025-03-09T21:05:00.000Z"),
        ("point", POINT, {"type": "Point", "coordinates": [-97.74000000000001, 30.27]}),
        ("point", POINT, {"type": "Point", "coordinates": [-97.74, 30.27, 0.0]}),
        (
            "multipoint",
            {"type": "MultiPoint", "coordinates": [[1, 2]]},
            {"type": "MultiPoint", "coordinates": [[1.0, 2.0]]},
        ),
        (
            "location",
            {
                "latitude": 30.1,
                "longitude": -97.5,
                "human_address": '{"address":"1 Oak St","city":"","zip":""}',
            },
            {"latitude": "30.1", "longitude": "-97.5", "human_address": '{"zip": "", "address": "1 Oak St"}'},
        ),
        (
            "url",
            {"url": "https://example.org", "description": "A"},
            {"description": "A", "url": "https://example.org"},
        ),
        ("phone", {"phone_number": "512"}, {"phone_number": "512", "phone_type": "Home"}),
        ("json", {"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ("document", "plan.pdf", {"file_id": "1", "filename": "plan.pdf"}),
    ],
)
def test_same__what_comes_back(kind: str, sent: Any, held: Any) -> None:
    """A value is known again in every form in which it comes back, and so is its absence."""
    assert same(kind, sent, held) and same(kind, held, sent)
    assert same(kind, None, None)


@pytest.mark.parametrize(
    ("kind", "sent", "held"),
    [
        ("text", "Oak", "oak"),
        ("text", "Oak", None),
        ("text", "Oak", "Oak "),
        ("number", 7, "7.01"),
        ("number", 0, None),
        ("checkbox", False, None),
        ("calendar_date", "2025-03-09T16:05:00.000", "2025-03-09T17:05:00.000"),
        ("point", POINT, {"type": "Point", "coordinates": [-97.7400001, 30.27]}),
        ("point", POINT, None),
        ("point", POINT, {"type": "Point", "coordinates": [30.27, -97.74]}),
        (
            "line",
            {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
            {"type": "LineString", "coordinates": [[1, 2], [3, 4], [5, 6]]},
        ),
        (
            "multiline",
            {"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]},
            {"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4], [5, 6], [7, 8]]]},
        ),
        (
            "location",
            {"latitude": 30.1, "longitude": -97.5},
            {"latitude": "30.1", "longitude": "-97.5", "human_address": '{"address":"1 Oak St"}'},
        ),
        ("phone", {"phone_number": "512"}, {"phone_number": "513"}),
    ],
)
def test_same__what_changed(kind: str, sent: Any, held: Any) -> None:
    """A change is seen, however small, and so are values that only one side has."""
    assert not same(kind, sent, held) and not same(kind, held, sent)


@pytest.mark.parametrize(
    "kind", ["text", "number", "calendar_date", "point", "location", "url", "phone", "json"]
)
@pytest.mark.parametrize("held", ["x", 7, [1], {"a": {}}, True, "\ud800", [[None]], {"type": "Point"}])
def test_note__strange_values_do_not_stop(kind: str, held: Any) -> None:
    """What others wrote into a column may be anything: it is no failure, and itself."""
    assert same(kind, held, held)
    if kind in ("text", "number", "calendar_date", "point"):
        assert not same(kind, None, held)
