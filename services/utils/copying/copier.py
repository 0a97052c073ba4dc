"""All media of a form that a run is to look at: planned, given to threads, noted in the store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from services.utils import odk, s3
from services.utils.attachments import RECORDS, Attachment, Attachments
from services.utils.copying.files import FileCopier, Outcome
from services.utils.copying.plan import Entry, Options, Plan
from services.utils.errors import PublishError, ServiceError, SourceError
from services.utils.odk.media import Media
from services.utils.progress import Progress
from services.utils.records import Reject
from services.utils.runs import Run
from services.utils.session import Backoff
from services.utils.spool import Spool
from services.utils.store import Store

log = logging.getLogger(__name__)

# An incremental run also compares so many stored files, those that were compared longest ago: nothing else tells
# of a file that was replaced.
COMPARE_AGAIN = 100
# So many files in a row that cannot be had are no trouble with files any more.
GIVE_UP_AFTER = 24
_FLUSH_ROWS, _FLUSH_S = 200, 2.0
_STOP_S = 5.0
_SHOWN = 20


class Copier:
    """Copies the media of one form. One run each."""

    def __init__(
        self,
        store: Store,
        form: odk.Form,
        feed: odk.FormFeed,
        bucket: s3.Bucket,
        options: Options,
        *,
        dry_run: bool = False,
    ) -> None:
        self._store = store
        self._form_id = form.form_id
        self._feed = feed
        self._bucket = bucket
        self._options = options
        self._dry_run = dry_run
        self._stop = threading.Event()
        self._table = Attachments(store.postgrest, store.app_id, store.container_id)
        self._media = Media(feed.central, feed.project_id, feed.form_id, self._stop, options.workers)
        self._files = FileCopier(form, self._media, bucket, options, self._stop, dry_run)
        self._plan = Plan(form)
        # {key: size} of what is in the bucket, for a run that looks at everything.
        self._objects: Spool | None = None
        self._pending: list[Attachment] = []
        self._flushed = time.monotonic()
        self._progress = Progress("copying media of submissions")
        self._failures_in_a_row = 0
        self._missing: list[str] = []
        self._missing_count = 0

    def copy(self, run: Run) -> dict[str, int]:
        """Copy what the run is to look at. Its outcome is in `run.counts`, files being what is counted.

        Returns: how many files of the form are awaited: {"missing": 3}.
        Raises: SourceError, PublishError, StoreError if it makes no sense to go on. What was copied is known then.
        """
        try:
            self._make_plan(run)
            if self._plan.count():
                # What is wrong with all files is said before the first one.
                self._feed.fetch_state()
                self._bucket.check(self._files.base)
            if run.is_full:
                self._objects = Spool()
                for stored in self._bucket.list(self._files.base):
                    self._objects.there(stored.key, str(stored.size))
            entries = self._plan.read(self._options.newest_first)
            again = self._work(((entry, None) for entry in entries), run, last=False)
            self._progress.close()
            if again:
                log.info("trying once more: the files of %d submissions", len(again))
                self._work(iter(again), run, last=True)
        finally:
            self._plan.close()
            if self._objects is not None:
                self._objects.close()
            self._media.close()
        return self._tell(run)

    def _make_plan(self, run: Run) -> None:
        """What changed, or everything; and what waits."""
        for document in run.watch(self._store.read(since=run.since_text, deleted=run.is_full)):
            self._plan.add(document)
        if run.is_full:
            return
        waiting = self._table.find_waiting(COMPARE_AGAIN)
        waiting = [record_id for record_id in waiting if not self._plan.has(record_id)]
        gone = set(waiting)
        for document in self._store.read_documents(waiting):
            gone.discard(document.record_id)
            self._plan.add(document)
        for record_id in gone:
            # Its tombstone was purged.
            self._plan.add_gone(record_id)

    # -- in this thread --------------------------------------------------------------------------

    def _work(
        self,
        entries: Iterator[tuple[Entry, set[str] | None]],
        run: Run,
        *,
        last: bool,
    ) -> list[tuple[Entry, set[str] | None]]:
        """Copy the files of submissions (those of the given names, or all); what is to be tried again."""
        again: list[tuple[Entry, set[str] | None]] = []
        pool = ThreadPoolExecutor(self._options.workers, thread_name_prefix="media")
        under_way: set[Future[Outcome]] = set()

        def take(done: Iterable[Future[Outcome]]) -> None:
            for future in done:
                outcome = future.result()
                self._keep(outcome, run, last)
                under_way.remove(future)
                if outcome.failed and not last:
                    again.append((outcome.entry, outcome.failed_files or None))
            if len(self._pending) >= _FLUSH_ROWS or time.monotonic() - self._flushed > _FLUSH_S:
                self._flush()

        try:
            while chunk := list(islice(entries, RECORDS)):
                known = self._table.read([entry.record_id for entry, _ in chunk])
                for entry, names in chunk:
                    there = None
                    if self._objects is not None and entry.instance_id:
                        there = self._objects.there_under(self._files.build_base(entry.instance_id))
                    rows = known.get(entry.record_id, {})
                    while len(under_way) >= 2 * self._options.workers:
                        take(wait(under_way, return_when=FIRST_COMPLETED).done)
                    under_way.add(pool.submit(self._files.copy, entry, rows, there, names))
            while under_way:
                take(wait(under_way, return_when=FIRST_COMPLETED).done)
            self._flush()
        except BaseException:
            self._end(pool, under_way)
            raise
        pool.shutdown()
        return again

    def _end(self, pool: ThreadPoolExecutor, under_way: set[Future[Outcome]]) -> None:
        """Let nothing go on, and note what was done: there is little time left."""
        self._stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        # What waits for a silent server is not waited for; it writes nothing any more.
        wait([future for future in under_way if not future.cancelled()], timeout=_STOP_S)
        for future in under_way:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._pending += future.result().rows
        try:
            self._flush(Backoff(attempts=2, deadline_s=5.0))
        except ServiceError as error:
            log.warning("what was copied last is not noted, the next run finds it in the bucket: %s", error)

    def _keep(self, outcome: Outcome, run: Run, last: bool) -> None:
        self._progress.add(1, self._plan.count())
        run.counts.add(outcome.counts)
        self._pending += outcome.rows
        run.note(outcome.delivered)
        if last:
            run.counts.read += len(outcome.failed_files)
        self._missing_count += len(outcome.missing)
        self._missing += outcome.missing[: _SHOWN - len(self._missing)]
        if outcome.delivered:
            self._failures_in_a_row = 0
        for record_id, error in outcome.failed.items():
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= max(GIVE_UP_AFTER, 3 * self._options.workers):
                kind = SourceError if isinstance(error, SourceError) else PublishError
                raise kind(
                    f"{self._failures_in_a_row} files one after the other could not be copied, the last one because: "
                    f"{error}. What came before is copied. Run again when that is mended."
                ) from error
            if last:
                run.reject(Reject(record_id, str(error)))
            else:
                log.info("%s could not be copied yet: %s", record_id, error)

    def _flush(self, backoff: Backoff | None = None) -> None:
        rows, self._pending = self._pending, []
        self._flushed = time.monotonic()
        if rows and not self._dry_run:
            self._table.keep(rows, backoff)

    def _tell(self, run: Run) -> dict[str, int]:
        for one in self._missing:
            log.info("awaited: %s", one)
        if self._missing_count > len(self._missing):
            log.info("awaited: %d more", self._missing_count - len(self._missing))
        if self._dry_run:
            return {"missing": self._missing_count}
        states = self._table.count()
        log.info(
            "media of %s: %d stored, %d awaited, %d failed, %d that submissions do not have any more",
            self._form_id,
            *(states.get(state, 0) for state in ("stored", "missing", "failed", "deleted")),
        )
        return {"missing": states.get("missing", 0)}
