"""From a source into the store: all of a container, or what changed. Knows neither Knack nor ODK."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.utils.differences import Difference, Differences
from services.utils.errors import SourceError
from services.utils.guard import DeleteGuard
from services.utils.progress import Progress
from services.utils.records import Counts, Page, Reject, Source
from services.utils.replaces import Replace
from services.utils.runs import Run
from services.utils.spool import Spool
from services.utils.store import Store

log = logging.getLogger(__name__)

# A source's total is an estimate and may be some records high; this far off, pages were missing. A few
# records are no sign of that, unless something is to be removed because it was not seen.
SEEN_AT_LEAST = 0.9
A_FEW = 10
# Asking for records one by one is worth it while it costs no more requests than reading all again.
ASK_AT_LEAST = 20
# An order that is not steady leaves few records out in a round, seldom the same.
ROUNDS_MOST = 8
# More records than these that differ are not looked at again: they are no coincidence.
LOOK_AGAIN_MOST = 1000
_STORED = "What the source gave is stored, nothing was removed."
_DRY = "Nothing was changed."


class _Seen:
    """How many different records came. On disk; one page costs nothing."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._spool: Spool | None = None

    def add(self, record_ids: list[str]) -> None:
        """Note the records of a page."""
        if self._spool is None and not self._first:
            self._first = record_ids
            return
        if self._spool is None:
            self._spool = Spool()
            for record_id in self._first:
                self._spool.see(record_id)
        for record_id in record_ids:
            self._spool.see(record_id)

    def count(self) -> int:
        """How many there were."""
        return self._spool.count_wanted() if self._spool is not None else len(set(self._first))

    def close(self) -> None:
        """Forget them."""
        if self._spool is not None:
            self._spool.close()


class _Walk:
    """One walk over a source, noting what it saw of it on the way.

    Where the order is not steady, a record that comes on two pages is a sign that another one came on none: the
    walk goes over all pages again until as many different records have come as the source gave in its last round.
    """

    cure = "Run again."

    def __init__(self, source: Source, *, until_sure: bool = True) -> None:
        self.pages = 0
        # Different ones, where rounds were needed.
        self.records = 0
        # How often one came that had come before.
        self.repeated = 0
        self.total = 0
        # Records of which the source said that they have left it, and did not give after that.
        self.left: set[str] = set()
        self._source = source
        self._seen = _Seen() if until_sure and not source.is_steady else None
        self._pages = source.pages()
        self.first: Page = next(self._pages)

    def read(self) -> Iterator[list[tuple[str, bytes]]]:
        """The pages' records, the first page's included.

        Raises: SourceError if the source still leaves records out after `ROUNDS_MOST` rounds.
        """
        progress = Progress("fetching records")
        pages: Iterator[Page] = itertools.chain([self.first], self._pages)
        rows = 0
        try:
            for _ in range(ROUNDS_MOST):
                before = rows
                for page in pages:
                    self._note(page)
                    rows += len(page.records)
                    progress.add(len(page.records), page.total_records)
                    yield page.records
                self.records = rows if self._seen is None else self._seen.count()
                self.repeated = rows - self.records
                given = rows - before
                if self._seen is None or self.records >= given:
                    return
                log.info(
                    "%d records came, but only %d different ones: the order changed between pages; reading all again",
                    given,
                    self.records,
                )
                pages = self._source.pages()
        finally:
            progress.close()
            if self._seen is not None:
                self._seen.close()
        raise SourceError(
            f"In {ROUNDS_MOST} rounds the source gave {given} records each time, some of them twice, and in all only "
            f"{self.records} different ones: its order changes between pages. What came is stored, nothing was "
            "removed. Show the container's auto-increment field in the view, or sort the view by a field whose values "
            "differ."
        )

    def _note(self, page: Page) -> None:
        self.pages += 1
        self.total = page.total_records
        record_ids = [record_id for record_id, _ in page.records]
        if self._seen is not None:
            self._seen.add(record_ids)
        self.left.difference_update(record_ids)
        self.left.update(page.left)


@dataclass(frozen=True)
class _Tally:
    """What all shards saw of a source. total: how many records it says it has."""

    cure = "Run the shards again, then the finishing call."
    pages: int
    records: int
    total: int


