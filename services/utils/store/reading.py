"""Documents out of the store: in key-set pages, by their ids, compared by digest. Nothing is written here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote as percent_encode

import msgspec

from services.utils.differences import Difference, Differences
from services.utils.postgrest import PostgREST
from services.utils.rawjson import decode_raw
from services.utils.records import Counts, Document

READ_BYTES = 4_000_000
READ_ROWS_FIRST, READ_ROWS_MOST = 200, 5000
# PostgREST hangs up on an address of some tens of KB.
ADDRESS_SIGNS = 8_000


class _StoredRow(msgspec.Struct):
    record_id: str
    record: msgspec.Raw = msgspec.Raw()
    updated_at: str = ""
    deleted_at: str | None = None


class Reader:
    """The documents of one container, for reading.

    system: the source they come from, which is also the table: "knack" or "odk".
    """

    def __init__(self, postgrest: PostgREST, system: str, app_id: str, container_id: str) -> None:
        self.postgrest = postgrest
        self.system = system
        self.app_id = app_id
        self.container_id = container_id
        self._rows = msgspec.json.Decoder(list[_StoredRow])

    @property
    def place(self) -> dict[str, str]:
        """What container it is, as the store's functions take it."""
        return {"source": self.system, "app_id": self.app_id, "container_id": self.container_id}

    def filters(self) -> list[tuple[str, str]]:
        """The container, as PostgREST filters by it."""
        return [("app_id", f"eq.{self.app_id}"), ("container_id", f"eq.{self.container_id}")]

    def count_alive(self) -> int:
        """How many documents are in the store and at their source."""
        response = self.postgrest.http.request(
            "GET",
            f"/{self.system}",
            params=[*self.filters(), ("deleted_at", "is.null"), ("select", "record_id"), ("limit", "1")],
            headers={"Prefer": "count=exact"},
            repeatable=True,
        )
        return int(response.headers["Content-Range"].rpartition("/")[2])

    def read(self, *, since: str | None = None, deleted: bool = False) -> Iterator[Document]:
        """Documents in key-set pages sized by bytes; what was read is never skipped or repeated by edits.

        Args:
            since: ISO-8601: those that changed, were deleted or came back at or after it, oldest first;
                a document that changes while it is read comes again. None: all that are alive, by id.
            deleted: with since None, tombstones too.
        """
        order = "updated_at,record_id" if since else "record_id"
        # Time and id alone: a row would keep its whole page in memory.
        last: tuple[str, str] | None = None
        rows = READ_ROWS_FIRST
        while True:
            params = [
                *self.filters(),
                ("select", "record_id,record,updated_at,deleted_at"),
                ("order", order),
                ("limit", str(rows)),
            ]
            if since:
                at = last[0] if last else since
                params.append(("updated_at", f"gte.{at}"))
                if last:
                    key = quote(last[1])
                    params.append(("or", f"(updated_at.gt.{quote(at)},record_id.gt.{key})"))
            else:
                if not deleted:
                    params.append(("deleted_at", "is.null"))
                if last:
                    params.append(("record_id", f"gt.{last[1]}"))
            page, cut, size = self.postgrest.select_as(
                self.system, params, self._rows, f"documents of {self.container_id}"
            )
            for row in page:
                yield Document(row.record_id, cut(row.record), row.updated_at, row.deleted_at is not None)
            # Only an empty page is surely the last: PostgREST may be set to give fewer rows than were asked for.
            if not page:
                return
            last = row.updated_at, row.record_id
            average = max(1, size // len(page))
            rows = min(READ_ROWS_MOST, max(1, READ_BYTES // average))
            del page, row

    def read_newest(self) -> Document | None:
        """The document that changed last, of those that are alive; None where there is none."""
        params = [
            *self.filters(),
            ("select", "record_id,record,updated_at,deleted_at"),
            ("deleted_at", "is.null"),
            ("order", "updated_at.desc,record_id.desc"),
            ("limit", "1"),
        ]
        body = self.postgrest.select(self.system, params, what=f"newest document of {self.container_id}")
        page, cut = decode_raw(self._rows, body)
        return Document(page[0].record_id, cut(page[0].record), page[0].updated_at) if page else None

    def read_ids(self) -> Iterator[str]:
        """Ids of all records that are alive, in order, in key-set pages."""
        last = ""
        while True:
            params = [*self.filters(), ("select", "record_id"), ("deleted_at", "is.null")]
            params += [("order", "record_id"), ("limit", "20000")]
            if last:
                params.append(("record_id", f"gt.{last}"))
            page = msgspec.json.decode(self.postgrest.select(self.system, params, what="ids"))
            for row in page:
                yield row["record_id"]
            if not page:
                return
            last = page[-1]["record_id"]

    def read_documents(self, record_ids: list[str]) -> Iterator[Document]:
        """Some documents, tombstones too; those that the store does not have are left out."""
        for row, cut in self._read_some(record_ids, "record_id,record,updated_at,deleted_at", 50):
            yield Document(row.record_id, cut(row.record), row.updated_at, row.deleted_at is not None)

    def read_alive_ids(self, record_ids: list[str]) -> set[str]:
        """Which of these records are in the container now."""
        return {record_id for record_id, deleted in self._read_deleted(record_ids).items() if not deleted}

    def skip_alive_elsewhere(
        self, documents: Iterable[Document], siblings: Iterable[str]
    ) -> Iterator[Document]:
        """Pass documents on, but no tombstone whose record is alive in another container of the same app.

        Two views of one object may feed one dataset: a record that moved from one to the other stays there.
        """
        others = [Reader(self.postgrest, self.system, self.app_id, sibling) for sibling in siblings]
        if not others:
            yield from documents
            return
        dead: list[Document] = []
        for document in documents:
            if document.deleted:
                dead.append(document)
            else:
                yield document
            if len(dead) >= 100:
                yield from _drop_alive(dead, others)
                dead = []
        yield from _drop_alive(dead, others)

    def compare(self, records: dict[str, bytes], differences: Differences | None = None) -> Counts:
        """What loading a page would do, found by reading only.

        differences: is told which records are missing (a tombstone is as good as none) and which differ.
        """
        same = self.find_same(records) if records else frozenset()
        counts = Counts(unchanged=len(same))
        others = [record_id for record_id in records if record_id not in same]
        known = self._read_deleted(others)
        for record_id in others:
            counts.inserted += record_id not in known
            counts.updated += record_id in known
            if differences is not None:
                kind = "missing" if known.get(record_id, True) else "differing"
                differences.add(Difference(kind, record_id, record_id))
        return counts

    def _read_deleted(self, record_ids: list[str]) -> dict[str, bool]:
        """{record id: whether it is a tombstone} of those that the store has."""
        rows = self._read_some(record_ids, "record_id,deleted_at", 100)
        return {row.record_id: row.deleted_at is not None for row, _ in rows}

    def _read_some(
        self, record_ids: list[str], columns: str, at_a_time: int
    ) -> Iterator[tuple[_StoredRow, Callable[[msgspec.Raw], bytes]]]:
        """Rows of these records, each with what cuts its record out of the answer."""
        for part in _cut_ids(record_ids, at_a_time):
            while part:
                ids = f"in.({','.join(map(quote, part))})"
                params = [*self.filters(), ("select", columns), ("record_id", ids)]
                body = self.postgrest.select(self.system, params, what=f"documents of {self.container_id}")
                page, cut = decode_raw(self._rows, body)
                for row in page:
                    yield row, cut
                # PostgREST may be set to give fewer rows than were asked for.
                seen = {row.record_id for row in page}
                part = [record_id for record_id in part if record_id not in seen] if page else []

    def find_same(self, records: dict[str, bytes]) -> frozenset[str]:
        """Ids of the records, {id: bytes}, that are stored, alive, with just these bytes."""
        digests = [hashlib.sha256(record).hexdigest() for record in records.values()]
        found = self.postgrest.call(
            "same_documents",
            {**self.place, "record_ids": list(records), "digests": digests},
            what=f"digests of {self.container_id}",
        )
        return frozenset(found).intersection(records)


def quote(value: str) -> str:
    """A value as PostgREST takes it inside in.(...), or=(...): double quotes, with \\ and " escaped."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _cut_ids(record_ids: list[str], most: int) -> Iterator[list[str]]:
    """Parts of so many ids at most that fit into an address, where a letter may take nine signs."""
    part: list[str] = []
    signs = 0
    for record_id in record_ids:
        length = len(percent_encode(record_id))
        if part and (len(part) >= most or signs + length > ADDRESS_SIGNS):
            yield part
            part, signs = [], 0
        part.append(record_id)
        signs += length
    if part:
        yield part


def _drop_alive(dead: list[Document], others: list[Reader]) -> Iterator[Document]:
    record_ids = [document.record_id for document in dead]
    alive = set().union(*(other.read_alive_ids(record_ids) for other in others)) if dead else set()
    return (document for document in dead if document.record_id not in alive)
