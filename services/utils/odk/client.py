"""ODK Central's HTTP: sign-in that renews itself, paths encoded rightly, answers told apart.

Source of the rules: Central's API documentation and answers recorded from a real server. Some traps:
a session lasts 24 hours whatever its use; a literal `$` in a path must not be encoded, a space must be %20;
links in answers begin with the server's public address, which is not always the one that was called; a
response cut by a database failure is a 200 that falls silent, for two minutes, in the middle of its JSON.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from services.utils import rawjson
from services.utils.env import OdkSettings
from services.utils.errors import SourceError
from services.utils.session import (
    OK,
    Backoff,
    HttpSession,
    Judgement,
    Verdict,
    judge_status,
    retry_after_s,
)

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

# Silence longer than this is a broken answer; Central itself gives up after 120 s.
READ_TIMEOUT_S = 60.0
_REFUSALS = {
    400: "Central does not understand the question",
    401: "the sign-in is refused",
    403: "the user may not read this; give it the role Project Viewer in the project",
    404: "not there; check the project's number and the form's id (upper and lower case count)",
    406: "Central does not give this kind of answer",
    414: "the question is too long",
    431: "the question is too long",
    501: "this Central does not know the option",
}


class _Error(msgspec.Struct):
    # A number whose digits matter: 501.1 and 501.11 are two different things.
    code: msgspec.Raw = msgspec.Raw(b"")
    message: str = ""


class _Session(msgspec.Struct):
    token: str


class Central:
    """One ODK Central and one user on it. Safe to use by several threads; signs in with the first request."""

    def __init__(self, base_url: str, user: str, password: str, pool: int = 8) -> None:
        self._user, self._password = user, password
        self._token = ""
        self._lock = threading.Lock()
        self._used = threading.local()
        from http.cookiejar import DefaultCookiePolicy

        import requests

        connections = requests.Session()
        # The sign-in's cookie would be a second sign-in in every request.
        connections.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._http = HttpSession(
            base_url,
            "ODK Central",
            SourceError,
            headers=self._headers,
            judge=judge,
            renew=self._renew,
            timeout_s=(10.0, READ_TIMEOUT_S),
            backoff=Backoff(attempts=8, factor_s=0.4, deadline_s=420.0),
            pool=pool,
            http=connections,
        )
        self._sign_in = HttpSession(
            base_url,
            "ODK Central",
            SourceError,
            headers={"Content-Type": "application/json"},
            judge=_judge_sign_in,
            timeout_s=(10.0, READ_TIMEOUT_S),
            backoff=self._http.backoff,
            http=connections,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | list[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        judge: Callable[[requests.Response], Judgement] | None = None,
        timeout_s: tuple[float, float] | None = None,
        backoff: Backoff | None = None,
        read: Callable[[requests.Response], None] | None = None,
        what: str = "",
    ) -> requests.Response:
        """One request with the sign-in, renewed once where it has run out.

        Args:
            path: begins with /v1/ (see `form_path`); may bring its own query.
            judge: reads the answer; the default takes any body with a status of 2xx.
            read: takes the body of an answer of 200 piece by piece, as in `HttpSession.request`.
        Raises: SourceError mixed with RequestRefused (`code` is Central's own, as "404.1") or OutcomeUnknown.
        """
        return self._http.request(
            method,
            path,
            params=params,
            headers=headers,
            repeatable=repeatable,
            judge=judge,
            timeout_s=timeout_s,
            backoff=backoff,
            read=read,
            what=what,
        )

    def get_json(
        self, path: str, params: Mapping[str, Any] | None = None, *, extended: bool = False, what: str = ""
    ) -> Any:
        """An answer's JSON, decoded. extended: with what Central adds on `X-Extended-Metadata`."""
        return msgspec.json.decode(self.fetch_json(path, params, extended=extended, what=what).content)

    def fetch_json(
        self, path: str, params: Mapping[str, Any] | None = None, *, extended: bool = False, what: str = ""
    ) -> requests.Response:
        """An answer that is surely JSON."""
        headers = {"Accept": "application/json"}
        if extended:
            headers["X-Extended-Metadata"] = "true"
        return self.request("GET", path, params=params, headers=headers, judge=judge_json, what=what)

    def _headers(self) -> Mapping[str, str]:
        with self._lock:
            if not self._token:
                self._token = self._fetch_token()
            self._used.token = self._token
        return {"Authorization": f"Bearer {self._token}"}

    def _renew(self) -> None:
        """Sign in again, unless another thread has done so since this one's request was sent."""
        with self._lock:
            if self._token == self._used.token:
                self._token = self._fetch_token()

    def _fetch_token(self) -> str:
        body = msgspec.json.encode({"email": self._user, "password": self._password})
        answer = self._sign_in.request("POST", "/v1/sessions", data=body, repeatable=True, what="sign-in")
        return msgspec.json.decode(answer.content, type=_Session).token


def connect(settings: OdkSettings, pool: int = 8) -> Central:
    """Central as the environment names it; pool: connections that are kept. Nothing is sent yet."""
    return Central(settings.url, settings.user, settings.password, pool)


def form_path(project_id: str | int, form_id: str, *more: str) -> str:
    """The path of a form, and of something under it: form_path(1, "my form", "submissions", "uuid:...")."""
    parts = ["v1", "projects", str(project_id), "forms", form_id, *more]
    return "/" + "/".join(quote(part, safe="") for part in parts)


def feed_path(project_id: str | int, form_id: str, table: str = "Submissions") -> str:
    """The path of a form's OData feed; table: "Submissions", or one of its repeats."""
    return f"{form_path(project_id, form_id)}.svc/{quote(table, safe='')}"


def link_path(link: str) -> str:
    """Path and query of a link in an answer; its host is the public one, which may not be reachable from here.

    Raises: SourceError if it is no link into Central's API.
    """
    parts = urlsplit(link)
    start = parts.path.find("/v1/")
    if start < 0:
        raise SourceError(
            "ODK Central gave a next link that does not lead into its API. Nothing was removed."
        )
    return parts.path[start:] + (f"?{parts.query}" if parts.query else "")


def judge(response: requests.Response) -> Judgement:
    """What an answer of Central's means; any body with a status of 2xx is taken."""
    status = response.status_code
    if 200 <= status < 300:
        return OK
    code, message = read_error(response)
    if status == 401 and code == "401.2":
        return Judgement(Verdict.RENEW, "the session has ended or the user was removed", code=code)
    if status == 429:
        return Judgement(Verdict.AGAIN, "too many requests", retry_after_s(response), code)
    if status in _REFUSALS:
        reason = _REFUSALS[status]
        # Central's own words name fields and options; they may quote what was asked, never a record.
        if code and status in (400, 501) and message:
            reason = f"{reason}: {message[:200]}"
        return Judgement(Verdict.REFUSED, reason, code=code)
    plain = judge_status(response)
    return Judgement(plain.verdict, plain.reason, plain.wait_s, code)


def judge_json(response: requests.Response) -> Judgement:
    """As `judge`, and the body must be whole JSON: a database failure cuts it under a status of 200."""
    judgement = judge(response)
    if judgement is OK and not rawjson.is_json(response.content):
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        return Judgement(Verdict.UNKNOWN, f"the body is not JSON ({kind}, {len(response.content)} bytes)")
    return judgement


def read_error(response: requests.Response) -> tuple[str, str]:
    """Central's own code ("404.1") and message; empty where the body is none of its own."""
    try:
        error = msgspec.json.decode(response.content, type=_Error)
    except msgspec.DecodeError:
        return "", ""
    return bytes(error.code).decode("ascii", "replace").strip('"'), error.message


def _judge_sign_in(response: requests.Response) -> Judgement:
    judgement = judge_json(response)
    if judgement.verdict is Verdict.RENEW or (response.status_code == 400):
        return Judgement(
            Verdict.REFUSED, "the sign-in is refused; check ODATA_USER and ODATA_PASS", code=judgement.code
        )
    if judgement is OK:
        try:
            msgspec.json.decode(response.content, type=_Session)
        except msgspec.ValidationError:
            return Judgement(Verdict.REFUSED, "no session came; is ODK_BASE_URL an ODK Central?")
    if response.status_code == 404:
        return Judgement(Verdict.REFUSED, "is ODK_BASE_URL an ODK Central?", code=judgement.code)
    return judgement
