"""Records out of Knack: pages walked in a stable order, record bytes passed through untouched.

Source of the rules: Knack's API documentation and published clients. What loses records there is
handled here: estimated totals, short and wrongly empty pages, whole-day filters in the app's own time
zone, throttling, error texts labelled as HTML.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from services.utils.env import KnackSettings
from services.utils.errors import OutcomeUnknown, RequestRefused, ServiceError, SourceError
from services.utils.hostlimiter import HostLimiter
from services.utils.rawjson import decode_raw
from services.utils.records import Page
from services.utils.session import (
    OK,
    Backoff,
    HttpSession,
    Judgement,
    Verdict,
    judge_json,
    judge_status,
    parse_http_date,
)

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

ROWS_PER_PAGE = 1000
ROWS_LEAST = 125
REQUESTS_PER_SECOND = 10.0
# Knack counts arrivals: of ten a second, some that were sent in the next second arrive in this one.
MARGIN = 0.9

_REFUSALS = {
    "malformed app id": "KNACK_APP_ID is not an application's id",
    "invalid api request": "no application id arrived; check KNACK_APP_ID",
    "invalid api key": "KNACK_API_KEY is not this application's key",
    "unauthorized object access": "objects need a real API key; check KNACK_API_KEY",
    "invalid or expired token": "the view is not open to this key; check KNACK_API_KEY and scene_id",
}


_VARIABLES = re.compile(r"\b(KNACK_APP_ID|KNACK_API_KEY)\b")
_METADATA: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class _Id(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    # Required, all of them: an answer without totals would pass for the last page.
    records: list[msgspec.Raw]
    total_pages: int
    total_records: int


_NO_PAGE = _Page([], 0, 0)
# Where Knack puts a record's id: read so, the record itself need not be walked through.
_ID_FIRST = re.compile(rb'\{"id":"([0-9a-f]{24})"[,}]')


@dataclass(frozen=True)
class Place:
    """Where a container's records are read: an object's own list, or a view of a scene."""

    container_id: str
    path: str
    is_view: bool


class Knack:
    """One Knack application's API, over kept-alive connections.

    per_second: this machine's share of the ten requests a second that Knack allows an app; all its processes
    keep to it together. names: the ending of the variables that hold app id and key ("_DEST"), for messages.
    """

    def __init__(
        self,
        url: str,
        app_id: str,
        api_key: str = "",
        per_second: float = REQUESTS_PER_SECOND,
        *,
        error: type[ServiceError] = SourceError,
        names: str = "",
    ) -> None:
        self.app_id = app_id
        self._names = names
        headers = {"X-Knack-Application-Id": app_id, "Accept": "application/json"}
        if api_key:
            headers["X-Knack-REST-API-Key"] = api_key
        # Whole ones: two in any second from each of four machines with a share of 2.5, never three.
        burst = max(1, int(per_second))
        self._http = HttpSession(
            url,
            "Knack",
            error,
            headers=headers,
            judge=self._judge,
            timeout_s=(10.0, 90.0),
            backoff=Backoff(attempts=8, factor_s=0.4, deadline_s=420.0),
            limiter=HostLimiter(f"knack {app_id}", min(burst, per_second) * MARGIN, burst=burst),
        )
        self._page = msgspec.json.Decoder(_Page)
        self._id = msgspec.json.Decoder(_Id)
        self._told_quota = False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def fetch_metadata(self) -> bytes:
        """The application's metadata document, byte for byte.

        Raises: SourceError if the answer is not such a document.
        """
        body = self._http.request(
            "GET", f"/v1/applications/{self.app_id}", repeatable=True, what="metadata"
        ).content
        try:
            found = decode_raw(_METADATA, body)[0]
        except msgspec.ValidationError:
            found = {}
        if "application" not in found:
            raise SourceError("Knack's metadata answer has no application. Nothing was stored. Run again.")
        return body

    def fetch_pages(
        self,
        place: Place,
        *,
        sort_field: str | None = None,
        filters: dict[str, Any] | None = None,
        first: int = 1,
        every: int = 1,
    ) -> Iterator[Page]:
        """Walk a container's records, page by page, to the end.

        Args:
            sort_field: a field whose values are unique and never change (auto_increment); without one the
                order is the container's own, and edits during the walk may hide a record from it.
            filters: Knack's filters object. It limits what comes; an empty answer is normal with it.
            first, every: only these pages of `ROWS_PER_PAGE` rows: first, first + every, ...
        Yields: at least one page; a page may be short or, where Knack's estimate is high, empty.
        Raises: SourceError if a page cannot be had, or is empty with others behind it.
        """
        offset = (first - 1) * ROWS_PER_PAGE
        rows = ROWS_PER_PAGE
        empty_at: int | None = None
        while True:
            number = offset // rows + 1
            params = [("rows_per_page", str(rows)), ("page", str(number)), ("format", "both")]
            if sort_field:
                params += [("sort_field", sort_field), ("sort_order", "asc")]
            if filters:
                params.append(("filters", msgspec.json.encode(filters).decode()))
            what = f"page {number} of {place.container_id}"
            try:
                page, total_pages = self._fetch_page(place, params, what, patient=rows == ROWS_LEAST)
            except OutcomeUnknown:
                if rows <= ROWS_LEAST:
                    raise
                # Wide records make pages of many MB, which fail more often than small ones.
                rows //= 2
                log.info("%s fails; going on with %d rows a page", what, rows)
                continue
            if page.records and empty_at is not None:
                raise SourceError(
                    f"Knack answered page {empty_at} of {place.container_id} without records, and later ones "
                    "with: the answer is incomplete. What was read is stored, nothing was removed. Run again."
                )
            if not page.records:
                empty_at = empty_at or number
            yield page
            offset += rows
            # Behind an empty page all are looked at: with records there, others' or not, it was empty wrongly.
            if offset % ROWS_PER_PAGE == 0 and empty_at is None:
                offset += (every - 1) * ROWS_PER_PAGE
            if offset // rows >= total_pages:
                return

    def fetch_sample(self, place: Place) -> bytes | None:
        """Any one record of a container, its bytes as they came; None where it has none.

        Raises: SourceError if the container cannot be read.
        """
        params = [("rows_per_page", "1"), ("page", "1"), ("format", "both")]
        page, _ = self._fetch_page(place, params, f"a record of {place.container_id}", patient=True)
        return page.records[0][1] if page.records else None

    def fetch_record(self, place: Place, record_id: str) -> bytes | None:
        """One record of an object, its bytes as they came; None where Knack says that it is not there.

        Raises: SourceError where Knack's answer leaves it open.
        """
        try:
            body = self._http.request(
                "GET",
                f"{place.path}/{record_id}",
                params=[("format", "both")],
                repeatable=True,
                what="one record",
            ).content
        except RequestRefused as error:
            # Knack says it in plain words; a page of HTML is somebody else's.
            if error.status == 404 and not error.body.lstrip().startswith("<"):
                return None
            raise
        try:
            found = decode_raw(self._id, body)[0].id
        except msgspec.DecodeError:
            found = ""
        if found != record_id:
            raise SourceError(f"Knack gave something else when asked for the record {record_id}.")
        return body

    def write(self, method: str, path: str, body: bytes, *, repeatable: bool) -> dict[str, Any]:
        """Create (POST) or change (PUT) a record; gives it as Knack keeps it.

        Raises: as the session does; OutcomeUnknown also where the answer is no record.
        """

        def judge(response: requests.Response) -> Judgement:
            judgement = self._http.judge(response)
            if judgement.verdict is not Verdict.OK:
                return judgement
            try:
                self._id.decode(response.content)
            except msgspec.DecodeError:
                return Judgement(Verdict.UNKNOWN, "the answer is no record")
            return OK

        response = self._http.request(
            method,
            path,
            data=body,
            headers={"Content-Type": "application/json"},
            repeatable=repeatable,
            judge=judge,
            what="one record",
        )
        self._note_quota(response)
        record: dict[str, Any] = msgspec.json.decode(response.content)
        return record

    def _judge(self, response: requests.Response) -> Judgement:
        judgement = self._judge_status(response)
        if judgement.verdict is Verdict.OK and response.status_code == 200:
            return judge_json(response)
        return judgement

    def _judge_status(self, response: requests.Response) -> Judgement:
        judgement = _judge_status(response)
        if not self._names:
            return judgement
        named = _VARIABLES.sub(rf"\1{self._names}", judgement.reason)
        return dataclasses.replace(judgement, reason=named)

    def _note_quota(self, response: requests.Response) -> None:
        """Say once that the plan's requests for today are nearly used up, before they are."""
        limit = _number(response.headers.get("X-PlanLimit-Limit"))
        left = _number(response.headers.get("X-PlanLimit-Remaining"))
        if limit and left < limit / 10 and not self._told_quota:
            self._told_quota = True
            log.warning("Knack: %.0f of the plan's %.0f requests are left for today", left, limit)

    def _fetch_page(
        self, place: Place, params: list[tuple[str, str]], what: str, patient: bool
    ) -> tuple[Page, int]:
        """(a page, how many there are)."""
        asked = dict(params)
        before = (int(asked["page"]) - 1) * int(asked["rows_per_page"])
        tries_empty = 0
        page = _NO_PAGE
        cut: Callable[[msgspec.Raw], bytes] = bytes

        def judge(response: requests.Response) -> Judgement:
            nonlocal tries_empty, page, cut
            judgement = self._judge_status(response)
            if judgement.verdict is not Verdict.OK:
                return judgement
            try:
                # Many MB: read once, here.
                page, cut = decode_raw(self._page, response.content)
            except msgspec.DecodeError:
                plain = judge_json(response)
                if plain.verdict is not Verdict.OK:
                    return plain
                return Judgement(Verdict.UNKNOWN, "the body is not a page of records")
            if not page.records and before < page.total_records and tries_empty < 3:
                # The total is an estimate, so the last page may truly be empty; asking again tells.
                tries_empty += 1
                return Judgement(Verdict.UNKNOWN, "an empty page before the end")
            return OK

        backoff = None if patient else Backoff(attempts=5, factor_s=0.4, deadline_s=180.0)
        response = self._http.request(
            "GET", place.path, params=params, repeatable=True, judge=judge, what=what, backoff=backoff
        )
        records = self._read_ids([cut(record) for record in page.records], place)
        self._note_quota(response)
        return Page(
            records, page.total_records, parse_http_date(response.headers.get("Date", ""))
        ), page.total_pages

    def _read_ids(self, records: list[bytes], place: Place) -> list[tuple[str, bytes]]:
        try:
            return [(self._read_id(record), record) for record in records]
        except msgspec.DecodeError as error:
            raise SourceError(
                f"Knack sent a record of {place.container_id} without an id. The pages before it are stored, "
                "nothing was removed. Is this a records endpoint?"
            ) from error

    def _read_id(self, record: bytes) -> str:
        first = _ID_FIRST.match(record)
        return first[1].decode() if first else decode_raw(self._id, record)[0].id


