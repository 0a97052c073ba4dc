"""The column that says when a row was published, and which rows say nothing new but that.

A stamp differs in every run: rows are compared with the dataset without it, and those that differ are sent with it.
"""

from __future__ import annotations

import datetime as dt
import difflib
from dataclasses import dataclass

from services.utils.errors import ConfigError
from services.utils.socrata.dataset import Dataset
from services.utils.socrata.values import find_formatter

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
