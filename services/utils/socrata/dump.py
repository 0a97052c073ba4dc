"""A dataset as one CSV text and back: what backups hold.

A header of API field names, then a row for each row in the order of `:id`; lines end in CR LF (RFC 4180). Text, numbers
and times stand as Socrata gives them, true and false in those words, places and links as compact JSON, nothing where
there is nothing (so an empty text comes back as none). The portal's own columns (those beginning with ":") cannot be
written and are left out.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import msgspec

from services.utils.errors import ConfigError, PublishError
from services.utils.records import Row
from services.utils.socrata.dataset import Dataset
from services.utils.socrata.read import WHOLE_BYTES, WHOLE_ROWS_FIRST, fetch_page, fetch_sized
from services.utils.socrata.values import FORMATTERS, format_key, format_text
from services.utils.spool import Spool

# Types whose values are objects, written as JSON.
_OBJECTS = frozenset(
    kind
    for kind in FORMATTERS
    if kind in ("point", "multipoint", "location", "url", "phone", "json")
    or kind.endswith(("line", "polygon"))
)
MOST_ROWS = 50_000
# A cell may be a polygon of a whole county.
_LONGEST_CELL = 100_000_000


class DatasetChanged(PublishError):
    """The dataset was written to while it was read."""


@dataclass(frozen=True)
class Mark:
    """A dataset's state: how many rows readers see, and when the latest of them was written."""

    rows: int
    written: str


def read_mark(dataset: Dataset) -> Mark:
    """The state that readers see now: a row that is added, changed or taken away makes another one."""
    params = {"$select": "count(*) as rows, max(:updated_at) as written"}
    answer = fetch_page(dataset, params, "count")
    try:
        return Mark(int(answer[0]["rows"]), str(answer[0].get("written") or ""))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise PublishError(f"Socrata GET {dataset.path} (count): the answer holds no count.") from error


def dump_csv(dataset: Dataset, mark: Mark) -> Iterator[bytes]:
    """The dataset as CSV in UTF-8, a page at a time; its end comes only where all rows of `mark` came, each once.

    Raises: DatasetChanged where it was written to meanwhile; PublishError where the portal refuses or fails.
    """
    columns = list(dataset.columns)
    yield _write([columns])
    seen = Spool()
    count, rows = 0, min(WHOLE_ROWS_FIRST, MOST_ROWS)
    try:
        while True:
            params = {
                "$select": "*, :id",
                "$order": ":id",
                "$limit": str(rows),
                "$offset": str(count),
            }
            page, size = fetch_sized(dataset, params, f"rows from {count}")
            if not page:
                break
            rows = min(MOST_ROWS, max(1, WHOLE_BYTES // max(1, size // len(page))))
            if count + len(page) > mark.rows:
                raise DatasetChanged(f"{dataset}: rows were added while it was read.")
            if not all(seen.there(str(row.get(":id"))) for row in page):
                raise DatasetChanged(f"{dataset}: a row came twice, so it was written to while it was read.")
            yield _write([_format_cell(row.get(column)) for column in columns] for row in page)
            count += len(page)
    finally:
        seen.close()
    after = read_mark(dataset)
    if (count, after) != (mark.rows, mark):
        raise DatasetChanged(
            f"{dataset} was written to while it was read: {count} rows came, it had {mark.rows} before and has "
            f"{after.rows} now."
        )


def read_csv(text: TextIO, dataset: Dataset, where: str) -> Iterator[Row]:
    """The rows of such a CSV, to be published to a dataset.

    text: opened with newline="".
    Raises: ConfigError if it has no header, a column that the dataset lacks, or none for its row identifier;
        PublishError if a row cannot be read. The message names the row, never its content.
    """
    csv.field_size_limit(_LONGEST_CELL)
    lines = csv.reader(text, strict=True)
    try:
        names = next(lines, None)
    except (csv.Error, ValueError, EOFError, OSError) as error:
        raise PublishError(f"{where} cannot be read: it is no CSV, or damaged. Nothing was sent.") from error
    if not names:
        raise ConfigError(f"{where} is empty. Nothing was sent.")
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{where} has a column twice in its header. Nothing was sent. Take one of them out."
        )
    unknown = [name for name in names if name not in dataset.columns]
    if unknown or dataset.row_id not in names:
        lacks = f"no column {', '.join(unknown)}" if unknown else f"no row identifier that {where} has"
        raise ConfigError(
            f"{dataset} has {lacks}. Nothing was sent. Restore to the dataset it is of, or add the columns."
        )
    objects = [dataset.columns[name] in _OBJECTS for name in names]
    for number in itertools.count(1):
        try:
            cells = next(lines, None)
            if cells is None:
                return
            values = {
                name: None if cell == "" else msgspec.json.decode(cell) if is_object else cell
                for name, cell, is_object in zip(names, cells, objects, strict=True)
            }
        except (csv.Error, ValueError, EOFError, OSError) as error:
            raise PublishError(
                f"{where}: row {number} cannot be read, the file is damaged or cut. Nothing was sent."
            ) from error
        key = values[dataset.row_id]
        yield Row("" if key is None else format_key(key, dataset.columns[dataset.row_id]), values)


def _write(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    # What ends lines is quoted in texts: with a mere LF, a lone CR would stand bare and end the row for the reader.
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _format_cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_text(value) if isinstance(value, int | float) else msgspec.json.encode(value).decode()
