"""Reads: from the parameters of a request to rows as JSON or CSV."""

from __future__ import annotations

import csv
import email.utils
import io
import random
from collections.abc import Mapping
from typing import Any

import msgspec

from dev.simulators.base import Answer
from dev.simulators.socrata import soql
from dev.simulators.socrata.bodies import Refusal
from dev.simulators.socrata.dataset import Dataset, StoredRow
from dev.simulators.socrata.values import format_cell

_CLAUSES = ("select", "where", "group", "order", "limit", "offset")
_IGNORED = {f"${name}" for name in _CLAUSES} | {"$query", "$$app_token", "$$exclude_system_fields"}
_DEFAULT_LIMIT = 1000
_SODA20_LIMIT = 50_000


def build_query(dataset: Dataset, parameters: Mapping[str, str]) -> tuple[soql.Query, soql.Parser]:
    """The query of a `/resource/` read. Raises: Refusal where it makes no sense."""
    parser = _build_parser(dataset)
    query = parser.parse_query(parameters["$query"]) if "$query" in parameters else soql.Query()
    for clause in _CLAUSES:
        if f"${clause}" in parameters:
            parser.parse_clause(query, clause, parameters[f"${clause}"])
    for name, value in parameters.items():
        if name in _IGNORED:
            continue
        if name.startswith("$"):
            raise Refusal(f"Unrecognized arguments [{name}]", "query.parameter.unrecognized")
        query.where.append(parser.build_filter(name, value))
    if query.limit is None:
        query.limit = _DEFAULT_LIMIT
    if dataset.switches.soda == "2.0":
        query.limit = min(query.limit, _SODA20_LIMIT)
    if not query.select and parameters.get("$$exclude_system_fields") == "false":
        query.select = [soql.Item(":*"), soql.Item("*")]
    return query, parser


def build_soda3_query(dataset: Dataset, asked: Mapping[str, Any]) -> tuple[soql.Query, soql.Parser]:
    """The query of a SODA3 read: `query`, and a `page` counted from 1. Raises: Refusal."""
    parser = _build_parser(dataset)
    query = parser.parse_query(str(asked.get("query", "SELECT *")))
    page = asked.get("page", asked)
    try:
        if "pageSize" in page and query.limit is None:
            query.limit = int(page["pageSize"])
            query.offset = (int(page.get("pageNumber", 1)) - 1) * query.limit
    except (TypeError, ValueError):
        raise Refusal("Unable to read page") from None
    return query, parser


def _build_parser(dataset: Dataset) -> soql.Parser:
    return soql.Parser({column.field_name: column.type for column in dataset.columns})


class Reader:
    """Answers queries from what the replicas hold. Called under the simulator's lock."""

    def __init__(self, shuffler: random.Random) -> None:
        self._random = shuffler
        self._sorted: dict[str, tuple[int, str, list[StoredRow]]] = {}

    def answer(self, dataset: Dataset, query: soql.Query, parser: soql.Parser, is_csv: bool) -> Answer:
        """The rows of a query, with the headers that tell how far the replicas are behind."""
        behind = dataset.settle(read=True)
        names, answers = self._find(dataset, query, parser)
        headers = {
            "X-SODA2-Data-Out-Of-Date": "true" if behind else "false",
            "X-SODA2-Truth-Last-Modified": email.utils.formatdate(dataset.modified, usegmt=True),
            "X-SODA2-Secondary-Last-Modified": email.utils.formatdate(dataset.shown_modified, usegmt=True),
        }
        if is_csv:
            text = io.StringIO()
            table = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
            table.writerow(names)
            table.writerows([format_cell(row.get(name)) for name in names] for row in answers)
            return Answer(
                200, text.getvalue().encode(), {"Content-Type": "text/csv;charset=utf-8", **headers}
            )
        kind = {"Content-Type": "application/json;charset=utf-8"}
        return Answer(200, msgspec.json.encode(answers), {**kind, **headers})

    def _find(
        self, dataset: Dataset, query: soql.Query, parser: soql.Parser
    ) -> tuple[list[str], list[dict[str, Any]]]:
        end = query.offset + (query.limit if query.limit is not None else len(dataset.shown))
        # Rows without an order come as they like; so do those whose order leaves a tie.
        settled = any(name in (":id", dataset.row_id) for name, _ in query.order)
        if settled:
            rows = self._sort(dataset, query, parser)
        else:
            rows = list(dataset.shown.values())
            self._random.shuffle(rows)
        if query.where:
            found = []
            for row in rows:
                if all(condition(row) for condition in query.where):
                    found.append(row)
                    if settled and not query.is_aggregate and len(found) >= end:
                        break
            rows = found
        if query.is_aggregate:
            names, answers = soql.aggregate(rows, query, parser)
            return names, answers[query.offset : end]
        if query.order and not settled:
            soql.sort_rows(rows, [(parser.getter(name), down) for name, down in query.order])
        return _project(dataset, query, rows[query.offset : end])

    def _sort(self, dataset: Dataset, query: soql.Query, parser: soql.Parser) -> list[StoredRow]:
        """All visible rows in the order asked for; the last one is kept, for the next page."""
        wanted = repr(query.order)
        version, order, rows = self._sorted.get(dataset.four_by_four, (-1, "", []))
        if version != dataset.version or order != wanted:
            rows = list(dataset.shown.values())
            soql.sort_rows(rows, [(parser.getter(name), down) for name, down in query.order])
            self._sorted[dataset.four_by_four] = (dataset.version, wanted, rows)
        return rows


def _project(
    dataset: Dataset, query: soql.Query, rows: list[StoredRow]
) -> tuple[list[str], list[dict[str, Any]]]:
    """The selected columns of rows: their names, and one object a row without its nulls."""
    everything = [column.field_name for column in dataset.columns]
    if not query.select or [item.name for item in query.select] == ["*"]:
        return everything, [row.values for row in rows]
    pairs: list[tuple[str, str]] = []
    for item in query.select:
        if item.name in ("*", ":*"):
            pairs += [(name, name) for name in (everything if item.name == "*" else soql.SYSTEM_FIELDS)]
        else:
            pairs.append((item.alias, item.name))
    answers = [
        {alias: value for alias, name in pairs if (value := soql.read_field(row, name)) is not None}
        for row in rows
    ]
    return [alias for alias, _ in pairs], answers
