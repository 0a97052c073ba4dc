"""A Socrata portal: signing in, reading its answers, what a dataset looks like and which rows it has.

Paths
    GET  /api/views/<4x4>.json       columns, row identifier
    GET  /resource/<4x4>.json        rows (SoQL in the query)
    POST, PUT /resource/<4x4>.json   upsert, replace: see publish.py

Source: dev.socrata.com, "Publishing"; soda-java, soda-fountain and data-coordinator.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

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
    pause,
    retry_after_s,
)
from services.utils.socrata.shape import find_geo_columns
from services.utils.socrata.values import NUMBER_TYPES, format_key

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

PAGE_ROWS = 50_000
# Whole rows come in pages of a few MB, the first of which tells how many rows that is.
WHOLE_ROWS_FIRST, WHOLE_BYTES = 500, 4_000_000
# A question stands in the address, and servers take some 8 KB of that.
_QUESTION_CHARS = 3_000
# A write answers when it is done: minutes, for a large one.
TIMEOUT_S = (10.0, 300.0)
_FOUR_BY_FOUR = re.compile(r"[a-z0-9]{4}-[a-z0-9]{4}")
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


@dataclass(frozen=True)
class Dataset:
    """One dataset of a portal.

    columns: {fieldName: dataTypeName} in the portal's order, without its own (":..."). row_id: fieldName of
    the row identifier, None where the dataset has none. rights: what the portal says that this user may do with it;
    empty where it does not say.
    """

    client: HttpSession = field(repr=False)
    four_by_four: str
    columns: dict[str, str]
    row_id: str | None = None
    name: str = ""
    rights: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        """Where its rows are read and written."""
        return f"/resource/{self.four_by_four}.json"

    def __str__(self) -> str:
        return f"dataset {self.four_by_four}"


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


def open_dataset(client: HttpSession, four_by_four: str) -> Dataset:
    """The dataset's columns and row identifier, as the portal has them now.

    Raises: ConfigError if the id is none; PublishError if the portal refuses or does not answer.
    """
    if not _FOUR_BY_FOUR.fullmatch(four_by_four):
        raise ConfigError(
            f"{four_by_four!r} is not the id of a Socrata dataset: two groups of four letters or digits are "
            "wanted (abcd-1234). Nothing was sent. Correct socrata_resource_id."
        )
    response = client.request("GET", f"/api/views/{four_by_four}.json", repeatable=True, what="metadata")
    view = read_json(response)
    if not isinstance(view, dict) or not isinstance(view.get("columns"), list):
        raise PublishError(
            f"Socrata GET /api/views/{four_by_four}.json: the answer has no columns. Nothing was sent. "
            "See whether the id is that of a table, not of a chart, map or file."
        )
    columns: dict[str, str] = {}
    row_id = None
    for column in view["columns"]:
        name = column.get("fieldName") or ""
        if not name or name.startswith(":"):
            continue
        columns[name] = column.get("dataTypeName") or "text"
        key = view.get("rowIdentifierColumnId")
        if key is not None and column.get("id") == key:
            row_id = name
    rights = view.get("rights")
    return Dataset(
        client,
        four_by_four,
        columns,
        row_id,
        str(view.get("name") or ""),
        frozenset(str(right) for right in rights) if isinstance(rights, list) else frozenset(),
    )


def geo_columns(dataset: Dataset) -> list[str]:
    """The columns that take places: their fields' rows should hold coordinates."""
    return find_geo_columns(dataset.columns)


@dataclass(frozen=True)
class Count:
    """How many rows readers see. stale: writes are on their way to them; None where the portal is silent."""

    rows: int
    stale: bool | None


def count_rows(dataset: Dataset) -> Count:
    """Count the dataset's rows, as readers see them."""
    response = dataset.client.request(
        "GET", dataset.path, repeatable=True, params={"$select": "count(*)"}, what="count"
    )
    answer = read_json(response)
    try:
        rows = int(next(iter(answer[0].values())))
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise PublishError(f"Socrata GET {dataset.path} (count): the answer holds no count.") from error
    header = response.headers.get("X-SODA2-Data-Out-Of-Date", "").strip().lower()
    return Count(rows, {"true": True, "false": False}.get(header))


