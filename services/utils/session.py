"""The one place that speaks HTTP: time-outs, retries, and answers turned into errors.

What may be repeated is decided here, by what the caller says of the request (`repeatable`) and by
what a system's `judge` reads in the answer:

    OK       take it
    AGAIN    surely not carried out (throttled, pool empty): repeat, whatever the request
    UNKNOWN  may have been carried out (5xx, time-out, cut or unreadable body): repeat if repeatable,
             else raise OutcomeUnknown so that the caller can look before it sends again
    RENEW    the sign-in ran out: `renew()` once, then repeat
    REFUSED  final
"""

from __future__ import annotations

import datetime as dt
import enum
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.utils import rawjson
from services.utils.errors import OutcomeUnknown, RequestRefused, ServiceError

if TYPE_CHECKING:
    # With urllib3 a third of a command's start: imported where the first connection is made.
    import requests

log = logging.getLogger(__name__)

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


_patience_s = float("inf")
_stopping = False
_pace = 1.0
_longest_s = float("inf")
_ask_first: Callable[[], None] | None = None


def limit_patience(seconds: float) -> None:
    """Let no request of this process be repeated for longer than this, whatever its back-off says."""
    global _patience_s
    _patience_s = seconds


def limit_waiting(seconds: float) -> None:
    """Let no answer be waited for longer than this by this process, whatever time-outs a system has."""
    global _longest_s
    _longest_s = min(_longest_s, seconds)


def ask_before_writes(may_write: Callable[[], None] | None) -> None:
    """Have this called before every request of this process that may change something; what it raises stops it.

    None: no more.
    """
    global _ask_first
    _ask_first = may_write


def stop_soon(seconds: float) -> None:
    """This process is told to stop: no request is repeated for longer than this, and waits under way end."""
    global _stopping
    _stopping = True
    limit_patience(min(seconds, _patience_s))


def check_may_write() -> None:
    """Raise what `ask_before_writes` says, for writes that do not go through `HttpSession`."""
    if _ask_first is not None:
        _ask_first()


def set_testing(pace: float, timeout_s: float = float("inf")) -> None:
    """For tests: waits take `pace` of their time (1.0 is as usual), no answer is waited for beyond `timeout_s`."""
    global _pace, _longest_s
    _pace, _longest_s = pace, timeout_s


def pause(seconds: float) -> None:
    """Wait, between two requests; every such wait in this package goes through here, so that tests need not.

    Once this process is told to stop (`stop_soon`) no wait is a long one.
    """
    until = time.monotonic() + seconds * _pace
    # In short sleeps: an Event's lock may be held by the very thread in which the signal sets it.
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.3))
        if _stopping:
            return


@dataclass(frozen=True)
class Backoff:
    """How often and how long: waits of about 0.3, 0.6, 1.2 ... seconds, at most `max_wait_s`, with jitter.

    attempts: how often a request may fail; being told to wait is no failure. deadline_s: no attempt starts
    later than this after the first one; a wait that would pass it ends the trying at once.
    """

    attempts: int = 8
    factor_s: float = 0.3
    max_wait_s: float = 30.0
    jitter_s: float = 0.3
    deadline_s: float = 600.0


class Waits:
    """The waits between the tries of one request, within its back-off and this process' patience."""

    def __init__(self, limits: Backoff) -> None:
        self._limit_s = limits.deadline_s
        self._least_s = limits.factor_s
        self._started = time.monotonic()
        from urllib3.util import Retry

        self._retry = Retry(
            total=None,
            backoff_factor=limits.factor_s,
            backoff_max=limits.max_wait_s,
            backoff_jitter=limits.jitter_s,
        )

    @property
    def deadline_s(self) -> float:
        """Seconds after the first try up to which others may start; patience may end on the way."""
        return min(self._limit_s, _patience_s)

    def find_next(self, wish_s: float | None = None) -> float | None:
        """Seconds to wait now, the server's wish if it has one; None where the next try would come too late."""
        self._retry = self._retry.increment(error=None, response=None)
        # A wish of no wait at all (a date gone by, say) is none: it would be granted a thousand times a second.
        wait_s = wish_s or max(self._retry.get_backoff_time(), self._least_s)
        late = time.monotonic() - self._started + wait_s * _pace > self.deadline_s
        return None if late else wait_s


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


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "refused"


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


