"""Sign-in to an ArcGIS portal, and the one way to ask it anything: POST, `f=json`, token in a header.

ArcGIS says almost everything with status 200, so `judge` reads the body. Passwords and tokens travel in
form bodies and headers, never in addresses.
Source: ArcGIS REST API, "Generate token", "Handling errors".
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from services.utils.errors import ConfigError, PublishError, RequestRefused, ServiceError
from services.utils.session import OK, Backoff, HttpSession, Judgement, Verdict, judge_status

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

SYSTEM = "ArcGIS Online"
TOKEN_MINUTES = 60
RENEW_BEFORE_S = 300.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_RETRY_AFTER = re.compile(r"retry after (\d+)\s*sec", re.IGNORECASE)
_HTML_FIELD = re.compile(r"Field (\w{1,64}) has invalid html content", re.IGNORECASE)
_REASONS = {
    400: "the request was refused",
    401: "not signed in",
    403: "not allowed for this user",
    404: "not found",
    413: "the request is too large",
    429: "too many requests",
    498: "the token is not valid (any more)",
    499: "a token is required",
    500: "server error",
    503: "server error",
    504: "the server ran out of time",
}


class _Fault(msgspec.Struct):
    code: Any = None
    message: Any = None
    details: Any = None


class _Envelope(msgspec.Struct):
    error: _Fault | None = None


def judge(response: requests.Response) -> Judgement:
    """Read an ArcGIS answer, whose errors mostly come in a body with status 200.

    Server wording may repeat values of records, so reasons are our own words; only the name of a field
    that the HTML guard of the server objects to is passed on.
    """
    judgement = judge_status(response)
    if response.status_code in (498, 499):
        return Judgement(Verdict.RENEW, _REASONS[response.status_code], code=str(response.status_code))
    if judgement.verdict is not Verdict.OK:
        return judgement
    try:
        fault = msgspec.json.decode(response.content, type=_Envelope).error
    except msgspec.DecodeError:
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        return Judgement(
            Verdict.UNKNOWN, f"the body is not whole JSON ({kind}, {len(response.content)} bytes)"
        )
    if fault is None:
        return OK
    code = fault.code if isinstance(fault.code, int) else 0
    details = fault.details if isinstance(fault.details, list) else [fault.details]
    said = " ".join(text for text in [fault.message, *details] if isinstance(text, str))
    reason = f"error {fault.code}, {_REASONS.get(code, 'not carried out as asked')}"
    if html := _HTML_FIELD.search(said):
        reason += f" (field {html[1]} has HTML content)"
    if code in (498, 499):
        return Judgement(Verdict.RENEW, reason, code=str(code))
    if code == 429:
        wait = _RETRY_AFTER.search(said)
        return Judgement(Verdict.AGAIN, reason, float(wait[1]) if wait else None, code="429")
    if code in (400, 401, 403, 404, 413):
        return Judgement(Verdict.REFUSED, reason, code=str(code))
    # 500 and 504 are known to come for edits that were carried out; so might a code nobody wrote down.
    return Judgement(Verdict.UNKNOWN, reason, code=str(code))


@dataclass
class _Token:
    """A token with the moment (monotonic seconds) from which a new one is to be asked for."""

    text: str = field(default="", repr=False)
    renew_at: float = 0.0


@dataclass
class Portal:
    """A signed-in portal. `post` gives the JSON of an answer.

    url: scheme, host and path before "/sharing". username: for messages.
    sign_in: gives (token, seconds it is good for). backoff: of requests that may be repeated.
    """

    url: str
    username: str
    sign_in: Callable[[], tuple[str, float]] = field(repr=False)
    backoff: Backoff = field(default_factory=Backoff)
    session: HttpSession = field(init=False, repr=False)
    _token: _Token = field(init=False, repr=False, default_factory=_Token)

    def __post_init__(self) -> None:
        self.session = HttpSession(
            self.url,
            SYSTEM,
            PublishError,
            headers=self._headers,
            judge=judge,
            renew=self.renew,
            backoff=self.backoff,
        )

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def renew(self) -> None:
        """Sign in (again). Raises: ConfigError or PublishError with one line if that is refused."""
        token, life_s = self.sign_in()
        # A short-lived token is renewed at half of its life, a usual one five minutes before its end.
        self._token = _Token(token, time.monotonic() + max(life_s - RENEW_BEFORE_S, life_s / 2))

    def _headers(self) -> Mapping[str, str]:
        if time.monotonic() >= self._token.renew_at:
            self.renew()
        return {"X-Esri-Authorization": f"Bearer {self._token.text}", "Referer": self.url}

    def post(
        self,
        path: str,
        form: Mapping[str, Any] | bytes | None = None,
        *,
        repeatable: bool = True,
        what: str = "",
    ) -> dict[str, Any]:
        """POST a form and give the JSON answer.

        Args:
            path: below the portal, or the whole URL of a service.
            form: fields (`f=json` is added), or a whole url-encoded body that holds `f=json`.
            repeatable: as in HttpSession.request.
        Raises: PublishError mixed with RequestRefused or OutcomeUnknown.
        """
        data = form if isinstance(form, bytes) else {"f": "json", **(form or {})}
        response = self.session.request(
            "POST", path, repeatable=repeatable, data=data, headers=_FORM, what=what
        )
        return dict(msgspec.json.decode(response.content))

    def find_service(self, service_id: str) -> str:
        """URL of the feature service behind an item id.

        Raises: ConfigError if there is no such item, it is not ours to see, or it is no feature service.
        """
        path = f"/sharing/rest/content/items/{quote(service_id, safe='')}"
        try:
            item = self.post(path, what=f"item {service_id}")
        except RequestRefused as error:
            # Any other is not about the item: throttled, or a token that ran out.
            if error.code not in ("400", "403", "404"):
                raise
            raise ConfigError(
                f"{SYSTEM} item {service_id} does not exist, or {self.username} may not see it "
                f"({error}). Nothing was sent. Correct service_id, or share the item with this user."
            ) from error
        url = str(item.get("url") or "").rstrip("/")
        if item.get("type") != "Feature Service" or not url:
            raise ConfigError(
                f"{SYSTEM} item {service_id} is a {item.get('type') or 'thing without a type'}, not a Feature "
                "Service. Nothing was sent. Correct service_id."
            )
        self.check_host(url, service_id)
        return url

    def check_host(self, url: str, service_id: str) -> None:
        """See that a service is of this portal: an item can point anywhere, the token must not follow.

        Raises: ConfigError.
        """
        ours, theirs = urlsplit(self.url), urlsplit(url)
        mine, host = ours.hostname or "", theirs.hostname or ""
        same = (
            host == mine
            or {host, mine} <= LOOPBACK
            or (not mine.replace(".", "").isdigit() and host.split(".")[-2:] == mine.split(".")[-2:])
        )
        if not same or (ours.scheme == "https" and theirs.scheme != "https"):
            raise ConfigError(
                f"{SYSTEM} item {service_id} points to a service at {theirs.scheme}://{host}, outside of "
                f"{ours.scheme}://{mine}. The sign-in is not sent there; nothing was sent. Use an item that the "
                "portal hosts itself."
            )


def connect(
    url: str, username: str, password: str, client: str = "", *, backoff: Backoff | None = None
) -> Portal:
    """Sign in to a portal.

    Args:
        url: the portal ("https://www.arcgis.com", "https://<org>.maps.arcgis.com", "http://127.0.0.1:port").
        client: "" asks the portal for a token ourselves; "arcgis" takes the token of Esri's package
            (extra `arcgis`), for portals whose sign-in needs more than a user name and a password.
        backoff: how often and how long requests are repeated; None means the session's usual way.
    Raises: ConfigError if the sign-in is refused or `client` cannot be used. A refused password is
        never tried again: repeated failures lock the account. (The arcgis package posts it several
        times by itself.) PublishError if the portal cannot be reached.
    """
    root = re.sub(r"/(home|sharing|sharing/rest)$", "", url.strip().rstrip("/"))
    parts = urlsplit(root)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            f"AGOL_URL{f' ({url})' if '@' not in url else ''} is no address of an ArcGIS portal. Nothing was sent. "
            "Write scheme and host alone, as in https://www.arcgis.com."
        )
    sign_in: Callable[[], tuple[str, float]]
    if client == "":
        sign_in = _PasswordSignIn(root, username, password, backoff or Backoff())
    elif client == "arcgis":
        sign_in = _PackageSignIn(root, username, password)
    else:
        raise ConfigError(
            f'"{client}" is no known client for {SYSTEM}. Nothing was sent. Leave it empty or write "arcgis".'
        )
    portal = Portal(root, username, sign_in, backoff or Backoff())
    portal.renew()
    return portal


class _PasswordSignIn:
    """`generateToken` with a user name and a password, bound to our referer."""

    def __init__(self, url: str, username: str, password: str, backoff: Backoff) -> None:
        self._url = url
        self._username = username
        self._password = password
        # Few attempts: nobody knows whether a sign-in without an answer counts as a failed one.
        self._session = HttpSession(
            url,
            SYSTEM,
            PublishError,
            judge=judge,
            backoff=replace(backoff, attempts=min(3, backoff.attempts)),
        )
        self._signed_in = False
        self._refused = ""

    def __call__(self) -> tuple[str, float]:
        if not self._refused:
            try:
                return self._ask()
            except RequestRefused as error:
                if error.code != "400":  # not about the password: throttled, or no portal at this address
                    raise
                locked = "too many" in error.body.lower()
                self._refused = (
                    f"{SYSTEM} at {self._url} refused the sign-in of {self._username}: "
                    + ("the account is locked for a while." if locked else "wrong user name or password.")
                    + " It was tried once, because repeated failures lock an account."
                )
        raise _explain_refusal(self._refused, self._signed_in)

    def _ask(self) -> tuple[str, float]:
        form = {
            "f": "json",
            "username": self._username,
            "password": self._password,
            "client": "referer",
            "referer": self._url,
            "expiration": str(TOKEN_MINUTES),
        }
        try:
            response = self._session.request(
                "POST",
                "/sharing/rest/generateToken",
                repeatable=True,
                data=form,
                headers={"Referer": self._url},
                what="sign-in",
            )
        finally:
            self._session.close()
        answer = msgspec.json.decode(response.content)
        if not isinstance(answer.get("token"), str):
            raise PublishError(
                f"{SYSTEM} at {self._url} gave no token at sign-in, though no error either. "
                "Is the address the one of a portal?"
            )
        self._signed_in = True
        life_s = TOKEN_MINUTES * 60.0
        if isinstance(answer.get("expires"), int | float):
            left_s = answer["expires"] / 1000 - time.time()
            # Where the clocks disagree, our own reckoning is as good; a 498 tells if it was not.
            life_s = left_s if 0 < left_s < life_s else life_s
        return answer["token"], life_s


class _PackageSignIn:
    """The token of a session that Esri's package opened; the package is used for nothing else."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = url
        self._username = username
        self._password = password
        self._signed_in = False
        self._refused = ""

    def __call__(self) -> tuple[str, float]:
        if self._refused:
            raise _explain_refusal(self._refused, self._signed_in)
        import requests

        try:
            from arcgis.gis import GIS
        except ImportError as error:
            raise ConfigError(
                f'client "arcgis" needs the arcgis package, which cannot be imported (missing: {error.name}). '
                "Nothing was sent. Install it with: pip install 'record-services[arcgis]', or leave the client empty."
            ) from error
        try:
            gis = GIS(self._url, self._username, self._password)
            token = gis.session.auth.token
        except requests.RequestException as error:
            raise PublishError(
                f"{SYSTEM} at {self._url}: the arcgis package got no answer at sign-in ({type(error).__name__}). "
                "The package speaks https only. Check AGOL_URL, or leave the client empty."
            ) from None
        except Exception as error:  # the package raises plain Exception, with text that may hold anything
            self._refused = (
                f"{SYSTEM} at {self._url}: the arcgis package could not sign in {self._username} "
                f"({type(error).__name__})."
            )
            raise _explain_refusal(self._refused, self._signed_in) from None
        if not token:
            raise PublishError(
                f"{SYSTEM} at {self._url}: the arcgis package signed in {self._username} without a token. "
                "Nothing was sent. Leave the client empty to sign in directly."
            )
        self._signed_in = True
        return str(token), TOKEN_MINUTES * 60.0


def _explain_refusal(said: str, signed_in: bool) -> ServiceError:
    """The error for a refused sign-in: the first one is a matter of settings, a later one ends a run."""
    if signed_in:
        return PublishError(
            f"{said} The run stopped; what it sent before stays. Check AGOL_USERNAME and AGOL_PASSWORD."
        )
    return ConfigError(f"{said} Nothing was sent. Correct AGOL_USERNAME and AGOL_PASSWORD.")
