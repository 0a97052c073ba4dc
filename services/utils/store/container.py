"""One container's documents: load (upsert, or replace with removal), and what a full load needs besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from services.utils.differences import Differences
from services.utils.errors import StoreError
from services.utils.postgrest import PostgREST
from services.utils.records import Counts, OnReject
from services.utils.store.bodies import PageLoader
from services.utils.store.metadata import decode_metadata, load_metadata, select_metadata
from services.utils.store.reading import Reader
from services.utils.window import MOST, START, Window

# Pages under way are in memory: more of them than at the start only where they are small.
BYTES_UNDER_WAY = 24_000_000


@dataclass(frozen=True)
class Missing:
    """A full load compared with the store. record_ids: stored, but not seen at the source."""

    stored: int
    seen: int
    record_ids: list[str]


class Store(Reader):
    """The documents of one container, its metadata, and what is known of full loads of it.

    system: the source they come from, which is also the table: "knack" or "odk".
    """

    def __init__(self, postgrest: PostgREST, system: str, app_id: str, container_id: str) -> None:
        super().__init__(postgrest, system, app_id, container_id)
        self._metadata: bytes | None = None

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
        loader = PageLoader(self, run_id, on_reject)
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
                size = sum(map(len, records.values()))
                waited = len(under_way) >= window.size
                while len(under_way) >= min(window.size, _allow(sum(sizes.values()) + size)):
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    finish(done, waited)
                future = pool.submit(loader.load, records, number, compare=compare)
                sizes[future] = size
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
                *self.filters(),
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
            known = select_metadata(self.postgrest, self.app_id, form)
        return None if known is None else decode_metadata(known)

    def take_metadata(self, metadata: bytes) -> None:
        """Be given, as JSON, the metadata that the store has just now: they are not read once more."""
        self._metadata = metadata if metadata != b"null" else None

    def load_metadata(self, metadata: bytes, *, dry_run: bool = False) -> str:
        """Keep the metadata of the Knack app or of the ODK form; see the function `load_metadata`."""
        form = self.container_id if self.system == "odk" else None
        return load_metadata(self.postgrest, self.app_id, metadata, form_id=form, dry_run=dry_run)


def _allow(size: int) -> int:
    """How many pages may be under way that take so many bytes of memory together."""
    return MOST if size <= BYTES_UNDER_WAY else START


def _done(counts: Counts) -> Future[Counts]:
    future: Future[Counts] = Future()
    future.set_result(counts)
    return future
