"""Documents brought in step with a source: all of it, a shard's part, what changed, or some records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from services.utils.differences import Differences
from services.utils.errors import SourceError
from services.utils.guard import DeleteGuard
from services.utils.loading.compare import compare
from services.utils.loading.walks import A_FEW, DRY, STORED, Tally, Walk, ask, check_complete, count_once
from services.utils.records import Counts, Page, Source
from services.utils.replaces import Replace
from services.utils.runs import Run
from services.utils.store import Store

log = logging.getLogger(__name__)


def load_changes(
    store: Store, source: Source, run: Run, guard: DeleteGuard, *, dry_run: bool = False
) -> None:
    """Upsert what a source gives; remove only what it says has left it. The outcome is in `run.counts`.

    Raises: SourceError if the source's answer was incomplete or would remove too much. What it gave is
        stored then, and nothing is removed.
    """
    done = DRY if dry_run else STORED
    walk = Walk(source)
    _set_watermark(run, walk.first)
    # What changed is asked for with an overlap: most of it came before.
    run.counts = store.load(_noting(run, walk.read()), on_reject=run.reject, dry_run=dry_run, compare=True)
    count_once(run.counts, walk)
    check_complete(walk, store.container_id, A_FEW, done)
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
    walk = Walk(source)
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
    count_once(run.counts, walk)
    # Also where nothing is to be removed: the watermark must not pass what did not come.
    check_complete(walk, store.container_id, A_FEW, STORED)
    missing = store.find_missing(run.id).record_ids

    def check(removed: int) -> None:
        guard.check(
            there=stored, wanted=walk.records, removed=removed, where=where, error=SourceError, done=STORED
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
    walk = Walk(source, until_sure=False)
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
    done = DRY if dry_run else STORED
    if replace.finished_at is not None:
        log.info(
            "these shards were finished at %s already", replace.finished_at.isoformat(timespec="seconds")
        )
        run.counts = Counts(rejected=run.counts.rejected)
        run.moves_watermark = False
        return
    first = next(source.pages())
    tally = Tally(replace.pages, replace.records, first.total_records)
    # As before the shards began: what they inserted must not make removals look fewer.
    stored = max(store.count_alive() - run.counts.inserted, 0)
    where = f"the store's {store.container_id}"

    def check(removed: int) -> None:
        guard.check(
            there=stored, wanted=tally.records, removed=removed, where=where, error=SourceError, done=done
        )

    run.watermark = replace.delivered_to
    check_complete(tally, store.container_id, A_FEW, done)
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
    walk: Walk | Tally,
    missing: list[str],
    find_missing: Callable[[], list[str]],
) -> list[str]:
    """Those of the missing that are gone indeed: asked for one by one, or missed in a second walk."""
    answers = ask(source, missing, walk.pages)
    if answers is not None:
        # Missed by the walk (one that is deleted meanwhile lets another slip through) but there.
        there = [(record_id, record) for record_id, record in answers.items() if record is not None]
        _load_again(store, run, walk, iter([there]))
        return [record_id for record_id, record in answers.items() if record is None]
    log.info("%d stored records were not seen; walking %s again to be sure", len(missing), store.container_id)
    check_complete(walk, store.container_id, 0, STORED)
    again = Walk(source)
    _load_again(store, run, walk, again.read())
    check_complete(again, store.container_id, 0, STORED)
    return find_missing()


def _load_again(store: Store, run: Run, walk: Walk | Tally, pages: Iterator[list[tuple[str, bytes]]]) -> None:
    """Load records of which most have been counted already."""
    counts = store.load(
        _noting(run, pages), on_reject=run.reject, run_id=run.id, first_page=walk.pages + 1, compare=True
    )
    run.counts.inserted += counts.inserted
    run.counts.updated += counts.updated


def load_some(
    store: Store, source: Source, run: Run, guard: DeleteGuard, record_ids: list[str], pages: int
) -> bool:
    """Make some records of the store what the source says of each of them. The outcome is in `run.counts`.

    pages: in how many the source gives all its records. Returns: False, with nothing done, where it cannot be asked
        for single records, or asking for so many costs more than reading all.
    Raises: SourceError if too many would be removed: what is there is stored then.
    """
    answers = ask(source, record_ids, pages)
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
            done=STORED,
        )
        run.counts.deleted = store.remove(run.id, gone)
    return True


def _plan_all(store: Store, walk: Walk, run: Run, guard: DeleteGuard, stored: int, where: str) -> None:
    """The same without a write: what is seen and what is stored are compared here."""
    differences = Differences()
    try:
        run.counts = compare(store, walk, differences)
        missing = differences.count("extra")
        guard.check(there=stored, wanted=walk.records, removed=missing, where=where, error=SourceError)
        run.counts.deleted = missing
    finally:
        differences.close()


def _noting(run: Run, pages: Iterator[list[tuple[str, bytes]]]) -> Iterator[list[tuple[str, bytes]]]:
    for records in pages:
        run.note(record_id for record_id, _ in records)
        yield records


def _set_watermark(run: Run, first: Page) -> None:
    """Up to the source's clock as it first answered, everything will have been delivered."""
    if first.server_time is not None:
        run.watermark = first.server_time.isoformat()