def load_changes(
    store: Store, source: Source, run: Run, guard: DeleteGuard, *, dry_run: bool = False
) -> None:
    """Upsert what a source gives; remove only what it says has left it. The outcome is in `run.counts`.

    Raises: SourceError if the source's answer was incomplete or would remove too much. What it gave is
        stored then, and nothing is removed.
    """
    done = _DRY if dry_run else _STORED
    walk = _Walk(source)
    _set_watermark(run, walk.first)
    # What changed is asked for with an overlap: most of it came before.
    run.counts = store.load(_noting(run, walk.read()), on_reject=run.reject, dry_run=dry_run, compare=True)
    _count_once(run.counts, walk)
    _check_complete(walk, store.container_id, A_FEW, done)
    if walk.left:
        stored, removed = store.count_alive(), len(walk.left)
        where = f"the store's {store.container_id}"
        guard.check(
            there=stored, wanted=stored - removed, removed=removed, where=where, error=SourceError, done=done
        )
        run.counts.deleted = removed if dry_run else store.remove(run.id, sorted(walk.left))


def load_all(store: Store, source: Source, run: Run, guard: DeleteGuard, *, dry_run: bool = False) -> None:
    """Make the store's container exactly the source's. The outcome is in `run.counts`.

    Readers see old and new documents until the walk is over, never fewer than belong there. What was not
    seen is made sure of at the source, then removed in one transaction.

    Raises: SourceError if the source's answer was incomplete, empty or would remove too much. What it
        gave is stored then, and nothing is removed.
    """
    stored = store.count_alive()
    walk = _Walk(source)
    where = f"the store's {store.container_id}"
    # What the source says of itself, before anything is written.
    guard.check(
        there=stored,
        wanted=walk.first.total_records,
        removed=stored - walk.first.total_records,
        where=where,
        error=SourceError,
    )
    _set_watermark(run, walk.first)
    if dry_run:
        _plan_all(store, walk, run, guard, stored, where)
        return
    store.clear_seen()
    run.counts = store.load(
        _noting(run, walk.read()), on_reject=run.reject, run_id=run.id, compare=stored > 0
    )
    _count_once(run.counts, walk)
    # Also where nothing is to be removed: the watermark must not pass what did not come.
    _check_complete(walk, store.container_id, A_FEW, _STORED)
    missing = store.find_missing(run.id).record_ids

    def check(removed: int) -> None:
        guard.check(
            there=stored, wanted=walk.records, removed=removed, where=where, error=SourceError, done=_STORED
        )

    if missing:
        check(len(missing))
        gone = _make_sure(store, source, run, walk, missing, lambda: store.find_missing(run.id).record_ids)
        check(len(gone))
        run.counts.deleted = store.remove(run.id, gone)


def load_shard(store: Store, source: Source, run: Run, guard: DeleteGuard, *, dry_run: bool = False) -> None:
    """Load one shard's pages, and note what it saw for `finish_shards`. Nothing is removed.

    Raises: SourceError if the source says that it has far fewer records than are stored.
    """
    stored = store.count_alive()
    # What a shard's own pages leave out may stand on another's: the finishing call looks at them together.
    walk = _Walk(source, until_sure=False)
    total = walk.first.total_records
    where = f"the store's {store.container_id}"
    guard.check(there=stored, wanted=total, removed=stored - total, where=where, error=SourceError)
    _set_watermark(run, walk.first)
    if not dry_run:
        store.clear_seen()
    run.counts = store.load(
        _noting(run, walk.read()),
        on_reject=run.reject,
        run_id=run.id,
        dry_run=dry_run,
        compare=stored > 0,
    )
    if not dry_run:
        assert run.watermark is not None
        store.keep_shard(run.id, run.watermark, walk.pages, run.counts.read)


