"""Documents in the store: load (upsert, or replace with removal), read in key-set pages, metadata."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import msgspec

from services.utils.differences import Difference, Differences
from services.utils.errors import OutcomeUnknown, RequestRefused, StoreError
from services.utils.postgrest import PostgREST
from services.utils.rawjson import decode_raw, mend_surrogates
from services.utils.records import Counts, Document, OnReject, Reject
from services.utils.session import Backoff
from services.utils.window import MOST, Window

log = logging.getLogger(__name__)

# The server's time for a document is least with bodies of about a MB.
BODY_ROWS = 1000
BODY_BYTES = 1_000_000
READ_BYTES = 4_000_000
READ_ROWS_FIRST, READ_ROWS_MOST = 200, 5000
# Behind each part of a body; JSON has no bare control characters.
_END = b"\x1e"
# Refusals that halving can narrow down to one document: PostgreSQL's classes "data exception", "integrity
# constraint" and "program limit", PostgREST's "body is not JSON". Anything else concerns the whole run.
_DOCUMENT_CODES = ("22", "23", "54", "PGRST102")
# For a body that broke the connection: the parts of it are not to be tried as long as the whole was.
_PART_BACKOFF = Backoff(attempts=3, deadline_s=60.0)


@dataclass(frozen=True)
class Missing:
    """A full load compared with the store. record_ids: stored, but not seen at the source."""

    stored: int
    seen: int
    record_ids: list[str]


class _StoredRow(msgspec.Struct):
    record_id: str
    record: msgspec.Raw
    updated_at: str = ""
    deleted_at: str | None = None


class Store:
    """The documents of one container.

    system: the source they come from, which is also the table: "knack" or "odk".
    """

    def __init__(self, postgrest: PostgREST, system: str, app_id: str, container_id: str) -> None:
        self.postgrest = postgrest
        self.system = system
        self.app_id = app_id
        self.container_id = container_id
        self._metadata: bytes | None = None
        self._rows = msgspec.json.Decoder(list[_StoredRow])

    # -- load ------------------------------------------------------------------------------------

    def load(
        self,
        pages: Iterable[list[tuple[str, bytes]]],
        *,
        on_reject: OnReject,
        run_id: str = "",
        first_page: int = 1,
        dry_run: bool = False,
        compare: bool = False,
        differences: Differences | None = None,
        on_page: Callable[[int], None] | None = None,
    ) -> Counts:
        """Upsert records as documents, each byte for byte, a few bodies at a time (`Window`).

        Args:
            pages: lists of (record id, JSON bytes). Within a page the last of a repeated id wins.
            run_id: of a full load: the ids of each page are kept with the run, after its documents are in,
                so that what was not seen can be found. "" for an incremental load.
            first_page: number of the first page in the run's list (a second pass goes on counting).
            compare: most records are likely to be stored already: those that are, by their digests, are not sent.
            differences: with dry_run, is told of every record that would be sent.
            on_page: told how many records are in after each page.
        Returns: counts; `inserted` includes records that came back as changed ones under a new id.
        Raises: StoreError if the store is not there or refuses for another reason than a document.
        """
        total = Counts()
        window, http = Window(), self.postgrest.http
        sizes: dict[Future[Counts], int] = {}
        repeated = http.repeated

        def finish(done: Iterable[Future[Counts]], waited: bool = False) -> None:
            nonlocal repeated
            for future in done:
                counts = future.result()
                total.inserted += counts.inserted
                total.updated += counts.updated
                total.unchanged += counts.unchanged
                total.rejected += counts.rejected
                window.note(sizes.pop(future, 0), waited=waited, trouble=http.repeated > repeated)
                repeated = http.repeated
                if on_page is not None:
                    on_page(total.inserted + total.updated + total.unchanged)

        under_way: set[Future[Counts]] = set()
        pool = ThreadPoolExecutor(MOST, thread_name_prefix="load")
        try:
            for number, page in enumerate(pages, first_page):
                records = dict(page)
                total.read += len(records)
                if dry_run:
                    finish([_done(self.compare(records, differences))])
                    continue
                waited = len(under_way) >= window.size
                while len(under_way) >= window.size:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    finish(done, waited)
                future = pool.submit(self._load_page, records, run_id, number, on_reject, compare)
                sizes[future] = sum(map(len, records.values()))
                under_way.add(future)
            done, under_way = wait(under_way)
            finish(done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return total

    def find_missing(self, run_id: str, replace_id: str = "") -> Missing:
        """What the store holds and the full load did not see.

        replace_id: what the shards of that replace saw counts too; run_id may be "" then.
        """
        asked = {"run_id": run_id or None, **self.place}
        if replace_id:
            asked["replace_id"] = replace_id
        return Missing(**self.postgrest.call("missing_records", asked)[0])

    def keep_shard(self, run_id: str, delivered_to: str, pages: int, records: int) -> None:
        """Note that a shard has read all of its pages.

        Args:
            delivered_to: ISO-8601: up to here these pages have been delivered.
        Raises: StoreError if the run has been taken for dead meanwhile.
        """
        self.postgrest.call(
            "keep_shard",
            {"run_id": run_id, "delivered_to": delivered_to, "pages": pages, "records": records},
        )

    def remove(self, run_id: str, record_ids: list[str]) -> int:
        """Make tombstones of documents, in one transaction; how many it made.

        Raises: StoreError if the run has been taken for dead meanwhile.
        """
        return int(
            self.postgrest.call(
                "remove_documents", {"run_id": run_id, **self.place, "record_ids": record_ids}
            )
        )

    def purge(self, before: str, *, dry_run: bool = False) -> int:
        """Delete tombstones from before a time (ISO-8601); how many there were."""
        if not dry_run:
            return int(self.postgrest.call("purge_tombstones", {**self.place, "before": before}))
        response = self.postgrest.http.request(
            "GET",
            f"/{self.system}",
            params=[
                *self._filters(),
                ("deleted_at", f"lt.{before}"),
                ("updated_at", f"lt.{before}"),
                ("select", "record_id"),
                ("limit", "1"),
            ],
            headers={"Prefer": "count=exact"},
            repeatable=True,
        )
        return int(response.headers["Content-Range"].rpartition("/")[2])

    def clear_seen(self) -> None:
        """Forget what runs that have ended had seen."""
        self.postgrest.call("clear_load_pages", {})

    def count_alive(self) -> int:
        """How many documents are in the store and at their source."""
        response = self.postgrest.http.request(
            "GET",
            f"/{self.system}",
            params=[*self._filters(), ("deleted_at", "is.null"), ("select", "record_id"), ("limit", "1")],
            headers={"Prefer": "count=exact"},
            repeatable=True,
        )
        return int(response.headers["Content-Range"].rpartition("/")[2])

    def _load_page(
        self, records: dict[str, bytes], run_id: str, number: int, on_reject: OnReject, compare: bool
    ) -> Counts:
        counts = Counts()
        same = self._find_same(records) if compare and records else frozenset()
        counts.unchanged = len(same)
        for batch in split_batches({key: record for key, record in records.items() if key not in same}):
            self._load_batch(batch, counts, on_reject)
        if run_id and records:
            body = msgspec.json.encode([{"run_id": run_id, "page": number, "record_ids": list(records)}])
            self.postgrest.upsert("load_pages", body, "run_id,page,record_ids", what="ids of a page")
        return counts

    def _find_same(self, records: dict[str, bytes]) -> frozenset[str]:
        """Ids of the records that are stored, alive, with just these bytes."""
        digests = [hashlib.sha256(record).hexdigest() for record in records.values()]
        found = self.postgrest.call(
            "same_documents",
            {**self.place, "record_ids": list(records), "digests": digests},
            what=f"digests of {self.container_id}",
        )
        return frozenset(found).intersection(records)

    def _load_batch(
        self,
        batch: list[tuple[str, bytes]],
        counts: Counts,
        on_reject: OnReject,
        backoff: Backoff | None = None,
    ) -> None:
        what = f"{len(batch)} records of {self.container_id}"
        try:
            kept = self.postgrest.send("load_documents", self.encode(batch), what, backoff)
        except RequestRefused as error:
            if not _concerns_document(error):
                raise
            self._load_halves(batch, counts, on_reject)
        except OutcomeUnknown:
            # A body that breaks the connection every time may hold one document that does it.
            if len(batch) == 1 or not self._answers():
                raise
            self._load_halves(batch, counts, on_reject, _PART_BACKOFF)
        else:
            changed, updated = _read_kept(kept)
            if changed < 0:
                raise StoreError(
                    f"The store took {what} without saying how many it kept. Is PGREST_ENDPOINT a PostgREST? "
                    "Nothing was removed. Correct the address and run again."
                )
            if changed > len(batch) or updated > changed:
                raise StoreError(
                    f"The store says that {changed} rows changed of {len(batch)} sent. Is another trigger on "
                    f"api.{self.system}? The rows may have been stored; run again when that is clear."
                )
            counts.updated += updated
            counts.inserted += changed - updated
            counts.unchanged += len(batch) - changed

    def _load_halves(
        self,
        batch: list[tuple[str, bytes]],
        counts: Counts,
        on_reject: OnReject,
        backoff: Backoff | None = None,
    ) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            self._load_batch(batch[:middle], counts, on_reject, backoff)
            self._load_batch(batch[middle:], counts, on_reject, backoff)
            return
        record_id, record = batch[0]
        try:
            counts_before = self._put_one(record_id, record)
        except RequestRefused as refused:
            if not _concerns_document(refused):
                raise
            counts.rejected += 1
            reason = str(refused).rpartition(": ")[2]
            on_reject(Reject(record_id, f"the store refused the document: {reason}", record))
            return
        except UnicodeDecodeError:
            counts.rejected += 1
            on_reject(Reject(record_id, "the document is not UTF-8", record))
            return
        counts.inserted += counts_before == "inserted"
        counts.updated += counts_before == "updated"
        counts.unchanged += counts_before == "unchanged"

    def _put_one(self, record_id: str, record: bytes) -> str:
        """Store one document by the way that takes every escape; what became of it."""
        return str(
            self.postgrest.call(
                "put_document",
                {**self.place, "record_id": record_id, "record": record.decode("utf-8")},
            )
        )

    def _answers(self) -> bool:
        """Whether the store is there at all, with a question that costs nothing."""
        try:
            self.postgrest.http.request(
                "GET",
                f"/{self.system}",
                params=[("select", "record_id"), ("limit", "0")],
                repeatable=True,
                backoff=Backoff(attempts=2, deadline_s=20.0),
            )
        except (OutcomeUnknown, RequestRefused):
            return False
        return True

    def encode(self, batch: list[tuple[str, bytes]]) -> bytes:
        """A body of documents as api.load_documents takes it."""
        # One join: the bytes of a record are copied once.
        head = {**self.place, "record_ids": [record_id for record_id, _ in batch]}
        return _END.join([msgspec.json.encode(head), *(record for _, record in batch), b""])

    def compare(self, records: dict[str, bytes], differences: Differences | None = None) -> Counts:
        """What loading a page would do, found by reading only.

        differences: is told which records are missing (a tombstone is as good as none) and which differ.
        """
        same = self._find_same(records) if records else frozenset()
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
        known: dict[str, bool] = {}
        for start in range(0, len(record_ids), 100):
            part = record_ids[start : start + 100]
            while part:
                params = [
                    *self._filters(),
                    ("select", "record_id,deleted_at"),
                    ("record_id", f"in.({','.join(map(quote, part))})"),
                ]
                page = msgspec.json.decode(self.postgrest.select(self.system, params, what="ids"))
                known.update((row["record_id"], row["deleted_at"] is not None) for row in page)
                # PostgREST may be set to give fewer rows than were asked for.
                part = [record_id for record_id in part if record_id not in known] if page else []
        return known

    # -- read ------------------------------------------------------------------------------------

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
                *self._filters(),
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
            *self._filters(),
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
            params = [*self._filters(), ("select", "record_id"), ("deleted_at", "is.null")]
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
        for start in range(0, len(record_ids), 50):
            part = record_ids[start : start + 50]
            while part:
                params = [
                    *self._filters(),
                    ("select", "record_id,record,updated_at,deleted_at"),
                    ("record_id", f"in.({','.join(map(quote, part))})"),
                ]
                body = self.postgrest.select(self.system, params, what=f"documents of {self.container_id}")
                page, cut = decode_raw(self._rows, body)
                for row in page:
                    yield Document(row.record_id, cut(row.record), row.updated_at, row.deleted_at is not None)
                # PostgREST may be set to give fewer rows than were asked for.
                seen = {row.record_id for row in page}
                part = [record_id for record_id in part if record_id not in seen] if page else []

    def read_alive_ids(self, record_ids: list[str]) -> set[str]:
        """Which of these records are in the container now."""
        return {record_id for record_id, deleted in self._read_deleted(record_ids).items() if not deleted}

    def skip_alive_elsewhere(
        self, documents: Iterable[Document], siblings: Iterable[str]
    ) -> Iterator[Document]:
        """Pass documents on, but no tombstone whose record is alive in another container of the same app.

        Two views of one object may feed one dataset: a record that moved from one to the other stays there.
        """
        others = [Store(self.postgrest, self.system, self.app_id, sibling) for sibling in siblings]
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

    # -- metadata --------------------------------------------------------------------------------

    def require_metadata(self) -> dict[str, Any]:
        """The metadata of the Knack app or of the ODK form.

        Raises: StoreError if it was never loaded.
        """
        metadata = self.read_metadata()
        if metadata is None:
            what = f"form {self.container_id}" if self.system == "odk" else f"app {self.app_id}"
            raise StoreError(
                f"The store has no metadata of the {what}, so fields have no names. Nothing was "
                "published. Run metadata_to_postgrest.py first."
            )
        return metadata

    def read_metadata(self) -> dict[str, Any] | None:
        """The metadata of the Knack app or of the ODK form, or None if it was never loaded."""
        known, self._metadata = self._metadata, None
        if known is None:
            form = self.container_id if self.system == "odk" else None
            known = _select_metadata(self.postgrest, self.app_id, form)
        return None if known is None else decode_metadata(known)

    def take_metadata(self, metadata: bytes) -> None:
        """Be given, as JSON, the metadata that the store has just now: they are not read once more."""
        self._metadata = metadata if metadata != b"null" else None

    def load_metadata(self, metadata: bytes, *, dry_run: bool = False) -> str:
        """Keep the metadata of the Knack app or of the ODK form; see the function `load_metadata`."""
        form = self.container_id if self.system == "odk" else None
        return load_metadata(self.postgrest, self.app_id, metadata, form_id=form, dry_run=dry_run)

    @property
    def place(self) -> dict[str, str]:
        """What container it is, as the store's functions take it."""
        return {"source": self.system, "app_id": self.app_id, "container_id": self.container_id}

    def _filters(self) -> list[tuple[str, str]]:
        return [("app_id", f"eq.{self.app_id}"), ("container_id", f"eq.{self.container_id}")]


