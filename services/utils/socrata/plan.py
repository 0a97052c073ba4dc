"""What a publish will send, worked out and spooled on disk before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from services.utils.errors import ConfigError
from services.utils.parts import Parts
from services.utils.records import Counts, OnReject, Reject, Row
from services.utils.socrata.compare import Comparer, pack_note, unpack_note
from services.utils.socrata.dataset import Dataset
from services.utils.socrata.shape import RowShape, build_row, compile_shape
from services.utils.socrata.stamps import Stamp
from services.utils.socrata.values import Unfit, find_formatter, format_key
from services.utils.spool import Spool

log = logging.getLogger(__name__)

_ROWS, _CHANGED, _GONE, _REFUSED = "rows", "changed", "gone", "refused"
# Between a row's record id and its JSON; neither has control characters.
_BETWEEN = b"\x1f"


@dataclass(frozen=True, slots=True)
class Item:
    """One row to send. key: its row identifier in its one spelling. body: the row's JSON object."""

    record_id: str
    key: str
    body: bytes


class Plan:
    """Rows shaped for one dataset, with what is known of their keys.

    `spool` knows which keys the dataset holds (where they were read) and which are wanted: those of live rows,
    also of rows that were refused, whose published version is to stay.
    """

    def __init__(
        self,
        dataset: Dataset,
        spool: Spool,
        key_field: str,
        on_reject: OnReject,
        parts: Parts | None = None,
        stamp: Stamp | None = None,
    ) -> None:
        assert dataset.row_id is not None
        self.dataset = dataset
        self.spool = spool
        self.stamp = stamp
        self._columns = {
            column: kind for column, kind in dataset.columns.items() if not stamp or column != stamp.column
        }
        self.counts = Counts()
        self._row_id: str = dataset.row_id
        self._key_type = dataset.columns[dataset.row_id]
        self._key_field = key_field
        self._on_reject = on_reject
        self._parts = parts
        self._names: dict[str, None] = {}
        self._shape: RowShape | None = None
        self._late: list[tuple[int, bytes]] = []
        self._put = 0
        self._queue = _ROWS
        self._keyless = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Shape rows and spool them; refused ones go to `on_reject`.

        Raises: ConfigError where the rows have no field for the row identifier.
        """
        names = self._names
        for row in rows:
            self.counts.read += 1
            if row.deleted and not row.values:
                row = Row(row.record_id, {"id": row.record_id}, deleted=True)
            if not row.values.keys() <= names.keys():
                self._learn(row.values)
            if row.deleted:
                self._add_gone(row)
            else:
                self._add_live(row)
        for key, _ in self.spool.take(_REFUSED):
            self._want(key)
        self._tell_names()

    def _learn(self, values: Iterable[str]) -> None:
        """Take new row names into the shape; rows already spooled lack the columns that they feed."""
        self._names.update(dict.fromkeys(values))
        before = self._shape.sources if self._shape is not None else {}
        self._shape = compile_shape(self._columns, self._names)
        name = self._shape.sources.get(self._row_id)
        if name is None:
            raise ConfigError(
                f"{self.dataset}: the rows have no field for its row identifier column {self._row_id!r} (they "
                f"have: {', '.join(sorted(self._names))}). Nothing was sent. Make one of these fields' columns "
                "the row identifier of the dataset, or publish that field too."
            )
        if self._parts is not None and name != self._key_field:
            raise ConfigError(
                f"{self.dataset}: its row identifier {self._row_id!r} is fed by {name!r}, and the rows of a repeat are "
                f"matched by {self._key_field!r}. Nothing was sent. Make a text column {self._key_field!r} the row "
                "identifier of the dataset."
            )
        if not before and name != self._key_field:
            log.info(
                "%s: rows are matched by its row identifier, field %r, not by %r",
                self.dataset,
                name,
                self._key_field,
            )
        new = [column for column in self._shape.sources if column not in before]
        if new and self._put:
            empty = b"".join(b',"%s":null' % column.encode() for column in new)
            self._late.append((self._put, empty))

    def _find_key(self, row: Row) -> str | None:
        """The row's key; None where it is empty or cannot be one."""
        assert self._shape is not None
        value = row.values.get(self._shape.sources[self._row_id])
        try:
            built = None if value is None else find_formatter(self._key_type)(value)
        except Unfit:
            return None
        return None if built is None else format_key(built, self._key_type) or None

    def _add_gone(self, row: Row) -> None:
        key = self._find_key(row)
        if key is None:
            self._keyless += 1
        else:
            self.spool.put(_GONE, key, b"")

    def _add_live(self, row: Row) -> None:
        if self._shape is None:
            self._reject(row, "the row is empty")
            return
        try:
            built = build_row(row.values, self._shape)
            body = msgspec.json.encode(built)
        except UnicodeEncodeError:
            self._refuse(row, "a text is not valid Unicode")
            return
        except Unfit as error:
            self._refuse(row, str(error))
            return
        value = built[self._row_id]
        key = "" if value is None else format_key(value, self._key_type)
        if not key:
            self._reject(row, f"{self._row_id}: the row identifier is empty")
            return
        if not self._want(key):
            self._reject(row, f"{self._row_id}: another row of this run has the same row identifier")
            return
        self.spool.put(_ROWS, key, row.record_id.encode() + _BETWEEN + body)
        self._put += 1

    def _want(self, key: str) -> bool:
        """Mark a key as wanted; False if it was already."""
        try:
            self.spool.want(key)
        except KeyError:
            return False
        return True

    def _refuse(self, row: Row, reason: str) -> None:
        """Refuse a row whose published version is to stay."""
        key = self._find_key(row)
        if key is not None:
            # Told at the end: a fit row with the same key still to come is the better one.
            self.spool.put(_REFUSED, key, b"")
        self._reject(row, reason)

    def _reject(self, row: Row, reason: str) -> None:
        self.counts.rejected += 1
        self._on_reject(Reject(row.record_id, reason, row.values))

    def _tell_names(self) -> None:
        if self._shape is None:
            return
        if self._shape.left_out:
            log.info(
                "%s has no column for these fields, left out: %s",
                self.dataset,
                ", ".join(sorted(self._shape.left_out)),
            )
        if self._shape.unfed:
            log.debug(
                "%s: no field feeds these columns, left as they are: %s",
                self.dataset,
                ", ".join(self._shape.unfed),
            )
        if self._keyless:
            log.info("%s: %d deleted records have no row identifier", self.dataset, self._keyless)

    @property
    def rows(self) -> int:
        """How many rows are to be sent."""
        return self._put

    @property
    def size(self) -> int:
        """Bytes of their JSON and ids, the commas and late columns not counted."""
        return self.spool.size(self._queue)

    def take_rows(self) -> Iterator[Item]:
        """The rows to send, in the order they came; every fed column is in each."""
        stamp = b""
        if self.stamp is not None:
            stamp = b",%b:%b" % (
                msgspec.json.encode(self.stamp.column),
                msgspec.json.encode(self.stamp.value),
            )
        for item in self._take_plain():
            yield replace(item, body=item.body[:-1] + stamp + b"}") if stamp else item

    def _take_plain(self) -> Iterator[Item]:
        """The same without a stamp."""
        late = self._late
        last = late[-1][0] if late else 0
        for number, (key, packed) in enumerate(self.spool.take(self._queue)):
            record_id, _, body = packed.partition(_BETWEEN)
            if number < last:
                body = body[:-1] + b"".join(empty for before, empty in late if number < before) + b"}"
            yield Item(record_id.decode(), key, body)

    def take_keys(self) -> Iterator[str]:
        """The keys of the rows to send, in their order."""
        return self.spool.keys(self._queue)

    @property
    def key_name(self) -> str:
        """The row name that feeds the row identifier; the column's own where no row has come."""
        return self._shape.sources[self._row_id] if self._shape is not None else self._row_id

    @property
    def compared(self) -> list[str]:
        """The columns of the dataset that `leave_unchanged` needs; the others are nobody's business here."""
        stamped = [self.stamp.column] if self.stamp is not None else []
        return [*(self._shape.sources if self._shape is not None else ()), *stamped]

    def leave_unchanged(self, held: Iterable[Mapping[str, Any]]) -> int:
        """Send no row that the dataset holds as it is, but for the stamp, which only has to be there.

        held: rows of the dataset, as read back; their keys are remembered. Returns: how many there were.
        """
        sources = self._shape.sources if self._shape is not None else {}
        comparer = Comparer({column: self._columns[column] for column in sources})
        seen = 0
        for row in held:
            seen += 1
            value = row.get(self._row_id)
            # A row without a key is nobody's and stays.
            if value is not None:
                stamped = self.stamp is None or row.get(self.stamp.column) is not None
                note = pack_note(comparer.note(row)) if stamped else ""
                self.spool.there(format_key(value, self._key_type), note)
        changed = 0
        for item in self._take_plain():
            note = self.spool.read_note(item.key) or ""
            if note and comparer.same(unpack_note(note), comparer.note(msgspec.json.decode(item.body))):
                self.counts.unchanged += 1
                continue
            self.spool.put(_CHANGED, item.key, item.record_id.encode() + _BETWEEN + item.body)
            changed += 1
        self._queue, self._put, self._late = _CHANGED, changed, []
        return seen

    def count_fresh(self) -> int:
        """How many of the rows to send the dataset does not hold, as far as its keys were read."""
        return self.spool.count_new(self._queue)

    def add_vanished(self) -> None:
        """Count what the dataset holds of the documents that came, and no row wants, among the deleted.

        All keys must have been read.
        """
        if self._parts is not None:
            for key, _ in self.spool.unwanted():
                if self._parts.owns(key):
                    self.spool.put(_GONE, key, b"")

    def count_gone(self) -> int:
        """How many different keys of deleted records no live row has."""
        return sum(1 for _ in self.take_gone_keys())

    def count_gone_there(self) -> int:
        """How many of those the dataset holds, as far as its keys were read."""
        return sum(1 for key in self.take_gone_keys() if self.spool.find(key)[0])

    def take_gone(self, *, only_there: bool) -> Iterator[Item]:
        """The deletion of each record that is gone and whose key no live row has."""
        for key in self.take_gone_keys():
            if not only_there or self.spool.find(key)[0]:
                yield self._build_deletion(key)

    def take_unwanted(self) -> Iterator[Item]:
        """The deletion of everything the dataset holds and no row wants."""
        for key, _ in self.spool.unwanted():
            yield self._build_deletion(key)

    def take_gone_keys(self) -> Iterator[str]:
        """The different keys of deleted records that no live row has."""
        seen = Spool()
        try:
            for key, _ in self.spool.take(_GONE):
                if not self.spool.find(key)[1] and seen.there(key):
                    yield key
        finally:
            seen.close()

    def _build_deletion(self, key: str) -> Item:
        return Item(key, key, msgspec.json.encode({self._row_id: key, ":deleted": True}))