def connect(settings: KnackSettings) -> Knack:
    """The app that the settings name."""
    return Knack(settings.url, settings.app_id, settings.api_key, settings.requests_per_second)


def _judge_status(response: requests.Response) -> Judgement:
    status = response.status_code
    if status == 429:
        if response.headers.get("X-PlanLimit-Remaining", "").strip() == "0":
            hours = _number(response.headers.get("X-PlanLimit-Reset")) / 3_600_000
            return Judgement(
                Verdict.REFUSED,
                f"the plan's requests for today are used up; they come back in {hours:.1f} hours",
                code="plan-limit",
            )
        return Judgement(Verdict.AGAIN, "more than 10 requests a second", _wait_for_reset(response))
    if status in (400, 401, 403, 404):
        text = response.text[:200].strip().lower()
        for said, meaning in _REFUSALS.items():
            if said in text:
                return Judgement(Verdict.REFUSED, meaning)
        if status == 404:
            return Judgement(Verdict.REFUSED, "not found; check the container's id and its scene_id")
        return Judgement(Verdict.REFUSED, "check the ids, KNACK_APP_ID and KNACK_API_KEY")
    return judge_status(response)


def _wait_for_reset(response: requests.Response) -> float | None:
    """Seconds to the end of the throttled second: X-RateLimit-Reset is a time, compared with the answer's own."""
    reset = _number(response.headers.get("X-RateLimit-Reset"))
    now = parse_http_date(response.headers.get("Date", ""))
    if not reset or now is None:
        return None
    return min(max(reset - now.timestamp(), 0.2), 10.0)


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
