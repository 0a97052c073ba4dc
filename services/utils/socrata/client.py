"""A Socrata portal: signing in, and reading its answers; refusals are told apart in our own words.

Paths
    GET  /api/views/<4x4>.json       columns, row identifier: see dataset.py
    GET  /resource/<4x4>.json        rows (SoQL in the query): see read.py
    POST, PUT /resource/<4x4>.json   upsert, replace: see publish.py

Source: dev.socrata.com, "Publishing"; soda-java, soda-fountain and data-coordinator.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from services.utils import rawjson
from services.utils.errors import ConfigError, PublishError
from services.utils.session import (
    OK,
    UNKNOWN_STATUSES,
    Backoff,
    HttpSession,
    Judgement,
    Verdict,
    retry_after_s,
)

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

# A write answers when it is done: minutes, for a large one.
TIMEOUT_S = (10.0, 300.0)
_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,60}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,80}")

# What a refusal says, told by a piece of its message or code: (status, piece, our code, our words). The
# portal's own words may hold values of rows and go no further.
_REFUSALS = (
    (400, "row data was saved", "rows-saved", "the rows were saved, the dataset's metadata was not"),
    (
        400,
        "illegal field name",
        "illegal-field",
        "a field that the dataset does not have (its columns were changed meanwhile; run again)",
    ),
    (
        401,
        "",
        "sign-in",
        "the sign-in is wrong; correct SOCRATA_USERNAME and SOCRATA_PASSWORD, or the API key",
    ),
    (403, "app_token", "app-token", "the app token is not valid; correct SOCRATA_APP_TOKEN or leave it out"),
    (
        403,
        "synced dataset",
        "synced-dataset",
        "the dataset is a synced copy, which cannot be written; name the dataset it is copied from in "
        "socrata_resource_id",
    ),
    (
        403,
        "logged in",
        "no-sign-in",
        "the portal wants a sign-in; set SOCRATA_USERNAME and SOCRATA_PASSWORD",
    ),
    (
        403,
        "permission_denied",
        "permission-denied",
        "this user may not do that; give it the right to edit the dataset",
    ),
    (403, "", "forbidden", "this user may not do that, or the portal wants another sign-in"),
    (404, "", "dataset-missing", "the portal has no such dataset; correct socrata_resource_id"),
    (413, "", "too-large", "the body is too large"),
)


def connect(
    url: str, username: str, password: str, app_token: str | None = None, *, backoff: Backoff | None = None
) -> HttpSession:
    """A session with a portal, signed in with every request; nothing is sent yet.

    Args:
        url: scheme and host of the portal. username, password: a user, or an API key's id and secret;
        both empty for public reading.
    Raises: ConfigError if the address is none. Requests raise PublishError.
    """
    import sodapy
    from requests.adapters import HTTPAdapter

    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            "SOCRATA_URL is not the address of a portal: scheme and host are wanted, without user and "
            "password (https://data.example.gov). Nothing was sent."
        )
    if bool(username) is not bool(password):
        raise ConfigError(
            "SOCRATA_USERNAME and SOCRATA_PASSWORD go together, one of them is empty. Nothing was sent."
        )
    plain = {"prefix": "http://", "adapter": HTTPAdapter()} if parts.scheme == "http" else None
    # Without a token sodapy warns through the root logger: it gets a stand-in, removed at once.
    beneath = sodapy.Socrata(
        parts.netloc, app_token or "none", username or None, password or None, session_adapter=plain
    )
    if username:
        # requests itself takes no letters beyond Latin-1 in them.
        beneath.session.auth = username.encode(), password.encode()
    if not app_token:
        beneath.session.headers.pop("X-App-token")
        log.warning("Socrata: no SOCRATA_APP_TOKEN; requests share the portal's pool for unnamed clients")
    return HttpSession(
        base_url=f"{parts.scheme}://{parts.netloc}",
        system="Socrata",
        error=PublishError,
        headers={"Accept": "application/json"},
        judge=judge_answer,
        timeout_s=TIMEOUT_S,
        backoff=backoff or Backoff(deadline_s=1800.0),
        http=beneath.session,
    )


def judge_answer(response: requests.Response) -> Judgement:
    """Read an answer: only a 200 or 201 with whole JSON is one; refusals are told apart in our own words."""
    status = response.status_code
    request_id = response.headers.get("X-Socrata-RequestId", "")
    if _REQUEST_ID.fullmatch(request_id):
        log.debug("Socrata answered %d, request id %s", status, request_id)
        tail = f" [request id {request_id}]"
    else:
        tail = ""
    if status in (200, 201):
        if rawjson.is_json(response.content):
            return OK
        kind = response.headers.get("Content-Type", "no content type").split(";")[0][:60]
        return Judgement(
            Verdict.UNKNOWN, f"the body is not JSON ({kind}, {len(response.content)} bytes){tail}"
        )
    if 200 <= status < 300:
        return Judgement(Verdict.UNKNOWN, f"accepted, not known to be done{tail}", retry_after_s(response))
    if status == 429:
        return Judgement(Verdict.AGAIN, f"too many requests{tail}", retry_after_s(response), "throttled")
    if status == 409:
        return Judgement(
            Verdict.AGAIN, f"another writer has the dataset{tail}", retry_after_s(response), "conflict"
        )
    if status in UNKNOWN_STATUSES or status >= 500:
        return Judgement(Verdict.UNKNOWN, f"server error{tail}", retry_after_s(response))
    if 300 <= status < 400:
        return Judgement(
            Verdict.REFUSED,
            f"redirected; correct SOCRATA_URL (its scheme, its host){tail}",
            code="redirected",
        )
    code, message = _read_error(response)
    said = f"{code} {message}".lower()
    for known_status, piece, our_code, words in _REFUSALS:
        if known_status == status and piece in said:
            return Judgement(Verdict.REFUSED, f"{words}{tail}", code=our_code)
    return Judgement(Verdict.REFUSED, f"refused{f' ({code})' if code else ''}{tail}", code=code)


def _read_error(response: requests.Response) -> tuple[str, str]:
    """(code, message) of an error body; ("", text) where it is no JSON object."""
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return "", response.text[:500]
    if not isinstance(body, dict):
        return "", ""
    code = body.get("code") or body.get("errorCode") or ""
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    return code, str(body.get("message") or "")[:2000]


def read_json(response: requests.Response) -> Any:
    """The body of an answer that was judged to be JSON."""
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        # Half a character, written as an escape, is no JSON to msgspec.
        return json.loads(response.content)
