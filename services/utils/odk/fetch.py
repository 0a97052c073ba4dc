"""Submissions out of ODK Central: the OData feed, page by page, each submission's bytes as they came.

Source of the rules: Central's API documentation and answers recorded from a real server. What would lose
submissions there is handled here: a page that ends early without a word (its cursor was purged), links that
lead to the public address, filters that hide soft-deleted rows or are finer than a stored millisecond.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from services.utils.errors import OutcomeUnknown, RequestRefused, SourceError
from services.utils.odk import form
from services.utils.odk.client import Central, feed_path, judge, link_path
from services.utils.odk.form import FormState
from services.utils.odk.keys import find_key
from services.utils.rawjson import decode_blanked, decode_raw
from services.utils.session import OK, Backoff, Judgement, Verdict

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

# A page is a few MB: bigger ones are cheaper for Central, smaller ones for us.
PAGE_BYTES = 4_000_000
ROWS_FIRST, ROWS_LEAST, ROWS_MOST = 500, 5, 2500
# Terms of a filter: a hundred are 6 kB of address, and 8 kB are what proxies commonly take.
TERMS_MOST = 100
# A submission is stamped when its transaction begins and seen when that ends, after all of its media came.
OVERLAP = dt.timedelta(minutes=10)
_SUBMITTED, _UPDATED, _DELETED = (
    "__system/submissionDate",
    "__system/updatedAt",
    "__system/deletedAt",
)


class _Page(msgspec.Struct):
    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)
    count: int = msgspec.field(name="@odata.count", default=-1)


_PAGE = msgspec.json.Decoder(_Page)
_RECORD: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Submission:
    """One row of the feed.

    record: its bytes. key: what names it in the store, None if it has no key. instance_id: Central's own id,
    which edits do not change. submitted_at: when Central got it, as Central wrote it. deleted: soft-deleted.
    """

    record: bytes
    key: str | None
    instance_id: str
    submitted_at: str
    deleted: bool


@dataclass(frozen=True)
class FeedPage:
    """One answer of the feed. count: how many rows matched the filter as this page was made."""

    submissions: list[Submission]
    count: int


class FormFeed:
    """One form of one project at Central.

    record_key: see `keys.find_key`. rows_first, rows_most: of a walk's pages, which are made to be a few MB.
    """

    def __init__(
        self,
        central: Central,
        project_id: str,
        form_id: str,
        record_key: str = "",
        rows_first: int = ROWS_FIRST,
        rows_most: int = ROWS_MOST,
    ) -> None:
        self.central = central
        self.project_id = project_id
        self.form_id = form_id
        self.record_key = record_key
        self.rows_first = rows_first
        self.rows_most = rows_most

    def fetch_state(self) -> FormState:
        """See `form.fetch_state`."""
        return form.fetch_state(self.central, self.project_id, self.form_id)

    def fetch_metadata(self, known: dict[str, Any] | None = None) -> bytes | None:
        """See `form.fetch_metadata`."""
        return form.fetch_metadata(self.central, self.project_id, self.form_id, known)

    def walk(self, *, filter: str = "", select: str = "", rows: int = 0) -> Iterator[FeedPage]:
        """The feed's pages, newest submission first, with all repeats (unless a selection is asked for).

        Raises: SourceError if a page cannot be had.
        """
        rows = rows or self.rows_first
        params = {"$top": str(rows), "$count": "true", **({"$filter": filter} if filter else {})}
        params.update({"$select": select} if select else {"$expand": "*"})
        path = feed_path(self.project_id, self.form_id)
        query = list(params.items())
        number = 1
        while True:
            what = f"page {number} of {self.form_id}"
            try:
                page, next_link, size = self._fetch_page(path, query, what, patient=rows <= ROWS_LEAST)
            except OutcomeUnknown:
                if rows <= ROWS_LEAST:
                    raise
                rows = max(ROWS_LEAST, rows // 4)
                log.info("%s fails; going on with %d rows a page", what, rows)
                query = [(name, str(rows) if name == "$top" else value) for name, value in query]
                continue
            yield page
            if not next_link:
                return
            if page.submissions:
                rows = max(ROWS_LEAST, PAGE_BYTES * len(page.submissions) // size)
                rows = min(rows, self.rows_most)
            link = urlsplit(link_path(next_link))
            path = link.path
            query = [
                (name, str(rows) if name == "$top" else value)
                for name, value in parse_qsl(link.query, keep_blank_values=True)
            ]
            number += 1

    def count(self) -> int:
        """How many submissions are alive now; -1 where Central does not say."""
        params = {"$top": "0", "$count": "true"}
        answer = self.central.get_json(feed_path(self.project_id, self.form_id), params, what="count")
        return int(answer.get("@odata.count", -1))

    def fetch_deleted(self) -> dict[str, str] | None:
        """{instance id: submission date} of what is soft-deleted now; None where this Central cannot say."""
        found: dict[str, str] = {}
        select = f"__id,{_SUBMITTED}"
        try:
            for page in self.walk(filter=f"{_DELETED} ne null", select=select, rows=ROWS_MOST):
                found.update({one.instance_id: one.submitted_at for one in page.submissions})
        except RequestRefused as error:
            if error.status != 501:
                raise
            log.warning(
                "this ODK Central is older than v2024.3 and hides deleted submissions: "
                "only a full load finds those that were deleted"
            )
            return None
        return found

    def fetch_submitted_at(self, times: Iterable[str]) -> Iterator[FeedPage]:
        """Live submissions by the times at which Central got them; others of the same millisecond come too.

        Times serve better than ids here: every Central can filter them, and some ids no filter can hold.
        """
        waiting = sorted(set(times))
        for start in range(0, len(waiting), TERMS_MOST):
            terms = waiting[start : start + TERMS_MOST]
            yield from self.walk(filter=" or ".join(f"{_SUBMITTED} eq {at}" for at in terms))

    def _fetch_page(
        self, path: str, query: list[tuple[str, str]], what: str, patient: bool
    ) -> tuple[FeedPage, str, int]:
        """A page, the link to the next one ("" on the last), and its size in bytes."""
        pages: list[tuple[_Page, Callable[[msgspec.Raw], bytes]]] = []

        def judge_page(response: requests.Response) -> Judgement:
            judgement = judge(response)
            if judgement is OK:
                try:
                    pages.append(decode_raw(_PAGE, response.content))
                except msgspec.DecodeError:
                    return Judgement(Verdict.UNKNOWN, "the body is not a whole page of submissions")
            return judgement

        response = self.central.request(
            "GET",
            path,
            params=query,
            headers={"Accept": "application/json"},
            judge=judge_page,
            what=what,
            backoff=None if patient else Backoff(attempts=5, factor_s=0.4, deadline_s=240.0),
        )
        found, cut = pages[-1]
        submissions = [read_submission(cut(record), self.record_key) for record in found.value]
        return FeedPage(submissions, found.count), found.next_link or "", len(response.content)


def read_submission(record: bytes, record_key: str = "") -> Submission:
    """A row of the feed from its bytes.

    Raises: SourceError if it is no JSON object.
    """
    try:
        values = decode_blanked(_RECORD, record)
    except msgspec.DecodeError as error:
        raise SourceError("ODK Central's feed holds something that is not a submission.") from error
    instance_id, system = values.get("__id"), values.get("__system")
    if not isinstance(system, dict):
        system = {}
    return Submission(
        record,
        find_key(values, record_key),
        instance_id if isinstance(instance_id, str) else "",
        str(system.get("submissionDate") or ""),
        system.get("deletedAt") is not None,
    )


def build_changes_filter(since: dt.datetime, also: Iterable[str] = (), *, deleted: str = "since") -> str:
    """A filter for what was submitted, edited, reviewed or deleted at or after a time.

    Args:
        since: aware; rounded down to the millisecond, which is what Central stores.
        also: submission dates whose submissions are wanted whatever happened to them.
        deleted: "since": those deleted since too; "all": all that are deleted; "": none (older Centrals).
    """
    at = format_time(since)
    terms = [f"{_SUBMITTED} ge {at}", f"{_UPDATED} ge {at}"]
    if deleted:
        terms.append(f"{_DELETED} ne null" if deleted == "all" else f"{_DELETED} ge {at}")
    return " or ".join([*terms, *(f"{_SUBMITTED} eq {time}" for time in also)])


def format_time(when: dt.datetime) -> str:
    """An aware time as filters take it: UTC, cut down to the millisecond."""
    utc = when.astimezone(dt.UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


__all__ = [
    "OVERLAP",
    "TERMS_MOST",
    "FeedPage",
    "FormFeed",
    "FormState",
    "Submission",
    "build_changes_filter",
    "format_time",
    "read_submission",
]
