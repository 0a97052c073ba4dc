"""The store's HTTP verbs: tokens, select in key-set pages, upsert, rpc. Knows nothing of documents."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from services.utils import rawjson
from services.utils.env import StoreSettings
from services.utils.errors import ConfigError, StoreError
from services.utils.session import (
    OK,
    Backoff,
    HttpSession,
    Judgement,
    Verdict,
    judge_status,
)

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

T = TypeVar("T")

TOKEN_LIFE_S = 600
_RENEW_LEFT_S = 120

_NO_JSON = Judgement(Verdict.UNKNOWN, "the body is not JSON; is PGREST_ENDPOINT a PostgREST?")
# What PostgREST's and PostgreSQL's codes mean to the people who run this; their own texts may hold values.
_MEANINGS = {
    "42501": "the token's role may not do this; loads need api_user, publishers api_publisher, status.py api_monitor",
    "42P01": "a table is missing; run services/migrate.py",
    "42883": "a function is missing; run services/migrate.py",
    "42703": "a column is missing; run services/migrate.py",
    "PGRST202": "a function is missing or PostgREST has not reloaded its schema; run services/migrate.py",
    "PGRST204": "a column is missing; run services/migrate.py",
    "PGRST205": "a table is missing; run services/migrate.py",
    "PGRST106": "PostgREST does not serve the schema api; set db-schemas",
    "PGRST300": "PostgREST has no jwt-secret",
    "PGRST302": "a token is needed: set PGREST_JWT, or PGREST_JWT_SECRET and PGREST_ROLE",
    "22P05": "the document holds a character that PostgreSQL refuses here",
    "22P02": "the body is not what its columns take",
    "54000": "a limit of PostgreSQL was passed",
    "54001": "the document is nested too deep",
    "55P03": "a query that takes long holds what was to be changed; run again when it has ended",
    "PT404": "the store has no such metadata; run services/metadata_to_postgrest.py, or correct the container's id",
    "PT422": "the database does not know the app's time zone; choose another one in the app's settings in Knack",
    "PT409": "the run was taken for dead by another one, and must stop",
}


def mint_token(secret: str, role: str, lifetime_s: int = TOKEN_LIFE_S) -> str:
    """A PostgREST token (HS256) for a role.

    Raises: ConfigError if the secret has fewer than 32 bytes.
    """
    import jwt

    if len(secret.encode()) < 32:
        raise ConfigError("PGREST_JWT_SECRET must have 32 bytes or more. No token was made.")
    # No "iat": a clock a second ahead of PostgREST's would have the token refused.
    return jwt.encode({"role": role, "exp": int(time.time()) + lifetime_s}, secret, algorithm="HS256")


class PostgREST:
    """Requests to one PostgREST. Safe to use by several threads."""

    def __init__(self, settings: StoreSettings, pool: int = 4) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._token = settings.jwt
        self._token_ends = float("inf")
        if settings.jwt:
            _check_token(settings.jwt)
        self.http = HttpSession(
            settings.endpoint,
            "PostgREST",
            StoreError,
            headers=self._headers,
            judge=self._judge,
            renew=self._renew if not settings.jwt else None,
            timeout_s=(10.0, 300.0),
            backoff=Backoff(attempts=10, deadline_s=300.0),
            pool=pool,
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def select(
        self, table: str, params: list[tuple[str, str]], what: str = "", backoff: Backoff | None = None
    ) -> bytes:
        """One page of rows as JSON bytes: an array of objects."""
        return self.http.request(
            "GET", f"/{table}", params=params, repeatable=True, what=what, backoff=backoff
        ).content

    def select_as(
        self, table: str, params: list[tuple[str, str]], decoder: msgspec.json.Decoder[T], what: str = ""
    ) -> tuple[T, Callable[[msgspec.Raw], bytes], int]:
        """As `select`, for pages of many MB, which are read once: what `decode_raw` gives, and the body's length."""
        return self._request_as("GET", f"/{table}", decoder, params=params, what=what)

    def upsert(
        self,
        table: str,
        body: bytes,
        columns: str,
        what: str = "",
        backoff: Backoff | None = None,
    ) -> requests.Response:
        """Upsert a JSON array of objects by primary key, all or none.

        columns: named so that PostgREST need not read every row to find them. The answer's Content-Range
        tells how many rows were inserted or really changed ("*/3").
        """
        return self.http.request(
            "POST",
            f"/{table}",
            params=[("columns", columns)],
            data=body,
            headers={
                "Content-Type": "application/json",
                "Prefer": "resolution=merge-duplicates,return=minimal,count=exact",
            },
            repeatable=True,
            judge=self._judge_write,
            what=what,
            backoff=backoff,
        )

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        repeatable: bool = True,
        what: str = "",
        backoff: Backoff | None = None,
    ) -> Any:
        """Call a database function; its answer, decoded."""
        response = self.http.request(
            "POST",
            f"/rpc/{function}",
            data=msgspec.json.encode(arguments),
            headers={"Content-Type": "application/json"},
            repeatable=repeatable,
            judge=self._judge_write,
            what=what,
            backoff=backoff,
        )
        return msgspec.json.decode(response.content) if response.content else None

    def call_as(
        self,
        function: str,
        arguments: Mapping[str, Any],
        decoder: msgspec.json.Decoder[T],
        *,
        reads: bool = False,
        what: str = "",
    ) -> T:
        """As `call`, of a function that may be repeated and whose answer has a shape of its own.

        reads: it changes nothing; asked with GET, which lets nothing be changed.
        """
        path = f"/rpc/{function}"
        if reads:
            params = [(name, _name_value(value)) for name, value in arguments.items() if value is not None]
            return self._request_as("GET", path, decoder, params=params, what=what)[0]
        body, headers = msgspec.json.encode(arguments), {"Content-Type": "application/json"}
        return self._request_as("POST", path, decoder, data=body, headers=headers, what=what)[0]

    def send(self, function: str, body: bytes, what: str = "", backoff: Backoff | None = None) -> Any:
        """Hand a body, as it is, to a database function that may be repeated; its answer, decoded."""
        response = self.http.request(
            "POST",
            f"/rpc/{function}",
            data=body,
            headers={"Content-Type": "text/plain"},
            repeatable=True,
            judge=self._judge_write,
            what=what,
            backoff=backoff,
        )
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            return None

    def _request_as(
        self, method: str, path: str, decoder: msgspec.json.Decoder[T], **request: Any
    ) -> tuple[T, Callable[[msgspec.Raw], bytes], int]:
        """What `decode_raw` gives of an answer, which is read once, and its length; no JSON is no answer."""
        found: list[tuple[T, Callable[[msgspec.Raw], bytes]]] = []

        def judge(response: requests.Response) -> Judgement:
            judgement = self._judge_write(response)
            if judgement is OK:
                try:
                    found.append(rawjson.decode_raw(decoder, response.content))
                except msgspec.DecodeError:
                    return _NO_JSON
            return judgement

        response = self.http.request(method, path, repeatable=True, judge=judge, **request)
        value, cut = found[0]
        return value, cut, len(response.content)

    def _headers(self) -> Mapping[str, str]:
        if not self._settings.jwt and time.time() > self._token_ends_or_mint() - _RENEW_LEFT_S:
            self._renew()
        return {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}

    def _token_ends_or_mint(self) -> float:
        return self._token_ends if self._token else 0.0

    def _renew(self) -> None:
        with self._lock:
            self._token = mint_token(self._settings.jwt_secret, self._settings.role)
            self._token_ends = time.time() + TOKEN_LIFE_S

    def _judge(self, response: requests.Response) -> Judgement:
        judgement = self._judge_write(response)
        if judgement is OK and not rawjson.is_json(response.content):
            return _NO_JSON
        return judgement

    def _judge_write(self, response: requests.Response) -> Judgement:
        plain = judge_status(response)
        if plain.verdict is Verdict.OK:
            if "html" in response.headers.get("Content-Type", ""):
                return Judgement(Verdict.UNKNOWN, "an HTML page; is PGREST_ENDPOINT a PostgREST?")
            return OK
        code, message = _read_error(response)
        if response.status_code == 401 and "expired" in message.lower():
            if self._settings.jwt:
                return Judgement(
                    Verdict.REFUSED, "the token in PGREST_JWT has expired; make a new one with mint_token.py"
                )
            return Judgement(Verdict.RENEW, "the token has expired", code=code)
        if response.status_code == 401 and code in ("PGRST301", "PGRST303", ""):
            return Judgement(
                Verdict.REFUSED, "the token is refused; was it signed with PostgREST's jwt-secret?", code=code
            )
        if code.startswith("40"):
            # Deadlock or serialization failure: rolled back, and likely to pass on the next try.
            return Judgement(Verdict.AGAIN, "the transaction was rolled back", code=code)
        if plain.verdict is Verdict.UNKNOWN and response.status_code == 500 and code:
            return Judgement(Verdict.REFUSED, _MEANINGS.get(code, f"code {code}"), code=code)
        if plain.verdict is Verdict.UNKNOWN and code:
            return Judgement(Verdict.UNKNOWN, f"the database does not answer ({code})", plain.wait_s, code)
        if response.status_code == 404 and not code:
            return Judgement(
                Verdict.REFUSED,
                "not found; has services/migrate.py been run, and is PGREST_ENDPOINT a PostgREST?",
            )
        if plain.verdict is Verdict.REFUSED and code:
            return Judgement(Verdict.REFUSED, _MEANINGS.get(code, f"code {code}"), code=code)
        return plain


def _name_value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _check_token(token: str) -> None:
    """Say what is wrong with a fixed token before anything is sent."""
    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise ConfigError(
            "PGREST_JWT is not a token. Nothing was sent. Make one with mint_token.py."
        ) from error
    ends = claims.get("exp")
    if isinstance(ends, int | float) and ends < time.time() - 60:
        when = dt.datetime.fromtimestamp(ends, dt.UTC)
        raise ConfigError(
            f"The token in PGREST_JWT expired at {when:%Y-%m-%d %H:%M} UTC. Nothing was sent. "
            "Make a new one with mint_token.py."
        )


def _read_error(response: requests.Response) -> tuple[str, str]:
    """PostgREST's code and message; empty where the body is none of its own."""
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    return str(body.get("code") or ""), str(body.get("message") or "")
