"""Load a form: all of it, or what changed."""

from __future__ import annotations

import datetime as dt
import logging

from services.utils import loading
from services.utils.guard import DeleteGuard
from services.utils.odk.fetch import OVERLAP, FormFeed, FormState
from services.utils.runs import Run
from services.utils.store import Store
from services.utils.submissions.changes import plan_changes
from services.utils.submissions.source import SubmissionSource
from services.utils.submissions.standing import Standing, keep_load, read_standing

log = logging.getLogger(__name__)


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
        changes = plan_changes(since, standing)
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
    keep_load(store, run, standing, source.deleted, digest, since, until, checked)


def refresh_metadata(store: Store, feed: FormFeed, state: FormState) -> None:
    """Bring the form's metadata in the store up to date, if they are of another version."""
    stored = store.read_metadata()
    if stored is None or (stored.get("form") or {}).get("hash") != state.details.get("hash"):
        metadata = feed.fetch_metadata(stored)
        if metadata is not None:
            log.info("%s: metadata %s", feed.form_id, store.load_metadata(metadata))


def _find_since(run: Run, standing: Standing, follow: bool) -> dt.datetime | None:
    """From when on changes are asked for; None is everything."""
    if run.since is None or not follow or standing.load is None or standing.load.looked_until is None:
        return run.since
    return max(run.since, standing.load.looked_until)


def _has_too_many(store: Store, feed: FormFeed, state: FormState) -> bool:
    """Whether the store has submissions that Central has not, asked twice: some may have come meanwhile."""
    alive = store.count_alive()
    return 0 <= state.submissions < alive and 0 <= feed.count() < alive


def _tell(feed: FormFeed, state: FormState) -> None:
    if state.encrypted:
        log.warning(
            "%s is encrypted: of its submissions only ids and times can be read, no answers", feed.form_id
        )
    if state.closed:
        log.info("%s is closed; what it has is read all the same", feed.form_id)
