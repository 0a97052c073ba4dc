"""A source and the store compared; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.utils.differences import Difference, Differences
from services.utils.loading.walks import A_FEW, DRY, Walk, ask, check_complete, count_once
from services.utils.records import Counts, Reject, Source
from services.utils.spool import Spool
from services.utils.store import Store

# More records than these that differ are not looked at again: they are no coincidence.
LOOK_AGAIN_MOST = 1000


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
        walk = Walk(source)
        records = compare(store, walk, first).read
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
    answers = ask(source, record_ids, pages)
    if answers is None:
        found: Iterator[list[tuple[str, bytes]]] = Walk(source).read()
    else:
        found = iter([[(one, record) for one, record in answers.items() if record is not None]])
    left = set(record_ids)
    for page in found:
        records = {record_id: record for record_id, record in page if record_id in left}
        left -= records.keys()
        store.compare(records, differences)
    for record_id in sorted(store.read_alive_ids(sorted(left))):
        differences.add(Difference("extra", record_id, record_id))


def compare(store: Store, walk: Walk, differences: Differences) -> Counts:
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
        count_once(counts, walk)
        check_complete(walk, store.container_id, A_FEW, DRY)
        counts.read = spool.count_wanted()
        for record_id, _ in spool.unwanted():
            differences.add(Difference("extra", record_id, record_id))
        return counts
    finally:
        spool.close()


def _never(reject: Reject) -> None:
    raise AssertionError(f"a dry run refused {reject.record_id}")
