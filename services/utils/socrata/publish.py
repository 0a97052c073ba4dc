"""Publishing rows to a dataset: plan, brake, send, verify.

A replace never shows readers fewer rows than are wanted: everything is upserted, and only then the rest is
deleted. One request that replaces everything at once would be shorter, but it takes the rows with it that its
answer counts as errors: it is sent only where no wanted row is there yet.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator

import msgspec

from services.utils.differences import Difference, Differences
from services.utils.errors import ConfigError, PublishError
from services.utils.guard import DeleteGuard
from services.utils.parts import Parts
from services.utils.records import Counts, OnReject, Reject, Row
from services.utils.session import pause
from services.utils.socrata.dataset import Dataset
from services.utils.socrata.plan import Item, Plan
from services.utils.socrata.read import (
    Count,
    count_rows,
    fetch_keys,
    fetch_rows,
    fetch_rows_of,
    wait_until_fresh,
)
from services.utils.socrata.send import Limits, Sender
from services.utils.socrata.stamps import Stamp
from services.utils.spool import Spool

log = logging.getLogger(__name__)

# So many rows are asked for by their keys; of more the whole dataset is read.
_ASKED_FOR = 2_000


def publish(
    rows: Iterable[Row],
    dataset: Dataset,
    *,
    key_field: str = "id",
    replace: bool,
    guard: DeleteGuard,
    dry_run: bool = False,
    on_reject: OnReject,
    exclusive: bool = True,
    limits: Limits | None = None,
    parts: Parts | None = None,
    stamp: Stamp | None = None,
    compare: bool = False,
    differences: Differences | None = None,
) -> Counts:
    """Bring a dataset to what the rows say.

    Nothing is sent before all rows were read and the guard agreed. Columns that no row name feeds keep their
    values. Any failure leaves a state from which running again gets to the same end.

    Args:
        rows: live rows, and deleted ones by their last values.
        key_field: the row name that people think rows are matched by; Socrata matches by the dataset's row
            identifier, another name is only told in the log.
        replace: True: the dataset becomes exactly the rows that are not deleted. False: they are upserted, and
            those that are deleted are removed.
        dry_run: nothing is written; the counts are those that would be.
        exclusive: False where others write to the dataset too: then only rows deleted in `rows` are removed.
        limits: sizes and waits; None for the usual ones.
        parts: where rows are parts of documents: where not everything else goes anyway, rows of the documents
            that came go if no row in `rows` has their key. Closed in the end.
        stamp: written with every row that is sent. Rows that the dataset holds as they are, with a stamp of
            whatever time, are not sent then.
        compare: rows that the dataset holds as they are, are not sent. What readers do not see yet is waited for.
        differences: with `compare`, is told of every row that would be sent or deleted.
    Returns: inserted and updated by the keys that were there before (replace), else by the portal's count.
    Raises: ConfigError if the dataset has no row identifier, or the rows no field for it; PublishError if
        the guard refuses, the portal refuses or fails, or what readers see afterwards is not what was sent.
    """
    if dataset.row_id is None:
        raise ConfigError(
            f"{dataset} has no row identifier: publishing would append every row again on each run. Nothing was "
            "sent. Make a column the row identifier in the dataset's settings."
        )
    plan = Plan(dataset, Spool(), key_field, on_reject, parts, stamp)
    try:
        run = _Publication(plan, replace, exclusive, limits or Limits(), on_reject, compare)
        run.prepare(rows, guard, dry_run, parts, differences)
        if not dry_run and run.has_work():
            run.send()
        return plan.counts
    finally:
        plan.spool.close()
        if parts is not None:
            parts.close()


class _Publication:
    """One publish. The order of its steps is what readers are promised."""

    def __init__(
        self,
        plan: Plan,
        replace: bool,
        exclusive: bool,
        limits: Limits,
        on_reject: OnReject,
        compare: bool = False,
    ) -> None:
        self.plan = plan
        self.dataset = plan.dataset
        self.replace = replace
        self.exclusive = exclusive
        self.limits = limits
        self.on_reject = on_reject
        self.compare = compare
        # Rows in the dataset, once its keys, or those of our rows, are known.
        self.there = 0
        self.removed = 0
        self._keys_known = False

    def prepare(
        self,
        rows: Iterable[Row],
        guard: DeleteGuard,
        dry_run: bool,
        parts: Parts | None = None,
        differences: Differences | None = None,
    ) -> None:
        """Read what is there, shape the rows, ask the guard; `plan.counts` then says what would be done."""
        plan = self.plan
        compares = self.compare or plan.stamp is not None
        wants_keys = self.replace or dry_run
        if wants_keys and not compares:
            self._read_keys()
        plan.add(rows)
        has_parts = parts is not None and parts.count() > 0
        if compares and not self._leave_unchanged(self.replace or has_parts) and wants_keys:
            self._read_keys()
        if self.replace and self.exclusive:
            there = self.there
            self.removed = plan.spool.count_unwanted()
        else:
            if has_parts:
                if not (self._keys_known or self._read_keys()):
                    raise PublishError(
                        f"{self.dataset}: earlier writes are not visible yet after {self.limits.lag_s:g} s, so it is "
                        "not known which rows of the changed records are to go. Nothing was changed. Run again."
                    )
                plan.add_vanished()
            there = self._plan_deletions(guard)
        fresh = plan.rows
        if self._keys_known:
            fresh = plan.count_fresh()
            plan.counts.inserted = fresh
            plan.counts.updated = plan.rows - fresh
        plan.counts.deleted = self.removed
        if differences is not None:
            self._tell(differences)
        guard.check(
            there=there,
            wanted=there - self.removed + fresh,
            removed=self.removed,
            where=str(self.dataset),
            error=PublishError,
        )

    def _plan_deletions(self, guard: DeleteGuard) -> int:
        """How many rows are there; `removed` becomes how many of them the deleted records take away."""
        gone = self.plan.count_gone()
        if not gone:
            return self.there
        if not self._keys_known:
            there = count_rows(self.dataset).rows
            if gone * 100 <= guard.max_delete_pct * there and gone < there:
                self.removed = gone
                return there
            # Records long deleted may be gone already: only what is really there counts against the guard.
            self._read_keys()
        self.removed = self.plan.count_gone_there()
        return self.there

    def _read_keys(self) -> bool:
        """Remember the keys of the dataset. Returns: whether they are surely those of all earlier writes."""
        count = self._wait_until_fresh()
        if count.stale:
            log.warning("%s: earlier writes are not visible yet after %g s", self.dataset, self.limits.lag_s)
        for key in fetch_keys(self.dataset):
            self.plan.spool.there(key)
        self._keys_known = True
        self.there = self.plan.spool.count_there()
        return not count.stale

    def _leave_unchanged(self, whole: bool) -> bool:
        """Compare the rows with those of the dataset, and send none that it holds as it is.

        whole: all keys are to be known afterwards, not only those of our rows. Returns: whether they are.
        """
        plan = self.plan
        if not plan.rows and not self.compare:
            return False
        count = self._wait_until_fresh()
        if count.stale and self.compare:
            raise PublishError(
                f"{self.dataset}: earlier writes are not visible yet after {self.limits.lag_s:g} s, so its rows cannot "
                "be compared. Nothing was changed. Run again in some minutes."
            )
        if count.stale:
            # What readers see may be older than what was last sent.
            log.warning("%s: earlier writes are not visible yet; every row is sent and stamped", self.dataset)
            return False
        if whole or plan.rows > _ASKED_FOR or plan.rows * 4 >= count.rows:
            self.there = plan.leave_unchanged(fetch_rows(self.dataset, plan.compared))
        else:
            keys = itertools.chain(plan.take_keys(), plan.take_gone_keys())
            plan.leave_unchanged(fetch_rows_of(self.dataset, keys, plan.compared))
            self.there = count.rows
        self._keys_known = True
        return True

    def _tell(self, differences: Differences) -> None:
        """Tell of what would be sent and deleted; the keys must be known."""
        plan = self.plan
        differences.held = self.there
        differences.key_name = plan.key_name
        if self.replace and not self.exclusive:
            differences.others = plan.spool.count_unwanted() - self.removed
        for item in plan.take_rows():
            kind = "differing" if plan.spool.find(item.key)[0] else "missing"
            differences.add(Difference(kind, item.key, item.record_id))
        for item in self._take_deletions():
            differences.add(Difference("extra", item.key))

    def _wait_until_fresh(self) -> Count:
        return wait_until_fresh(self.dataset, lag_s=self.limits.lag_s, poll_s=self.limits.poll_s)

    def has_work(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.plan.rows or self.removed or (not self.replace and self.plan.count_gone()))

    def send(self) -> None:
        """Write, then verify; `plan.counts` then says what was done."""
        plan, counts = self.plan, self.plan.counts
        sender = Sender(self.dataset, self.limits, plan.rows, self._on_refused)
        if not (self._fits_one_request() and sender.replace([item.body for item in plan.take_rows()])):
            sender.upsert(plan.take_rows())
            sender.delete(self._take_deletions())
        if not self._keys_known:
            counts.inserted = min(sender.created, sender.saved)
            counts.updated = sender.saved - counts.inserted
            counts.deleted = sender.deleted
        self._verify(sender)

    def _fits_one_request(self) -> bool:
        """Whether a single replacing request is right: nothing that is to stay can be lost by it."""
        spool = self.plan.spool
        return (
            self.replace
            and self.exclusive
            and self.plan.rows < self.limits.put_rows
            and self.plan.size < self.limits.put_bytes
            and spool.count_there() == spool.count_unwanted()
        )

    def _take_deletions(self) -> Iterator[Item]:
        if self.replace and self.exclusive:
            return self.plan.take_unwanted()
        return self.plan.take_gone(only_there=self._keys_known)

    def _on_refused(self, item: Item, reason: str) -> None:
        counts = self.plan.counts
        counts.rejected += 1
        if self._keys_known:
            if self.plan.spool.find(item.key)[0]:
                counts.updated -= 1
            else:
                counts.inserted -= 1
        self.on_reject(Reject(item.record_id, reason, msgspec.json.decode(item.body)))

    def _verify(self, sender: Sender) -> None:
        """Compare what readers see with what was sent; send what is missing once more.

        Raises: PublishError if rows are still missing, or still there though they were deleted.
        """
        if not self.replace and not sender.errors:
            self._verify_count(sender)
            return
        for again in (True, False):
            seen = self._look(sender)
            if seen is None:
                if sender.errors:
                    raise PublishError(
                        f"{self.dataset}: {sender.errors} deletions were counted as errors, and readers do not see "
                        "the writes yet, so it is not known whether those rows are gone. Run again."
                    )
                return
            try:
                missing, left = self._compare(sender, seen)
                if not missing and not left:
                    self._tell_strangers(seen)
                    return
                if not again:
                    break
                log.warning(
                    "%s: %d rows are missing and %d are left after publishing; sending those again",
                    self.dataset,
                    missing,
                    left,
                )
                sender.upsert(
                    item
                    for item in self.plan.take_rows()
                    if item.key not in sender.refused and not seen.find(item.key)[0]
                )
                sender.delete(item for item in self._take_deletions() if seen.find(item.key)[0])
            finally:
                seen.close()
        raise PublishError(
            f"{self.dataset}: after publishing {missing} rows are missing and {left} are there that were deleted, "
            f"of {self.plan.rows} sent. They were sent twice and acknowledged. Run again; if it stays so, see "
            "whether the row identifier column changes the keys, or another program writes to the dataset."
        )

    def _compare(self, sender: Sender, seen: Spool) -> tuple[int, int]:
        """(rows missing, deleted rows still there) among the keys that readers see."""
        expected = (key for key in self.plan.take_keys() if key not in sender.refused)
        missing = sum(1 for key in expected if not seen.find(key)[0])
        return missing, sum(1 for item in self._take_deletions() if seen.find(item.key)[0])

    def _look(self, sender: Sender) -> Spool | None:
        """The keys that readers see once they see the writes; None if they do not in time."""
        deadline = time.monotonic() + self.limits.lag_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            count = wait_until_fresh(self.dataset, lag_s=left_s, poll_s=self.limits.poll_s)
            if count.stale:
                log.warning(
                    "%s: readers do not see the writes after %g s; every row was acknowledged, the comparison "
                    "was left out",
                    self.dataset,
                    self.limits.lag_s,
                )
                return None
            seen = Spool()
            for key in fetch_keys(self.dataset):
                seen.there(key)
            # A portal that does not say how old its answer is gets the same time to catch up.
            late = count.stale is None and time.monotonic() < deadline
            if not late or self._compare(sender, seen) == (0, 0):
                return seen
            seen.close()
            pause(self.limits.poll_s)

    def _tell_strangers(self, seen: Spool) -> None:
        """Rows that were not there before and that nobody here wrote: the next replace removes them."""
        if not (self.replace and self.exclusive):
            return
        find = self.plan.spool.find
        strangers = sum(1 for key, _ in seen.unwanted() if not find(key)[1])
        if strangers:
            log.warning(
                "%s: %d rows came from elsewhere meanwhile; the next full run removes them",
                self.dataset,
                strangers,
            )

    def _verify_count(self, sender: Sender) -> None:
        """After an upsert the dataset holds at least the rows that were saved."""
        deadline = time.monotonic() + self.limits.lag_s
        while True:
            left_s = max(0.0, deadline - time.monotonic())
            count = wait_until_fresh(self.dataset, lag_s=left_s, poll_s=self.limits.poll_s)
            if count.rows >= sender.saved:
                return
            if count.stale is not None or time.monotonic() >= deadline:
                break
            pause(self.limits.poll_s)
        if count.stale:
            log.warning("%s: readers do not see the writes after %g s", self.dataset, self.limits.lag_s)
            return
        raise PublishError(
            f"{self.dataset}: {sender.saved} rows were acknowledged, readers see {count.rows} in all. Run again, "
            "and see whether another program writes to the dataset."
        )