def finish_shards(
    store: Store, source: Source, run: Run, guard: DeleteGuard, replace: Replace, *, dry_run: bool = False
) -> None:
    """Make the store's container exactly the source's, whose records the shards have brought.

    As `load_all`: what none of them saw is made sure of at the source (all of it, not a shard's pages), then
    removed in one transaction. `run.counts` are those of all shards together, and what was deleted. A replace
    that is finished already is left alone.
    Raises: SourceError if the shards' answers were incomplete or too much would be removed; nothing is then.
    """
    run.counts = replace.counts
    done = _DRY if dry_run else _STORED
    if replace.finished_at is not None:
        log.info(
            "these shards were finished at %s already", replace.finished_at.isoformat(timespec="seconds")
        )
        run.counts = Counts(rejected=run.counts.rejected)
        run.moves_watermark = False
        return
    first = next(source.pages())
    tally = _Tally(replace.pages, replace.records, first.total_records)
    # As before the shards began: what they inserted must not make removals look fewer.
    stored = max(store.count_alive() - run.counts.inserted, 0)
    where = f"the store's {store.container_id}"

    def check(removed: int) -> None:
        guard.check(
            there=stored, wanted=tally.records, removed=removed, where=where, error=SourceError, done=done
        )

    run.watermark = replace.delivered_to
    _check_complete(tally, store.container_id, A_FEW, done)
    found = store.find_missing(run.id, replace.replace_id)
    if tally.total - found.seen > A_FEW:
        log.warning(
            "the source says that %s has %d records, the shards saw %d: some may have moved between pages while they "
            "walked; the next full load brings those",
            store.container_id,
            tally.total,
            found.seen,
        )
    missing = found.record_ids
    if missing:
        check(len(missing))
        if dry_run:
            run.counts.deleted = len(missing)
            return
        gone = _make_sure(
            store,
            source,
            run,
            tally,
            missing,
            lambda: store.find_missing(run.id, replace.replace_id).record_ids,
        )
        check(len(gone))
        run.counts.deleted = store.remove(run.id, gone)


def _make_sure(
    store: Store,
    source: Source,
    run: Run,
    walk: _Walk | _Tally,
    missing: list[str],
    find_missing: Callable[[], list[str]],
) -> list[str]:
    """Those of the missing that are gone indeed: asked for one by one, or missed in a second walk."""
    answers = _ask(source, missing, walk.pages)
    if answers is not None:
        # Missed by the walk (one that is deleted meanwhile lets another slip through) but there.
        there = [(record_id, record) for record_id, record in answers.items() if record is not None]
        _load_again(store, run, walk, iter([there]))
        return [record_id for record_id, record in answers.items() if record is None]
    log.info("%d stored records were not seen; walking %s again to be sure", len(missing), store.container_id)
    _check_complete(walk, store.container_id, 0, _STORED)
    again = _Walk(source)
    _load_again(store, run, walk, again.read())
    _check_complete(again, store.container_id, 0, _STORED)
    return find_missing()


def _load_again(
    store: Store, run: Run, walk: _Walk | _Tally, pages: Iterator[list[tuple[str, bytes]]]
) -> None:
    """Load records of which most have been counted already."""
    counts = store.load(
        _noting(run, pages), on_reject=run.reject, run_id=run.id, first_page=walk.pages + 1, compare=True
    )
    run.counts.inserted += counts.inserted
    run.counts.updated += counts.updated


def _check_complete(walk: _Walk | _Tally, container_id: str, a_few: int, done: str) -> None:
    short = walk.total - walk.records
    if short > a_few and walk.records < SEEN_AT_LEAST * walk.total:
        raise SourceError(
            f"The source says that {container_id} has {walk.total} records but gave {walk.records}: the answer "
            f"is incomplete. {done} {walk.cure}"
        )


def _plan_all(store: Store, walk: _Walk, run: Run, guard: DeleteGuard, stored: int, where: str) -> None:
    """The same without a write: what is seen and what is stored are compared here."""
    differences = Differences()
    try:
        run.counts = _compare(store, walk, differences)
        missing = differences.count("extra")
        guard.check(there=stored, wanted=walk.records, removed=missing, where=where, error=SourceError)
        run.counts.deleted = missing
    finally:
        differences.close()


def _compare(store: Store, walk: _Walk, differences: Differences) -> Counts:
    """Compare a whole walk with the store. Returns: what loading it would do, removals left out.

    Raises: SourceError if the walk was incomplete.
    """
    spool = Spool()
    try:
        for record_id in store.read_ids():
            spool.there(record_id)
        differences.held = spool.count_there()

        def seen() -> Iterator[list[tuple[str, bytes]]]:
            for records in walk.read():
                for record_id in dict(records):
                    spool.see(record_id)
                yield records

        counts = store.load(seen(), on_reject=_never, dry_run=True, differences=differences)
        _count_once(counts, walk)
        _check_complete(walk, store.container_id, A_FEW, _DRY)
        counts.read = spool.count_wanted()
        for record_id, _ in spool.unwanted():
            differences.add(Difference("extra", record_id, record_id))
        return counts
    finally:
        spool.close()


