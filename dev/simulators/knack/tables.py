"""The records of one object, kept as the bytes that are served, with columns read out when asked for."""

from __future__ import annotations

from typing import Any

import msgspec

from dev.simulators.knack.filters import read_number
from dev.simulators.knack.values import ABSENT, NUMBER_TYPES, Cell, Field, cell_text, is_blank


class _RecordId(msgspec.Struct):
    id: str


_ID = msgspec.json.Decoder(_RecordId)


def encode(value: Any) -> bytes:
    """JSON as Knack writes it: no spaces, letters unescaped."""
    return msgspec.json.encode(value)


class Table:
    """{record id: bytes} in the order of creation.

    hidden: ids that count in totals and hold a position but never come in a page.
    ghosts: those of them that are deleted; only the index has not noticed.
    """

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.hidden: set[str] = set()
        self.ghosts: set[str] = set()
        self._columns: dict[str, dict[str, Cell]] = {}
        self._readers: dict[str, Any] = {}

    def load(self, record: dict[str, Any] | bytes) -> str:
        """Take a record as it is; gives its id."""
        body = record if isinstance(record, bytes) else encode(record)
        record_id = _ID.decode(body).id
        self.put(record_id, body)
        return record_id

    def put(self, record_id: str, body: bytes) -> None:
        """Add or replace a record."""
        self.rows[record_id] = body
        for key, cells in self._columns.items():
            cells[record_id] = self._read_cell(key, body)

    def drop(self, record_id: str) -> None:
        """Forget a record."""
        del self.rows[record_id]
        self.hidden.discard(record_id)
        self.ghosts.discard(record_id)
        for cells in self._columns.values():
            cells.pop(record_id, None)

    def lives(self, record_id: str) -> bool:
        """Whether there is such a record."""
        return record_id in self.rows and record_id not in self.ghosts

    def read(self, record_id: str) -> dict[str, Any]:
        """A record as a dict of its own."""
        record: dict[str, Any] = msgspec.json.decode(self.rows[record_id])
        return record

    def column(self, key: str) -> dict[str, Cell]:
        """{record id: cell} of one field; a record that lacks the field has a blank cell."""
        if key not in self._columns:
            self._columns[key] = {one: self._read_cell(key, body) for one, body in self.rows.items()}
        return self._columns[key]

    def _read_cell(self, key: str, body: bytes) -> Cell:
        reader = self._readers.get(key)
        if reader is None:
            display = ("display", Any, msgspec.field(default="", name=key))
            raw = ("raw", Any, msgspec.field(default=ABSENT, name=f"{key}_raw"))
            reader = self._readers[key] = msgspec.json.Decoder(msgspec.defstruct("Cell", [display, raw]))
        found = reader.decode(body)
        return found.display, found.raw


def sort_key(field: Field, cell: Cell) -> tuple[int, float, str]:
    """What a cell sorts by, ascending: blanks first, numbers and dates by size, all else as text."""
    if is_blank(cell):
        return 0, 0.0, ""
    kind, raw = field["type"], cell[1]
    if kind == "date_time":
        return 1, float(raw.get("unix_timestamp") or 0) if isinstance(raw, dict) else 0.0, ""
    if kind in NUMBER_TYPES or kind in ("auto_increment", "currency", "rating", "boolean"):
        return 1, float(raw) if isinstance(raw, bool) else read_number(raw) or 0.0, ""
    if kind == "timer" and isinstance(raw, dict):
        return 1, float(raw.get("total_time") or 0), ""
    return 2, 0.0, cell_text(cell).casefold()
