"""Rows as a dataset takes them: which row name feeds which column, and one formatter per column.

Shaping touches no network, clock or environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.utils.socrata.values import GEO_TYPES, Formatter, Unfit, find_formatter

_SQUEEZED = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class RowShape:
    """How rows of certain names become rows of one dataset.

    sources: {column: row name that feeds it}. left_out: row names without a column. unfed: columns
    without a row name, which are never sent and keep their values.
    """

    columns: Mapping[str, str]
    sources: dict[str, str]
    left_out: tuple[str, ...]
    unfed: tuple[str, ...]
    steps: tuple[tuple[str, str, Formatter], ...]


def match_columns(names: Iterable[str], columns: Iterable[str]) -> dict[str, str]:
    """{column: row name}: equal names first, then equal but for case, then but for other signs.

    Each name feeds one column at most; of two names equally near, the first one does.
    """
    names, columns = list(names), list(columns)
    sources: dict[str, str] = {}
    used: set[str] = set()
    spellings: tuple[Callable[[str], str], ...] = (str, str.lower, _squeeze)
    for spell in spellings:
        by_spelling: dict[str, str] = {}
        for name in names:
            if name not in used:
                by_spelling.setdefault(spell(name), name)
        for column in columns:
            name_found = by_spelling.get(spell(column)) if spell(column) else None
            if column not in sources and name_found is not None and name_found not in used:
                sources[column] = name_found
                used.add(name_found)
    return sources


def _squeeze(name: str) -> str:
    return _SQUEEZED.sub("_", name.lower()).strip("_")


def compile_shape(columns: Mapping[str, str], names: Iterable[str]) -> RowShape:
    """The shape of rows with these names.

    Args:
        columns: {fieldName: dataTypeName}, without the portal's own (those beginning with ":").
        names: every name that the rows may have, in their order.
    """
    names = list(names)
    matched = match_columns(names, columns)
    sources = {column: matched[column] for column in columns if column in matched}
    used = set(sources.values())
    return RowShape(
        columns,
        sources,
        tuple(name for name in names if name not in used),
        tuple(column for column in columns if column not in sources),
        tuple((column, name, find_formatter(columns[column])) for column, name in sources.items()),
    )


def build_row(values: Mapping[str, Any], shape: RowShape) -> dict[str, Any]:
    """Shape one row for its dataset: every fed column is there, None where it is empty.

    Raises: Unfit naming each field that its column would refuse, with the rule and never the value.
    """
    row: dict[str, Any] = {}
    take = values.get
    try:
        for column, name, format_value in shape.steps:
            value = take(name)
            row[column] = None if value is None else format_value(value)
    except Unfit:
        raise Unfit(_explain(values, shape)) from None
    return row


def _explain(values: Mapping[str, Any], shape: RowShape) -> str:
    reasons = []
    for column, name, format_value in shape.steps:
        value = values.get(name)
        if value is None:
            continue
        try:
            format_value(value)
        except Unfit as error:
            reasons.append(f"{column}: {error}")
    return "; ".join(reasons)


def find_geo_columns(columns: Mapping[str, str]) -> list[str]:
    """The columns that take places (point, multipoint, location), in the dataset's order."""
    return [column for column, kind in columns.items() if kind in GEO_TYPES]