def _never(reject: Reject) -> None:
    raise AssertionError(f"a dry run refused {reject.record_id}")


@dataclass(frozen=True)
class Compared:
    """A source compared with the store. records: how many the source has; pages: in how many it gave them."""

    records: int
    pages: int


def compare_all(store: Store, source: Source, differences: Differences) -> Compared:
    """Tell how the store differs from a source; nothing is written.

    Where a few records differ, both are asked for these once more, and what agrees then is no difference: records
    are edited and loaded while a walk takes its time.
    Raises: SourceError if the source's answer was incomplete.
    """
    first = Differences()
    try:
        walk = _Walk(source)
        records = _compare(store, walk, first).read
        differences.held = first.held
        if first.total > LOOK_AGAIN_MOST:
            for difference in first.take():
                differences.add(difference)
        elif first.total:
            _look_again(store, source, [one.record_id for one in first.take()], walk.pages, differences)
        return Compared(records, walk.pages)
    finally:
        first.close()


def _look_again(
    store: Store, source: Source, record_ids: list[str], pages: int, differences: Differences
) -> None:
    answers = _ask(source, record_ids, pages)
    if answers is None:
        found: Iterator[list[tuple[str, bytes]]] = _Walk(source).read()
    else:
        found = iter([[(one, record) for one, record in answers.items() if record is not None]])
    left = set(record_ids)
    for page in found:
        records = {record_id: record for record_id, record in page if record_id in left}
        left -= records.keys()
        store.compare(records, differences)
    for record_id in sorted(store.read_alive_ids(sorted(left))):
        differences.add(Difference("extra", record_id, record_id))


def load_some(
    store: Store, source: Source, run: Run, guard: DeleteGuard, record_ids: list[str], pages: int
) -> bool:
    """Make some records of the store what the source says of each of them. The outcome is in `run.counts`.

    pages: in how many the source gives all its records. Returns: False, with nothing done, where it cannot be asked
        for single records, or asking for so many costs more than reading all.
    Raises: SourceError if too many would be removed: what is there is stored then.
    """
    answers = _ask(source, record_ids, pages)
    if answers is None:
        return False
    run.sees_all = False
    there = [(record_id, record) for record_id, record in answers.items() if record is not None]
    run.counts = store.load(_noting(run, iter([there])), on_reject=run.reject)
    gone = sorted(store.read_alive_ids([one for one, record in answers.items() if record is None]))
    if gone:
        stored = store.count_alive()
        where = f"the store's {store.container_id}"
        guard.check(
            there=stored,
            wanted=stored - len(gone),
            removed=len(gone),
            where=where,
            error=SourceError,
            done=_STORED,
        )
        run.counts.deleted = store.remove(run.id, gone)
    return True


def _ask(source: Source, record_ids: list[str], pages: int) -> dict[str, bytes | None] | None:
    """What the source says of single records; None where it cannot be asked, or reading all of it is cheaper."""
    if not source.can_ask or len(record_ids) > max(ASK_AT_LEAST, pages):
        return None
    try:
        return {record_id: source.fetch_record(record_id) for record_id in record_ids}
    except SourceError as error:
        log.info("%s", error)
        return None


def _noting(run: Run, pages: Iterator[list[tuple[str, bytes]]]) -> Iterator[list[tuple[str, bytes]]]:
    for records in pages:
        run.note(record_id for record_id, _ in records)
        yield records


def _count_once(counts: Counts, walk: _Walk) -> None:
    """Count records that came more than once as one each: they were unchanged when they came again."""
    counts.read -= walk.repeated
    counts.unchanged = max(0, counts.unchanged - walk.repeated)


def _set_watermark(run: Run, first: Page) -> None:
    """Up to the source's clock as it first answered, everything will have been delivered."""
    if first.server_time is not None:
        run.watermark = first.server_time.isoformat()
