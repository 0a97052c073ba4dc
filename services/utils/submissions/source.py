"""A form's submissions as loading sees them: walked, compared with what the store has of them, refused."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from services.utils.errors import SourceError
from services.utils.odk.fetch import FeedPage, FormFeed, Submission
from services.utils.records import Page, Reject
from services.utils.runs import Run
from services.utils.spool import Spool
from services.utils.store import Store
from services.utils.submissions.changes import DELETED_IN_WALK, Changes, is_time

log = logging.getLogger(__name__)

_WALKS = 3


class _Stored(msgspec.Struct, array_like=True):
    record_id: str
    instance_id: str | None
    submitted_at: str | None


@dataclass
class SubmissionSource:
    """A form as loading sees it (services.utils.records.Source).

    until: Central's clock as the run began, less the overlap. empty: the store had no document of it then.
    changes: what to ask for; None is everything. deleted: {instance id: submission date} of what the last walk
    found soft-deleted, None where this Central cannot say. others: rows that the last walk saw and did not give
    on: deleted or refused ones.
    """

    feed: FormFeed
    store: Store
    run: Run
    until: dt.datetime
    empty: bool = False
    changes: Changes | None = None
    deleted: dict[str, str] | None = None
    others: int = 0
    _listed: bool = False
    _spool: Spool = field(default_factory=Spool)

    @property
    def can_ask(self) -> bool:
        """Every submission can be asked for."""
        return True

    @property
    def is_steady(self) -> bool:
        """Each page names the next by its last submission."""
        return True

    def pages(self) -> Iterator[Page]:
        """Walk the form from its newest submission to its oldest, or what changed of it."""
        self._spool.close()
        self._spool = Spool()
        self.others = 0
        self._list_deleted()
        given = 0
        for submissions, remaining in self._walk():
            records, left = self._admit(submissions)
            given += len(records)
            yield Page(records, given + remaining, self.until, left)
        for submissions in self._ask_again():
            records, left = self._admit(submissions)
            given += len(records)
            yield Page(records, given, self.until, left)

    def fetch_record(self, record_id: str) -> bytes | None:
        """A stored submission's bytes as Central has them now; None where it is gone or has another key.

        Raises: SourceError where Central cannot be asked for it.
        """
        found = self._find([record_id], [])
        instance_id, at = (found[0].instance_id, found[0].submitted_at) if found else (None, None)
        if not instance_id or not at or not is_time(at):
            raise SourceError(f"ODK Central cannot be asked for {record_id}: its document has no __id.")
        if instance_id in (self.deleted or {}):
            return None
        for page in self.feed.fetch_submitted_at([at]):
            for one in page.submissions:
                if one.instance_id == instance_id:
                    return one.record if one.key == record_id else None
        return None

    def _list_deleted(self) -> None:
        """Which submissions are deleted now, before the walk: what is restored during it is found by the next run."""
        if self._listed:
            return
        self._listed = True
        if self.changes is None or len(self.changes.deleted_before or {}) > DELETED_IN_WALK:
            self.deleted = self.feed.fetch_deleted()
        elif self.changes.deleted_before is not None:
            self.deleted = {}

    def _walk(self) -> Iterator[tuple[list[Submission], int]]:
        """Submissions and how many are still to come; walked again if fewer came than Central has.

        A page whose cursor was purged is empty and the last one, under a status of 200.
        """
        for _ in range(_WALKS):
            first = last = -1
            seen = 0
            for page in self.feed.walk(filter=self.changes.build_filter() if self.changes else ""):
                first, last = (page.count if first < 0 else first), page.count
                seen += len(page.submissions)
                yield page.submissions, max(0, first - seen)
            if seen >= first:
                return
            log.warning(
                "%s: ODK Central has %d submissions and gave %d; walking again",
                self.feed.form_id,
                first,
                seen,
            )
        # What was deleted while it was walked explains as much, but not more.
        if seen < min(first, last):
            raise SourceError(
                f"ODK Central says that {self.feed.form_id} has {first} submissions but gave {seen}, three times: "
                "the answer is incomplete. What it gave is stored, nothing was removed. Run again."
            )

    def _ask_again(self) -> Iterator[list[Submission]]:
        """What no filter on changes shows: restored submissions, and more that wait for media."""
        if self.changes is None:
            return
        yield from _submissions(self.feed.fetch_submitted_at(self.changes.more))
        before, now = self.changes.deleted_before, self.deleted
        if before is None or now is None:
            return
        back = {
            one: at
            for one, at in before.items()
            if one not in now and self._spool.read_note(f"i{one}") is None and is_time(at)
        }
        if back:
            log.info("%d submissions are not in the bin any more: restored or purged", len(back))
        for submissions in _submissions(self.feed.fetch_submitted_at(back.values())):
            yield [one for one in submissions if one.instance_id in back]

    def _admit(self, submissions: list[Submission]) -> tuple[list[tuple[str, bytes]], tuple[str, ...]]:
        """What is to be stored, and the keys of stored documents that are not to stay."""
        keys, instances = self._look_up(submissions)
        for one in submissions:
            if one.key is not None and not one.deleted:
                self._spool.there(f"i{one.instance_id}", one.key)
        records: dict[str, bytes] = {}
        left: set[str] = set()
        # The feed gives the newest first; of two with one key the older one is the first.
        for one in reversed(submissions):
            stored_as = keys.get(one.instance_id, [])
            if one.deleted:
                if self.deleted is not None:
                    self.deleted[one.instance_id] = one.submitted_at
                left.update(stored_as)
                continue
            reason = self._refuse(one, instances)
            if reason or one.key is None:
                self.run.reject(Reject(one.instance_id or "without __id", reason, one.record))
                continue
            self._spool.there(f"k{one.key}", one.instance_id)
            self.run.note([one.instance_id])
            records[one.key] = one.record
            left.update(key for key in stored_as if key != one.key)
        self.others += len(submissions) - len(records)
        return list(records.items()), tuple(left - set(records))

    def _look_up(self, submissions: list[Submission]) -> tuple[dict[str, list[str]], dict[str, str | None]]:
        """What the store had of a page: {instance id: keys}, {key: instance id}."""
        if self.empty:
            return {}, {}
        found = self._find([], [one.instance_id for one in submissions])
        known = {stored.record_id for stored in found}
        # Only of new ones, and of those with a new key, it is not known yet who else may have the key.
        found += self._find([one.key for one in submissions if one.key and one.key not in known], [])
        keys: dict[str, list[str]] = {}
        for stored in found:
            if stored.instance_id is not None:
                keys.setdefault(stored.instance_id, []).append(stored.record_id)
        return keys, {stored.record_id: stored.instance_id for stored in found}

    def _refuse(self, one: Submission, instances: dict[str, str | None]) -> str:
        """Why a submission cannot be stored, "" if it can."""
        if one.key is None:
            looked = self.feed.record_key or "UUID, __id and meta/instanceID"
            return f"no key: {looked} is empty"
        holder = self._spool.read_note(f"k{one.key}")
        if holder is None:
            holder = instances.get(one.key)
            # Its holder was deleted, or has another key now.
            if holder is not None and (
                holder in (self.deleted or {}) or self._spool.read_note(f"i{holder}") not in (None, one.key)
            ):
                holder = None
        if holder in (None, one.instance_id):
            return ""
        return (
            f"conflict: the submissions {holder} and {one.instance_id} have the same key "
            f"({self.feed.record_key or 'UUID'}); {holder} is stored"
        )

    def _find(self, record_ids: list[str], instance_ids: list[str]) -> list[_Stored]:
        if not record_ids and not instance_ids:
            return []
        found = self.store.postgrest.call(
            "find_submissions",
            {
                "app_id": self.store.app_id,
                "container_id": self.store.container_id,
                "record_ids": record_ids,
                "instance_ids": instance_ids,
            },
            what="what is stored of a page",
        )
        return msgspec.convert(found, list[_Stored])


def _submissions(pages: Iterable[FeedPage]) -> Iterator[list[Submission]]:
    return (page.submissions for page in pages)
