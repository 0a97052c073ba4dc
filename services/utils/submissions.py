"""From an ODK form into the store: joins the form's feed, what the store knows of it, and loading.

What Central's filter never shows is found by comparing: restored submissions by the list of deleted ones,
late or removed media by asking again, a new form version by its digest, purged ones by counting.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.utils import loading
from services.utils.errors import SourceError
from services.utils.guard import DeleteGuard
from services.utils.odk.fetch import (
    OVERLAP,
    TERMS_MOST,
    FeedPage,
    FormFeed,
    FormState,
    Submission,
    build_changes_filter,
)
from services.utils.records import Page, Reject
from services.utils.runs import Run
from services.utils.spool import Spool
from services.utils.store import Store

log = logging.getLogger(__name__)

# Up to so many deleted submissions are listed within the walk over the changes; more in a request of their own.
DELETED_IN_WALK = 300
# Submissions that wait for media are asked for in every run, the newest ones if there are more.
AWAITED_MOST = 1000
# Refused submissions that can be asked for again in every run; with more, the time looked at stands still.
REFUSED_MOST = 50
_WALKS = 3
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")


class _Load(msgspec.Struct):
    digest: str
    updated_at: dt.datetime
    checked: str = ""
    deleted: list[tuple[str, str]] | None = None
    looked_until: dt.datetime | None = None


class Standing(msgspec.Struct):
    """What the store knows before Central is asked. awaited, media, refused: [[record id, submission date]]."""

    empty: bool
    load: _Load | None
    awaited: list[tuple[str, str | None]]
    media: list[tuple[str, str | None]]
    lately: list[tuple[str | None, str | None]]
    refused: list[tuple[str, str | None]]

    @property
    def deleted(self) -> dict[str, str] | None:
        """{instance id: submission date} of what was deleted at Central; None where it cannot say."""
        if self.load is None or self.load.deleted is None:
            return None
        lately = {one: at for one, at in self.lately if one and at}
        return {**dict(self.load.deleted), **lately}


@dataclass(frozen=True)
class _Changes:
    """What an incremental walk asks for. again, more: submission dates of what is asked for whatever happened."""

    since: dt.datetime
    again: list[str]
    more: list[str]
    deleted_before: dict[str, str] | None
    checked: str


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
    changes: _Changes | None = None
    deleted: dict[str, str] | None = None
    others: int = 0
    _listed: bool = False
    _spool: Spool = field(default_factory=Spool)

    @property
    def can_ask(self) -> bool:
        """Every submission can be asked for."""
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
        if not instance_id or not at or not _TIME.fullmatch(at):
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
            for page in self.feed.walk(filter=self._filter()):
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

    def _filter(self) -> str:
        if self.changes is None:
            return ""
        if self.changes.deleted_before is None:
            deleted = ""
        else:
            deleted = "all" if len(self.changes.deleted_before) <= DELETED_IN_WALK else "since"
        return build_changes_filter(self.changes.since, self.changes.again, deleted=deleted)

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
            if one not in now and self._spool.read_note(f"i{one}") is None and _TIME.fullmatch(at)
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


def open_source(store: Store, feed: FormFeed, run: Run) -> SubmissionSource:
    """A whole form, ready to be walked.

    Raises: ConfigError if there is no such form.
    """
    state = feed.fetch_state()
    return SubmissionSource(feed, store, run, (state.server_time or dt.datetime.now(dt.UTC)) - OVERLAP)


def load_form(
    store: Store, feed: FormFeed, run: Run, guard: DeleteGuard, *, follow: bool, dry_run: bool = False
) -> None:
    """Load a form: all of it, or what changed since `run.since`. The outcome is in `run.counts`.

    Args:
        follow: the run goes on where the last one ended (--since-last), not from a given date.
    A new form version changes the shape of every submission, so all of it is read then, and the form's
    metadata are brought up to date.
    Raises: ConfigError if there is no such form; SourceError if Central's answer was incomplete or would
        remove too much.
    """
    state = feed.fetch_state()
    _tell(feed, state)
    standing = read_standing(store, run.destination)
    until = (state.server_time or dt.datetime.now(dt.UTC)) - OVERLAP
    digest = f"{state.digest} {feed.record_key}".strip()
    since = _find_since(run, standing, follow)
    old = standing.load.digest if standing.load else ""
    if since is not None and old != digest:
        log.info(
            "%s: %s; every submission may look different now, reading all of them",
            feed.form_id,
            f"version {state.version or '(none)'} is new here" if old else "it was never loaded as a whole",
        )
        since = None
    checked = ""
    if since is None:
        source = SubmissionSource(feed, store, run, until, standing.empty)
        loading.load_all(store, source, run, guard, dry_run=dry_run)
    else:
        changes = _plan(since, standing)
        checked = changes.checked
        source = SubmissionSource(feed, store, run, until, changes=changes)
        loading.load_changes(store, source, run, guard, dry_run=dry_run)
        if not dry_run and _has_too_many(store, feed, state):
            log.info("%s: the store has submissions that were purged; reading all to find them", feed.form_id)
            counts = run.counts
            source = SubmissionSource(feed, store, run, until)
            loading.load_all(store, source, run, guard)
            run.counts.add(counts)
    run.counts.read += source.others
    if dry_run:
        return
    refresh_metadata(store, feed, state)
    _keep(store, run, source, standing, digest, since, until, checked)


def refresh_metadata(store: Store, feed: FormFeed, state: FormState) -> None:
    """Bring the form's metadata in the store up to date, if they are of another version."""
    stored = store.read_metadata()
    if stored is None or (stored.get("form") or {}).get("hash") != state.details.get("hash"):
        metadata = feed.fetch_metadata(stored)
        if metadata is not None:
            log.info("%s: metadata %s", feed.form_id, store.load_metadata(metadata))


