"""One dataset: typed columns, rows, one writer, and replicas that lag behind."""

from __future__ import annotations

import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from dev.simulators.socrata import values
from dev.simulators.socrata.bodies import DELETED, Refusal
from dev.simulators.socrata.switches import Switches


class StoredRow:
    """A row as it is kept. Never changed in place, so that replicas may share it."""

    __slots__ = ("created", "sid", "updated", "values")

    def __init__(self, sid: int, created: float, updated: float, row: dict[str, Any]) -> None:
        self.sid = sid
        self.created = created
        self.updated = updated
        self.values = row


@dataclass(slots=True)
class Change:
    """One row of a write request, read and found good. key: None where it has no row identifier."""

    key: Any
    values: dict[str, Any]
    deleted: bool = False


@dataclass
class Write:
    """One line of a dataset's write log, also for writes that were refused.

    rows: rows in the request. bytes: of the body as sent; decoded_bytes: after gzip.
    refused: ids that were counted under Errors.
    """

    method: str
    rows: int = 0
    bytes: int = 0
    decoded_bytes: int = 0
    status: int = 200
    created: int = 0
    updated: int = 0
    deleted: int = 0
    errors: int = 0
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """A column as metadata shows it."""

    id: int
    name: str
    field_name: str
    type: str
    position: int