def count_other_keys(dataset: Dataset, start: str) -> int:
    """How many rows have an `id` that begins otherwise; 0 where the dataset has no such text column."""
    if dataset.columns.get("id") != "text":
        return 0
    params = {"$select": "count(*)", "$where": f"not starts_with(`id`, '{start}')"}
    answer = fetch_page(dataset, params, "count of ids")
    try:
        return int(next(iter(answer[0].values())))
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise PublishError(
            f"Socrata GET {dataset.path} (count of ids): the answer holds no count."
        ) from error


def wait_until_fresh(dataset: Dataset, *, lag_s: float, poll_s: float) -> Count:
    """Wait until readers see every write, at most `lag_s` seconds; the last count, perhaps still stale."""
    deadline = time.monotonic() + lag_s
    while True:
        count = count_rows(dataset)
        if not count.stale or time.monotonic() + poll_s > deadline:
            return count
        pause(poll_s)
        poll_s = min(poll_s * 1.5, 5.0)


def fetch_keys(dataset: Dataset, page_rows: int = PAGE_ROWS) -> Iterator[str]:
    """The row identifier of every row that readers see, in its one spelling (`format_key`)."""
    row_id = dataset.row_id
    assert row_id is not None
    kind = dataset.columns[row_id]
    offset = 0
    while True:
        params = {
            "$select": row_id,
            "$order": row_id,
            "$limit": str(page_rows),
            "$offset": str(offset),
        }
        page = fetch_page(dataset, params, f"row identifiers from {offset}")
        if not page:
            return
        for row in page:
            value = row.get(row_id)
            # Null fields are left out of an answer; a row without a key is nobody's and stays.
            if value is not None:
                yield format_key(value, kind)
        offset += len(page)


def fetch_rows(dataset: Dataset, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Every row as readers see it, with its row identifier and these columns; null fields are left out."""
    assert dataset.row_id is not None
    offset, rows = 0, WHOLE_ROWS_FIRST
    while True:
        params = {
            "$select": _select(dataset, columns),
            "$order": dataset.row_id,
            "$limit": str(rows),
            "$offset": str(offset),
        }
        page, size = fetch_sized(dataset, params, f"rows from {offset}")
        if not page:
            return
        offset += len(page)
        rows = min(PAGE_ROWS, max(1, WHOLE_BYTES // max(1, size // len(page))))
        yield from page


def fetch_rows_of(dataset: Dataset, keys: Iterable[str], columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """As `fetch_rows`, of some keys (`format_key`); those that are not there are left out."""
    assert dataset.row_id is not None
    select = _select(dataset, columns)
    is_number = dataset.columns[dataset.row_id] in NUMBER_TYPES
    batch: list[str] = []
    size = 0
    for key in keys:
        literal = key if is_number else "'" + key.replace("'", "''") + "'"
        if batch and (size + len(literal) > _QUESTION_CHARS or len(batch) >= 100):
            yield from _fetch_batch(dataset, batch, select)
            batch, size = [], 0
        batch.append(literal)
        size += len(quote(literal)) + 3
    if batch:
        yield from _fetch_batch(dataset, batch, select)


def _fetch_batch(dataset: Dataset, literals: list[str], select: str) -> list[dict[str, Any]]:
    where = f"`{dataset.row_id}` in ({','.join(literals)})"
    params = {
        "$select": select,
        "$where": where,
        "$order": str(dataset.row_id),
        "$limit": str(len(literals)),
    }
    return fetch_page(dataset, params, f"{len(literals)} rows")


def _select(dataset: Dataset, columns: Iterable[str]) -> str:
    """The row identifier and these columns: without being asked a portal gives hidden ones too."""
    return ",".join(dict.fromkeys([str(dataset.row_id), *columns]))


def fetch_page(dataset: Dataset, params: dict[str, str], what: str) -> list[dict[str, Any]]:
    """The rows that answer one SoQL question; what: words for messages.

    Raises: PublishError if the portal refuses, does not answer, or answers something else.
    """
    return fetch_sized(dataset, params, what)[0]


def fetch_sized(dataset: Dataset, params: dict[str, str], what: str) -> tuple[list[dict[str, Any]], int]:
    """As `fetch_page`, and the bytes of the answer."""
    response = dataset.client.request("GET", dataset.path, repeatable=True, params=params, what=what)
    page = read_json(response)
    if not isinstance(page, list):
        raise PublishError(f"Socrata GET {dataset.path}: the answer is no list of rows.")
    return page, len(response.content)