class RateLimiter:
    """At most `per_second` requests a second, shared by all threads that hold it.

    burst: so many may start at once, and no more of them in any `burst / per_second` seconds.
    """

    def __init__(self, per_second: float, burst: int = 1) -> None:
        self._window_s = burst / per_second
        self._burst = burst
        self._starts: list[float] = []
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until the next request may start."""
        with self._lock:
            now = time.monotonic()
            start = self.book(now, self._window_s * _pace)
        if start > now:
            time.sleep(start - now)

    def book(self, now: float, window_s: float) -> float:
        """When the next request may start, by the monotonic clock, with `burst` of them in `window_s` at most."""
        start = self.find_start(self._starts, now, window_s)
        self._starts = [*self._starts, start][-self._burst :]
        return start

    def find_start(self, starts: Sequence[float], now: float, window_s: float) -> float:
        """When the next may start after those that are booked, oldest first; never with one of them."""
        start = max(now, starts[-1] + 1e-6) if starts else now
        return start if len(starts) < self._burst else max(start, starts[-self._burst] + window_s)


@dataclass
class HttpSession:
    """Requests to one system, over kept-alive connections.

    Args:
        base_url: scheme, host and any fixed path; `request` adds its path to it.
        system: the name people know it by ("Knack", "PostgREST"), for messages.
        error: class of the errors raised (SourceError, StoreError, PublishError).
        headers: sent with every request; a callable is asked before each attempt (tokens that renew).
        judge: reads an answer; default `judge_json`.
        renew: makes a new sign-in when the judge says RENEW; None makes RENEW final.
        timeout_s: (connect, read) seconds. limiter: shared limit on the rate of requests.
        http: a prepared requests.Session (sodapy's, say); None makes one.
    """

    base_url: str
    system: str
    error: type[ServiceError]
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] = field(default_factory=dict, repr=False)
    judge: Callable[[requests.Response], Judgement] = judge_json
    renew: Callable[[], None] | None = None
    timeout_s: tuple[float, float] = (10.0, 120.0)
    backoff: Backoff = field(default_factory=Backoff)
    limiter: RateLimiter | None = None
    pool: int = 4
    http: requests.Session = field(default_factory=lambda: _open_session(), repr=False)
    # How many requests of this session had to be repeated so far.
    repeated: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self.base_url = self.base_url.rstrip("/")
        # The adapter itself never retries: it cannot know which requests are safe to repeat.
        adapter = HTTPAdapter(
            pool_connections=self.pool, pool_maxsize=self.pool, max_retries=Retry(0, read=False)
        )
        self.http.mount(self.base_url, adapter)
        # A city's proxy and certificates (HTTPS_PROXY, REQUESTS_CA_BUNDLE) hold here as elsewhere; but no .netrc
        # sign-in may slip into requests that carry their own.
        if self.http.auth is None:
            self.http.auth = _keep_sign_in

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool,
        params: Mapping[str, Any] | list[tuple[str, str]] | None = None,
        data: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        judge: Callable[[requests.Response], Judgement] | None = None,
        timeout_s: tuple[float, float] | None = None,
        backoff: Backoff | None = None,
        read: Callable[[requests.Response], None] | None = None,
        what: str = "",
    ) -> requests.Response:
        """Send one request until it has an answer; give that answer.

        Args:
            path: added to `base_url`; a whole URL is taken as it is.
            repeatable: True if carrying it out twice gives the same state as once.
            data: body bytes, or form fields.
            read: takes the body of an answer of 200 piece by piece, before it is judged; `content` is empty then.
                It is called anew with each try.
            what: words for messages ("page 3 of object_9"); the query string never appears in them.
        Raises: `error` mixed with RequestRefused (surely not carried out) or OutcomeUnknown.
        """
        url = path if path.startswith(("http://", "https://")) else self.base_url + path
        where = f"{self.system} {method} {urlsplit(url).path}" + (f" ({what})" if what else "")
        limits = backoff or self.backoff
        waits = Waits(limits)
        renewed = False
        tries = failures = 0
        while True:
            tries += 1
            response: requests.Response | None = None
            try:
                response = self._send(method, url, params, data, headers, timeout_s, read)
                judgement = (judge or self.judge)(response)
            except _find_no_answer() as error:
                judgement = Judgement(Verdict.UNKNOWN, _name_failure(error))
            status = response.status_code if response is not None else 0
            if judgement.verdict is Verdict.OK:
                assert response is not None
                return response
            # Not `.text`: guessing the encoding of a body of many MB takes seconds.
            body = response.content[:8000].decode("utf-8", "replace")[:2000] if response is not None else ""
            said = f"{where}: {f'{status} ' if status else ''}{judgement.reason}"
            if judgement.verdict is Verdict.RENEW and self.renew is not None and not renewed:
                renewed = True
                log.debug("%s; signing in again", said)
                self.renew()
                continue
            if judgement.verdict in (Verdict.REFUSED, Verdict.RENEW):
                raise self._failure(RequestRefused, said, status, body, judgement.code)
            unknown = judgement.verdict is Verdict.UNKNOWN
            if unknown and not repeatable:
                raise self._failure(OutcomeUnknown, said, status, body, judgement.code)
            kind = OutcomeUnknown if unknown else RequestRefused
            failures += unknown
            if failures >= limits.attempts:
                raise self._failure(
                    kind, f"{said}; gave up after {tries} tries", status, body, judgement.code
                )
            wait_s = waits.find_next(judgement.wait_s)
            if wait_s is None:
                raise self._failure(
                    kind,
                    f"{said}; gave up after {tries} tries, the next one would be past {waits.deadline_s:.0f} s",
                    status,
                    body,
                    judgement.code,
                )
            log.info("%s; trying again in %.1f s (try %d)", said, wait_s, tries + 1)
            self.repeated += 1
            pause(wait_s)

    def _send(
        self,
        method: str,
        url: str,
        params: Any,
        data: Any,
        headers: Mapping[str, str] | None,
        timeout_s: tuple[float, float] | None,
        read: Callable[[requests.Response], None] | None,
    ) -> requests.Response:
        if method != "GET":
            check_may_write()
        if self.limiter is not None:
            self.limiter.wait()
        standing = self.headers() if callable(self.headers) else self.headers
        connect_s, read_s = timeout_s or self.timeout_s
        response = self.http.request(
            method,
            url,
            params=params,
            data=data,
            headers={**standing, **(headers or {})},
            timeout=(min(connect_s, _longest_s), min(read_s, _longest_s)),
            # A redirect is an answer of its own: following it would carry the sign-in to another host.
            allow_redirects=False,
            stream=True,
        )
        return _read_body(response, read if response.status_code == 200 else None)

    def _failure(
        self,
        kind: type[RequestRefused] | type[OutcomeUnknown],
        message: str,
        status: int,
        body: str,
        code: str,
    ) -> ServiceError:
        return build_failure(self.error, kind, message, status, body, code)


def _open_session() -> requests.Session:
    import requests

    return requests.Session()


def _find_no_answer() -> tuple[type[Exception], ...]:
    """What is raised where no whole answer came."""
    import requests

    return (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
    )


def _read_body(
    response: requests.Response, read: Callable[[requests.Response], None] | None
) -> requests.Response:
    """The response with its body in `content`, read in one piece, or given to `read`.

    By itself requests joins pieces of 10 KB: seven times the work and twice the memory for a body of some MB.
    """
    try:
        if read is None:
            response._content = b"".join(response.iter_content(None))
        else:
            read(response)
            response._content = b""
    except BaseException:
        response.close()
        raise
    return response


def build_failure(
    error: type[ServiceError],
    kind: type[RequestRefused] | type[OutcomeUnknown],
    message: str,
    status: int = 0,
    body: str = "",
    code: str = "",
) -> ServiceError:
    """An error to raise that is both the system's own and the kind of failure, so that either can be caught."""
    failure: ServiceError = _mixed(error, kind)(message, status, body, code)
    return failure


def _keep_sign_in(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The request as it is: with an auth of its own, requests looks into no .netrc."""
    return request


_MIXED: dict[tuple[type, type], type] = {}


def _mixed(error: type[ServiceError], kind: type) -> Any:
    if (error, kind) not in _MIXED:
        _MIXED[error, kind] = type(f"{error.__name__}{kind.__name__}", (kind, error), {})
    return _MIXED[error, kind]


def _name_failure(error: Exception) -> str:
    """Words for a request without an answer; the library's own text may hold the query string."""
    import requests

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS handshake failed (wrong scheme or untrusted certificate)"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "the answer was cut short"
    if "refused" in str(error).lower():
        return "connection refused (is it running at this address?)"
    if "resolve" in str(error).lower():
        return "the host name is not known"
    return "the connection was lost"