class Dataset:
    """Rows, and what readers see of them. All methods but `parse` are called under the simulator's lock."""

    def __init__(
        self,
        four_by_four: str,
        columns: dict[str, str],
        row_id: str | None,
        name: str,
        switches: Switches,
        *,
        private: bool = False,
        synced: bool = False,
        stage: str = "published",
    ) -> None:
        self.four_by_four = four_by_four
        self.name = name
        self.row_id = row_id
        self.switches = switches
        self.private = private
        self.synced = synced
        self.stage = stage
        self.missing = False
        self.types = dict(columns)
        self.computed = {
            f":@computed_region_{_hash4(four_by_four)}_{_hash4(field_name)}": field_name
            for field_name, kind in columns.items()
            if kind in ("point", "location")
        }
        if row_id is not None and columns.get(row_id) not in ("text", "number"):
            raise ValueError(f"the row identifier {row_id!r} must be a text or number column")
        first = zlib.crc32(four_by_four.encode()) % 100_000_000 + 500_000_000
        named = [
            (field_name.replace("_", " ").title(), field_name, kind) for field_name, kind in columns.items()
        ]
        named += [(f"Region of {of}", field_name, "number") for field_name, of in self.computed.items()]
        self.columns = [
            Column(first + number, title, field_name, kind, number)
            for number, (title, field_name, kind) in enumerate(named, start=1)
        ]
        self._readers = {
            is_csv: {field_name: compile_(kind, lenient=lenient) for field_name, kind in columns.items()}
            for is_csv, lenient, compile_ in (
                (False, switches.lenient, values.compile_reader),
                (True, switches.lenient, values.compile_csv_reader),
            )
        }
        self.writer = threading.Lock()
        self.writes: list[Write] = []
        self.refuse_ids: set[str] = set()
        self.rows: dict[Any, StoredRow] = {}
        self.modified = time.time()
        self.shown = self.rows
        self.shown_modified = self.modified
        self.version = 0
        self._pending: deque[_Pending] = deque()
        self._last_sid = 0
        self._watched: list[int] | None = None

    # Writing

    def parse(self, raw: list[Any], is_csv: bool) -> list[Change]:
        """Read every value of every row by its column's rules.

        Raises: Refusal for the first unknown field or bad value.
        """
        readers = self._readers[is_csv]
        exact = self.switches.exact_names
        row_id = self.row_id
        is_number = row_id is not None and self.types[row_id] in values.NUMBERS
        changes = []
        for row in raw:
            deleted = False
            sid: int | None = None
            read: dict[str, Any] = {}
            for name, value in row.items():
                reader = readers.get(name)
                if reader is None:
                    if name == DELETED and value is True:
                        deleted = True
                        continue
                    if name == ":id" and row_id is None:
                        sid = decode_sid(value)
                        continue
                    name = self._match_name(name, exact)
                    reader = readers[name]
                if value is None:
                    read[name] = None
                    continue
                try:
                    read[name] = reader(value)
                except ValueError:
                    raise Refusal(
                        f"Unable to read {value!r} as {self.types[name]} for column {name}",
                        column=name,
                        type=self.types[name],
                        value=str(value),
                    ) from None
            key = sid if row_id is None else read.get(row_id)
            if key is None and (deleted or (row_id is not None and self.switches.missing_row_id == "refuse")):
                raise Refusal(f"A row has no value for the row identifier {row_id or ':id'}")
            if is_number and key is not None:
                key = Decimal(key)
            changes.append(Change(key, read, deleted))
        return changes

    def _match_name(self, name: str, exact: bool) -> str:
        if not exact:
            for known in self.types:
                if known.lower() == name.lower():
                    return known
        raise Refusal(f"Illegal field name sent: {name}")

    def apply(self, changes: list[Change], write: Write, *, replace: bool, drop: frozenset[int]) -> None:
        """Carry a write out in one transaction, counting into `write`. drop: positions to refuse silently."""
        now = time.time()
        lag = self._lags()
        rows: dict[Any, StoredRow] = {} if replace else dict(self.rows) if lag else self.rows
        has_row_id = self.row_id is not None
        refuse = self.refuse_ids
        for position, change in enumerate(changes):
            key = change.key
            if position in drop or (refuse and str(key) in refuse) or (key is None and has_row_id):
                write.errors += 1
                write.refused.append(str(key))
                continue
            old = rows.get(key) if key is not None else None
            if change.deleted:
                if old is None:
                    write.errors += 1
                    write.refused.append(str(key))
                else:
                    del rows[key]
                    write.deleted += 1
                continue
            if old is None:
                if key is not None and not has_row_id:
                    write.errors += 1
                    write.refused.append(encode_sid(key))
                    continue
                self._last_sid += 1
                kept = self._keep(change.values)
                sid = self._last_sid
                rows[sid if key is None else key] = StoredRow(sid, now, now, kept)
                write.created += 1
            else:
                kept = self._keep({**old.values, **change.values})
                rows[key] = StoredRow(old.sid, old.created, now, kept)
                write.updated += 1
        self.rows = rows
        self.modified = now
        if lag:
            due = time.monotonic() + self.switches.replica_lag_s
            self._pending.append(_Pending(rows, now, due, self.switches.replica_lag_reads))
        else:
            self._pending.clear()
            self._show(rows, now)

    def _keep(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row without its nulls, with the computed columns worked out."""
        kept = {name: value for name, value in row.items() if value is not None}
        for name, of in self.computed.items():
            if of in kept:
                kept[name] = "7"
            else:
                kept.pop(name, None)
        return kept

    def restore(self, rows: Mapping[Any, StoredRow]) -> None:
        """Be as it was when it had these rows."""
        self.rows = dict(rows)
        self.writes.clear()
        self._pending.clear()
        self._watched = None
        self._show(self.rows, time.time())

    def clear(self) -> None:
        """The dataset itself was deleted."""
        self.missing = True
        self.rows = {}
        self._pending.clear()
        self._show(self.rows, time.time())

    # Reading

    def settle(self, *, read: bool) -> bool:
        """Let the replicas catch up as far as they should by now. read: this is one of the reads they lag by.

        Returns: whether they are still behind.
        """
        now = time.monotonic()
        while self._pending and self._pending[0].due <= now and self._pending[0].reads_left <= 0:
            ready = self._pending.popleft()
            self._show(ready.rows, ready.modified)
        if read:
            for pending in self._pending:
                pending.reads_left -= 1
        return bool(self._pending)

    def watch(self) -> None:
        """Begin to note how many rows readers can see."""
        self.settle(read=False)
        self._watched = [len(self.shown)]

    @property
    def history(self) -> list[int]:
        """Rows visible at `watch` and after each change of what readers see."""
        self.settle(read=False)
        return list(self._watched or [])

    def _lags(self) -> bool:
        return self.switches.replica_lag_s > 0 or self.switches.replica_lag_reads > 0

    def _show(self, rows: dict[Any, StoredRow], modified: float) -> None:
        self.shown = rows
        self.shown_modified = modified
        self.version += 1
        if self._watched is not None:
            self._watched.append(len(rows))

    def build_metadata(self) -> dict[str, Any]:
        """The answer of `/api/views/<4x4>.json`."""
        view: dict[str, Any] = {
            "id": self.four_by_four,
            "name": self.name,
            "assetType": "dataset",
            "displayType": "table",
            "newBackend": True,
            "publicationStage": self.stage,
            "rights": ["read"] if self.synced else ["read", "add", "write", "delete"],
            "rowsUpdatedAt": int(self.modified),
            "viewType": "tabular",
            "columns": [
                {
                    "id": column.id,
                    "name": column.name,
                    "dataTypeName": column.type,
                    "renderTypeName": column.type,
                    "fieldName": column.field_name,
                    "position": column.position,
                    "format": {},
                }
                for column in self.columns
            ],
        }
        if self.row_id is not None:
            view["rowIdentifierColumnId"] = next(c.id for c in self.columns if c.field_name == self.row_id)
        return view


@dataclass
class _Pending:
    """A version that the replicas do not have yet."""

    rows: dict[Any, StoredRow]
    modified: float
    due: float
    reads_left: int


_ALPHABET = "23456789abcdefghijkmnpqrstuvwxyz"
_SPAN = 1 << 60
_FACTOR = 0x5DEECE66D6B43A9 | 1
_INVERSE = pow(_FACTOR, -1, _SPAN)


def encode_sid(sid: int) -> str:
    """A row's `:id` as readers see it: opaque, and not in the order of the rows."""
    number = sid * _FACTOR % _SPAN
    letters = "".join(_ALPHABET[number >> shift & 31] for shift in range(0, 60, 5))
    return f"row-{letters[:4]}.{letters[4:8]}~{letters[8:]}"


def decode_sid(text: Any) -> int:
    """The row behind an `:id`. Raises: Refusal where it is none."""
    letters = text[4:].replace(".", "").replace("~", "") if type(text) is str else ""
    if len(letters) != 12 or not text.startswith("row-") or set(letters) - set(_ALPHABET):
        raise Refusal("Not a row id in :id")
    number = sum(_ALPHABET.index(letter) << 5 * place for place, letter in enumerate(letters))
    return number * _INVERSE % _SPAN


def format_moment(seconds: float) -> str:
    """A moment as `:created_at` and `:updated_at` show it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _hash4(text: str) -> str:
    number = zlib.crc32(text.encode())
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(0, 20, 5))
