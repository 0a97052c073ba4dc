"""Walks over a source: what they saw of it, and whether that can be all."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from services.utils.errors import SourceError
from services.utils.progress import Progress
from services.utils.records import Counts, Page, Source
from services.utils.spool import Spool

log = logging.getLogger(__name__)

# A source's total is an estimate and may be some records high; this far off, pages were missing. A few
# records are no sign of that, unless something is to be removed because it was not seen.
SEEN_AT_LEAST = 0.9
A_FEW = 10
# Asking for records one by one is worth it while it costs no more requests than reading all again.
ASK_AT_LEAST = 20
# An order that is not steady leaves few records out in a round, seldom the same.
ROUNDS_MOST = 8
STORED = "What the source gave is stored, nothing was removed."
DRY = "Nothing was changed."


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


class Walk:
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
class Tally:
    """What all shards saw of a source. total: how many records it says it has."""

    cure = "Run the shards again, then the finishing call."
    pages: int
    records: int
    total: int


def check_complete(walk: Walk | Tally, container_id: str, a_few: int, done: str) -> None:
    """Insist that a walk gave about as many records as the source says that it has.

    Args:
        a_few: so many may be missing whatever the share. done: what was and was not done, for the message.
    Raises: SourceError if it did not.
    """
    short = walk.total - walk.records
    if short > a_few and walk.records < SEEN_AT_LEAST * walk.total:
        raise SourceError(
            f"The source says that {container_id} has {walk.total} records but gave {walk.records}: the answer "
            f"is incomplete. {done} {walk.cure}"
        )


def count_once(counts: Counts, walk: Walk) -> None:
    """Count records that came more than once as one each: they were unchanged when they came again."""
    counts.read -= walk.repeated
    counts.unchanged = max(0, counts.unchanged - walk.repeated)


def ask(source: Source, record_ids: list[str], pages: int) -> dict[str, bytes | None] | None:
    """What the source says of single records; None where it cannot be asked, or reading all of it is cheaper."""
    if not source.can_ask or len(record_ids) > max(ASK_AT_LEAST, pages):
        return None
    try:
        return {record_id: source.fetch_record(record_id) for record_id in record_ids}
    except SourceError as error:
        log.info("%s", error)
        return None
