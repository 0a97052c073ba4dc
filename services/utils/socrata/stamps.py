"""The column that says when a row was published, and which rows say nothing new but that.

A stamp differs in every run: rows are compared with the dataset without it, and those that differ are sent with it.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.utils.errors import ConfigError
from services.utils.socrata.client import Dataset
from services.utils.socrata.unfit import Unfit
from services.utils.socrata.values import NUMBER_TYPES, find_formatter, format_key

_TYPES = ("calendar_date", "date", "text")


@dataclass(frozen=True)
class Stamp:
    """What every row that is sent has in one column. value: as the column takes it."""

    column: str
    value: str


def build_stamp(dataset: Dataset, column: str, when: dt.datetime) -> Stamp | None:
    """The stamp of a run; None where no column is named.

    Args:
        when: aware; a calendar_date shows its wall clock, a date the moment in UTC.
    Raises: ConfigError if the dataset has no such column, or one that holds no time.
    """
    if not column:
        return None
    kind = dataset.columns.get(column)
    if kind not in _TYPES or column == dataset.row_id:
        near = difflib.get_close_matches(column, dataset.columns, n=1)
        what = f"a column of type {kind}" if kind else f"no column{f'; nearest: {near[0]}' if near else ''}"
        what = "the row identifier" if column == dataset.row_id else what
        raise ConfigError(
            f"{dataset}: append_timestamps_socrata names {column!r}, which is {what}; one of type "
            f"{', '.join(_TYPES)} is wanted. Nothing was sent. Correct append_timestamps_socrata or the dataset."
        )
    return Stamp(column, find_formatter(kind)(when.replace(microsecond=0).isoformat()))


def digest_row(row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """A digest of a row's values, the same whether it is about to be sent or was read back.

    columns: {fieldName: dataTypeName}, those that count. Empty values count as absent.
    """
    values = {}
    for column, kind in columns.items():
        value = row.get(column)
        if value is not None and (value := _normalise(value, kind)) is not None:
            values[column] = value
    return hashlib.blake2b(msgspec.json.encode(values, order="sorted"), digest_size=16).hexdigest()


def _normalise(value: Any, kind: str) -> Any:
    """A value in its one spelling. Socrata gives numbers back as strings, the parts of a location too."""
    try:
        value = find_formatter(kind)(value)
    except Unfit:
        return value
    if value is None:
        return None
    if kind in NUMBER_TYPES:
        return format_key(value, kind)
    if isinstance(value, str):
        return value.replace("\0", "") or None
    if kind == "location" and isinstance(value.get("human_address"), str):
        return {**value, "human_address": _read_address(value["human_address"])}
    return value


def _read_address(text: str) -> Any:
    try:
        parts = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return {name: part for name, part in parts.items() if part} if isinstance(parts, dict) else parts
