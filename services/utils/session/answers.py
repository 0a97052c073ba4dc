"""What an answer means for its request, as systems that keep to HTTP say it."""

from __future__ import annotations

import datetime as dt
import enum
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from services.utils import rawjson

if TYPE_CHECKING:
    # With urllib3 a third of a command's start: imported where the first connection is made.
    import requests

UNKNOWN_STATUSES = frozenset({408, 500, 502, 503, 504, 520, 521, 522, 523, 524})


class Verdict(enum.Enum):
    """What an answer means for the request that it answers."""

    OK = "ok"
    AGAIN = "again"
    UNKNOWN = "unknown"
    RENEW = "renew"
    REFUSED = "refused"


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason, in words fit for a log (no record content, no secret).

    wait_s: seconds the server asked us to wait; None leaves it to the back-off.
    code: the server's own error code, for callers that must tell refusals apart.
    """

    verdict: Verdict
    reason: str = ""
    wait_s: float | None = None
    code: str = ""


OK = Judgement(Verdict.OK)


def judge_status(response: requests.Response) -> Judgement:
    """The plain reading of a status, for systems that say everything with it."""
    status = response.status_code
    if 200 <= status < 300:
        return OK
    if status == 429:
        return Judgement(Verdict.AGAIN, "too many requests", retry_after_s(response))
    if status in UNKNOWN_STATUSES:
        return Judgement(Verdict.UNKNOWN, "server error", retry_after_s(response))
    return Judgement(Verdict.REFUSED, _phrase(status))


def judge_json(response: requests.Response) -> Judgement:
    """As `judge_status`, and a 2xx answer must hold JSON: an HTML page or a cut body is not an answer."""
    judgement = judge_status(response)
    if (
        judgement.verdict is Verdict.OK
        and response.status_code != 204
        and not rawjson.is_json(response.content)
    ):
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        return Judgement(Verdict.UNKNOWN, f"the body is not JSON ({kind}, {len(response.content)} bytes)")
    return judgement


def retry_after_s(response: requests.Response) -> float | None:
    """Seconds the server asks to wait (`Retry-After` as seconds or as a date), or None."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdigit():
        return float(value)
    when = parse_http_date(value)
    return None if when is None else max(0.0, when.timestamp() - time.time())


def parse_http_date(text: str) -> dt.datetime | None:
    """A date as HTTP headers give it; None where it is none."""
    import email.utils

    try:
        return email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "refused"
