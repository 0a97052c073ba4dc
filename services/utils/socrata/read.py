"""What readers of a dataset see: how many rows, which row identifiers, whole rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from services.utils.errors import PublishError
from services.utils.session import pause
from services.utils.socrata.client import read_json
from services.utils.socrata.dataset import Dataset
from services.utils.socrata.values import NUMBER_TYPES, format_key

# One page of keys is in memory at a time, and takes some 3 MB.
PAGE_ROWS = 10_000
# Whole rows come in pages of a few MB, the first of which tells how many rows that is.
WHOLE_ROWS_FIRST, WHOLE_BYTES = 500, 4_000_000
# A question stands in the address, and servers take some 8 KB of that.
_QUESTION_CHARS = 3_000


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
    rows = _read_count(dataset, read_json(response), "count")
    header = response.headers.get("X-SODA2-Data-Out-Of-Date", "").strip().lower()
    return Count(rows, {"true": True, "false": False}.get(header))


def count_other_keys(dataset: Dataset, start: str) -> int:
    """How many rows have an `id` that begins otherwise; 0 where the dataset has no such text column."""
    if dataset.columns.get("id") != "text":
        return 0
    params = {"$select": "count(*)", "$where": f"not starts_with(`id`, '{start}')"}
    return _read_count(dataset, fetch_page(dataset, params, "count of ids"), "count of ids")


def _read_count(dataset: Dataset, answer: Any, what: str) -> int:
    try:
        return int(next(iter(answer[0].values())))
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise PublishError(f"Socrata GET {dataset.path} ({what}): the answer holds no count.") from error


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
        del page, row


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
        del page


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
