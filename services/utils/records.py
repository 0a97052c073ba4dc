"""The shapes that travel: record -> document -> row, and what a run says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Document:
    """A record as the store holds it.

    record: the JSON bytes exactly as the source sent them. updated_at: ISO-8601 as PostgREST gives it,
    "" where it was not read. deleted: the record has left its source; `record` is how it last was.
    """

    record_id: str
    record: bytes
    updated_at: str = ""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A document shaped for people: {field name: value}, with the record's id under "id".

    deleted: the record has left its source; `values` are its last ones, so that its key is known.
    """

    record_id: str
    values: dict[str, Any]
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """A document or row that was refused. `reason` names fields and rules, never values."""

    record_id: str
    reason: str
    content: Any = None


@dataclass(frozen=True, slots=True)
class Part:
    """One process' part in a full load that several share: a shard, or the finishing call.

    shards: how many there are. number: the shard's, from 1; 0 is the finishing call. round: the name by which
    the callers know which of them belong together, "" where the time tells.
    """

    shards: int
    number: int = 0
    round: str = ""


@dataclass(frozen=True, slots=True)
class SourceField:
    """A field that a container's rows may have.

    key: what names it at its source and never changes: a Knack key, a form's path. label: its name as people see it
    there. name: its row name. type: the source's. published: False where the configuration leaves it out. vanished:
    it is in the metadata, and the newest document has it not: it was removed since, or its view hides it.
    """

    key: str
    label: str
    name: str
    type: str
    published: bool = True
    vanished: bool = False


OnReject = Callable[[Reject], None]


@dataclass
class Counts:
    """What a run did, in records. `unchanged` were looked at and needed nothing."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0

    def add(self, other: Counts) -> None:
        """Add another's counts to these."""
        for name, number in other.as_dict().items():
            setattr(self, name, getattr(self, name) + number)

    def as_dict(self) -> dict[str, int]:
        """The counts by name, for the ledger and the summary line."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a source. records: (record id, JSON bytes as they came).

    total_records: how many the source says there are in all; an estimate. server_time: up to here everything
    will have been delivered by this walk (aware), None where the source did not say. left: ids of stored
    records of which the source says that they have left it.
    """

    records: list[tuple[str, bytes]]
    total_records: int
    server_time: datetime | None = None
    left: tuple[str, ...] = ()


class Source(Protocol):
    """One container at its source, as loading sees it."""

    @property
    def can_ask(self) -> bool:
        """Whether a single record can be asked for, so that its absence means that it is gone."""
        ...

    @property
    def is_steady(self) -> bool:
        """Whether records keep their order from page to page, so that none comes twice and another not at all."""
        ...

    def pages(self) -> Iterator[Page]:
        """Walk the container from its first page to its last, one page at least; each call is a new walk."""
        ...

    def fetch_record(self, record_id: str) -> bytes | None:
        """One record's JSON bytes; None where it is surely not there.

        Raises: SourceError where the answer leaves it open.
        """
        ...