def load_metadata(
    postgrest: PostgREST, app_id: str, metadata: bytes, *, form_id: str | None = None, dry_run: bool = False
) -> str:
    """Keep a Knack app's or, with `form_id`, an ODK form's metadata; "inserted", "updated" or "unchanged".

    It is kept byte for byte, but escapes that PostgREST refuses (\\u0000, half of a pair) are blanked: one
    broken letter in a label is no reason to have no metadata.
    Raises: StoreError if the store refuses it.
    """
    kept = mend_surrogates(metadata, nulls=True)
    if kept != metadata:
        log.warning(
            "the metadata of %s hold broken characters; they are kept as blanks",
            form_id or f"the app {app_id}",
        )
    known = _select_metadata(postgrest, app_id, form_id)
    if known is not None and known == kept:
        return "unchanged"
    if not dry_run:
        table, columns, names = (
            "knack_metadata",
            "app_id,metadata",
            b'"app_id":%s' % msgspec.json.encode(app_id),
        )
        if form_id is not None:
            table, columns = "odk_metadata", "app_id,container_id,metadata"
            names += b',"container_id":%s' % msgspec.json.encode(form_id)
        postgrest.upsert(table, b'[{%s,"metadata":%s}]' % (names, kept), columns, what="metadata")
    return "inserted" if known is None else "updated"