def read_standing(store: Store, destination: str) -> Standing:
    """What the store knows of a form before Central is asked."""
    found = store.postgrest.call(
        "odk_standing",
        {
            "app_id": store.app_id,
            "container_id": store.container_id,
            "destination": destination,
            "awaited": AWAITED_MOST,
            "media": TERMS_MOST,
            "refused": REFUSED_MOST + 1,
        },
        what="what the last load found",
    )
    return msgspec.convert(found, Standing)


def _plan(since: dt.datetime, standing: Standing) -> _Changes:
    """What to ask for, beside what changed: the refused, those that wait for media, and some that have all."""
    if len(standing.awaited) == AWAITED_MOST:
        log.warning("more than %d submissions wait for media; only the newest are asked for", AWAITED_MOST)
    asked = _times(at for _, at in [*standing.refused, *standing.awaited])
    again, more = asked[:TERMS_MOST], asked[TERMS_MOST:]
    checked = standing.load.checked if standing.load else ""
    free = standing.media[: TERMS_MOST - len(again)]
    if free:
        # Behind the last one the next run begins anew.
        checked = "" if len(standing.media) < TERMS_MOST and len(free) == len(standing.media) else free[-1][0]
        again = _times([*again, *(at for _, at in free)])
    elif not standing.media:
        checked = ""
    return _Changes(since, again, more, standing.deleted, checked)


def _find_since(run: Run, standing: Standing, follow: bool) -> dt.datetime | None:
    """From when on changes are asked for; None is everything."""
    if run.since is None or not follow or standing.load is None or standing.load.looked_until is None:
        return run.since
    return max(run.since, standing.load.looked_until)


def _has_too_many(store: Store, feed: FormFeed, state: FormState) -> bool:
    """Whether the store has submissions that Central has not, asked twice: some may have come meanwhile."""
    alive = store.count_alive()
    return 0 <= state.submissions < alive and 0 <= feed.count() < alive


def _keep(
    store: Store,
    run: Run,
    source: SubmissionSource,
    standing: Standing,
    digest: str,
    since: dt.datetime | None,
    until: dt.datetime,
    checked: str,
) -> None:
    """Tell the next load what this one found: it looks no further back, so what was refused is kept first."""
    run.flush_rejects()
    looked = standing.load.looked_until if standing.load else None
    # A run from a later date leaves a gap; refused submissions are asked for again, if they are not too many.
    without_gap = since is None or (looked is not None and since <= looked)
    refused = len(run.rejected_ids | {one for one, _ in standing.refused})
    if without_gap and refused <= REFUSED_MOST:
        looked = until
    elif without_gap:
        log.warning(
            "%d submissions are refused, more than can be asked for again: until there are fewer than %d, every "
            "run reads all that changed since %s",
            refused,
            REFUSED_MOST,
            looked or "ever",
        )
    store.postgrest.call(
        "keep_odk_load",
        {
            "run_id": run.id,
            "app_id": store.app_id,
            "container_id": store.container_id,
            "digest": digest,
            "deleted": None if source.deleted is None else sorted(source.deleted.items()),
            "looked_until": looked.isoformat() if looked else None,
            "checked": checked,
        },
        what="what this load found",
    )


def _tell(feed: FormFeed, state: FormState) -> None:
    if state.encrypted:
        log.warning(
            "%s is encrypted: of its submissions only ids and times can be read, no answers", feed.form_id
        )
    if state.closed:
        log.info("%s is closed; what it has is read all the same", feed.form_id)


def _submissions(pages: Iterable[FeedPage]) -> Iterator[list[Submission]]:
    return (page.submissions for page in pages)


def _times(found: Iterable[Any]) -> list[str]:
    """Submission dates that a filter can hold, each once, in the order they came."""
    return list(dict.fromkeys(at for at in found if isinstance(at, str) and _TIME.fullmatch(at)))
