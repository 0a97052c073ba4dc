"""The session: requests sent until they have an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.utils.errors import OutcomeUnknown, RequestRefused, ServiceError
from services.utils.session import process
from services.utils.session.answers import Judgement, Verdict, judge_json
from services.utils.session.backoff import Backoff, Waits
from services.utils.session.failures import build_failure, find_no_answer, name_failure
from services.utils.session.limiter import RateLimiter

if TYPE_CHECKING:
    # With urllib3 a third of a command's start: imported where the first connection is made.
    import requests

log = logging.getLogger(__name__)


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
            except find_no_answer() as error:
                judgement = Judgement(Verdict.UNKNOWN, name_failure(error))
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
            process.pause(wait_s)

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
            process.check_may_write()
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
            timeout=(min(connect_s, process.longest_s), min(read_s, process.longest_s)),
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


def _keep_sign_in(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The request as it is: with an auth of its own, requests looks into no .netrc."""
    return request