def decode_metadata(metadata: bytes) -> dict[str, Any]:
    """A metadata document's value."""
    return decode_raw(_METADATA, metadata)[0]


_METADATA: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class _StoredMetadata(msgspec.Struct):
    metadata: msgspec.Raw


def _select_metadata(postgrest: PostgREST, app_id: str, form_id: str | None = None) -> bytes | None:
    params = [("app_id", f"eq.{app_id}"), ("select", "metadata")]
    if form_id is not None:
        params.append(("container_id", f"eq.{form_id}"))
    body = postgrest.select("knack_metadata" if form_id is None else "odk_metadata", params)
    found = msgspec.json.decode(body, type=list[_StoredMetadata])
    return bytes(found[0].metadata) if found else None


def quote(value: str) -> str:
    """A value as PostgREST takes it inside in.(...), or=(...): double quotes, with \\ and " escaped."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _concerns_document(error: RequestRefused) -> bool:
    return error.status == 413 or error.code.startswith(_DOCUMENT_CODES)


def _read_kept(answer: Any) -> tuple[int, int]:
    """(rows changed, how many of them were there before) by an answer of load_documents; (-1, 0) where it is none."""
    try:
        return int(answer["changed"]), int(answer["updated"])
    except (TypeError, LookupError, ValueError):
        return -1, 0


def split_batches(
    records: dict[str, bytes], rows: int = BODY_ROWS, size: int = BODY_BYTES
) -> Iterator[list[tuple[str, bytes]]]:
    """Records in bodies, by number and bytes; a single large one goes alone."""
    batch: list[tuple[str, bytes]] = []
    filled = 0
    for record_id, record in records.items():
        if batch and (len(batch) >= rows or filled + len(record) > size):
            yield batch
            batch, filled = [], 0
        batch.append((record_id, record))
        filled += len(record)
    if batch:
        yield batch


def _drop_alive(dead: list[Document], others: list[Store]) -> Iterator[Document]:
    record_ids = [document.record_id for document in dead]
    alive = set().union(*(other.read_alive_ids(record_ids) for other in others)) if dead else set()
    return (document for document in dead if document.record_id not in alive)


def _done(counts: Counts) -> Future[Counts]:
    future: Future[Counts] = Future()
    future.set_result(counts)
    return future
