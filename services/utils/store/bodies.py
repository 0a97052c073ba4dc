"""How the records of a page become documents: bodies that the store takes whole, and the one record that it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from services.utils.errors import OutcomeUnknown, RequestRefused, StoreError
from services.utils.records import Counts, OnReject, Reject
from services.utils.session import Backoff
from services.utils.store.reading import Reader

# The server's time for a document is least with bodies of about a MB.
BODY_ROWS = 1000
BODY_BYTES = 1_000_000
# Behind each part of a body; JSON has no bare control characters.
_END = b"\x1e"
# Refusals that halving can narrow down to one document: PostgreSQL's classes "data exception", "integrity
# constraint" and "program limit", PostgREST's "body is not JSON". Anything else concerns the whole run.
_DOCUMENT_CODES = ("22", "23", "54", "PGRST102")
# For a body that broke the connection: the parts of it are not to be tried as long as the whole was.
_PART_BACKOFF = Backoff(attempts=3, deadline_s=60.0)


class PageLoader:
    """Stores the records of one page after the other. Safe to use by several threads.

    container: what they are stored in. run_id: of a full load: the ids of each page are kept with it; or "".
    """

    def __init__(self, container: Reader, run_id: str, on_reject: OnReject) -> None:
        self._container = container
        self._postgrest = container.postgrest
        self._run_id = run_id
        self._on_reject = on_reject

    def load(self, records: dict[str, bytes], number: int, *, compare: bool) -> Counts:
        """Store a page's records.

        Args:
            number: the page's, in the run's list. compare: those that are stored already are not sent.
        """
        counts = Counts()
        same = self._container.find_same(records) if compare and records else frozenset()
        counts.unchanged = len(same)
        for batch in split_batches({key: record for key, record in records.items() if key not in same}):
            self._load_batch(batch, counts)
        if self._run_id and records:
            body = msgspec.json.encode(
                [{"run_id": self._run_id, "page": number, "record_ids": list(records)}]
            )
            self._postgrest.upsert("load_pages", body, "run_id,page,record_ids", what="ids of a page")
        return counts

    def _load_batch(
        self,
        batch: list[tuple[str, bytes]],
        counts: Counts,
        backoff: Backoff | None = None,
    ) -> None:
        what = f"{len(batch)} records of {self._container.container_id}"
        try:
            kept = self._postgrest.send("load_documents", encode_body(self._container, batch), what, backoff)
        except RequestRefused as error:
            if not _concerns_document(error):
                raise
            self._load_halves(batch, counts)
        except OutcomeUnknown:
            # A body that breaks the connection every time may hold one document that does it.
            if len(batch) == 1 or not self._answers():
                raise
            self._load_halves(batch, counts, _PART_BACKOFF)
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
                    f"api.{self._container.system}? The rows may have been stored; run again when that is clear."
                )
            counts.updated += updated
            counts.inserted += changed - updated
            counts.unchanged += len(batch) - changed

    def _load_halves(
        self,
        batch: list[tuple[str, bytes]],
        counts: Counts,
        backoff: Backoff | None = None,
    ) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            self._load_batch(batch[:middle], counts, backoff)
            self._load_batch(batch[middle:], counts, backoff)
            return
        record_id, record = batch[0]
        try:
            counts_before = self._put_one(record_id, record)
        except RequestRefused as refused:
            if not _concerns_document(refused):
                raise
            counts.rejected += 1
            reason = str(refused).rpartition(": ")[2]
            self._on_reject(Reject(record_id, f"the store refused the document: {reason}", record))
            return
        except UnicodeDecodeError:
            counts.rejected += 1
            self._on_reject(Reject(record_id, "the document is not UTF-8", record))
            return
        counts.inserted += counts_before == "inserted"
        counts.updated += counts_before == "updated"
        counts.unchanged += counts_before == "unchanged"

    def _put_one(self, record_id: str, record: bytes) -> str:
        """Store one document by the way that takes every escape; what became of it."""
        return str(
            self._postgrest.call(
                "put_document",
                {**self._container.place, "record_id": record_id, "record": record.decode("utf-8")},
            )
        )

    def _answers(self) -> bool:
        """Whether the store is there at all, with a question that costs nothing."""
        try:
            self._postgrest.http.request(
                "GET",
                f"/{self._container.system}",
                params=[("select", "record_id"), ("limit", "0")],
                repeatable=True,
                backoff=Backoff(attempts=2, deadline_s=20.0),
            )
        except (OutcomeUnknown, RequestRefused):
            return False
        return True


def encode_body(container: Reader, batch: list[tuple[str, bytes]]) -> bytes:
    """A body of documents as api.load_documents takes it."""
    # One join: the bytes of a record are copied once.
    head = {**container.place, "record_ids": [record_id for record_id, _ in batch]}
    return _END.join([msgspec.json.encode(head), *(record for _, record in batch), b""])


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


def _concerns_document(error: RequestRefused) -> bool:
    return error.status == 413 or error.code.startswith(_DOCUMENT_CODES)


def _read_kept(answer: Any) -> tuple[int, int]:
    """(rows changed, how many of them were there before) by an answer of load_documents; (-1, 0) where it is none."""
    try:
        return int(answer["changed"]), int(answer["updated"])
    except (TypeError, LookupError, ValueError):
        return -1, 0
