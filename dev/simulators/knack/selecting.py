"""Which records a container gives, and in which order: criteria, filters, sorting."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from dev.simulators.knack import filters
from dev.simulators.knack.apps import Column, Container, Sort
from dev.simulators.knack.store import Store
from dev.simulators.knack.switches import Refusal, Switches
from dev.simulators.knack.tables import sort_key


@dataclass
class Selection:
    """Record ids in order. runs: (start, end) of those whose sort values are equal."""

    ids: list[str]
    runs: list[tuple[int, int]]


class Selector:
    """Answers worked out once are kept until a record changes. Not locked."""

    def __init__(self, store: Store, switches: Switches, seed: int) -> None:
        self.store = store
        self.switches = switches
        self._seed = seed
        self._random = random.Random(seed)
        self._version = 0
        self._selected: dict[tuple[Any, ...], Selection] = {}

    def select(self, container: Container, wanted: str = "", sort: Sort = ()) -> list[str]:
        """Ids of the records that a container shows and `wanted` (the filters parameter) matches, in order.

        Raises: Refusal, where the switches say that a filter is refused.
        """
        if self._version != self.store.version:
            self._selected.clear()
            self._version = self.store.version
        timed = bool(wanted or container.criteria)
        minute = self.store.clock().replace(second=0, microsecond=0) if timed else None
        state = tuple(vars(self.switches).values())
        cached = (container.key, wanted, sort, minute, state)
        selection = self._selected.get(cached)
        if selection is None:
            selection = self._selected[cached] = self._select(container, wanted, sort or container.sort)
        if not selection.runs or self.switches.ties == "still":
            return selection.ids
        ids = list(selection.ids)
        for start, end in selection.runs:
            run = ids[start:end]
            self._random.shuffle(run)
            ids[start:end] = run
        return ids

    def _select(self, container: Container, wanted: str, sort: Sort) -> Selection:
        table = self.store.tables[container.object_key]
        ids = list(table.rows)
        for matching in (self._match_criteria(container), self._match_filters(container, wanted)):
            if matching is not None:
                ids = [one for one in ids if one in matching]
        selection = Selection(ids, [])
        if sort:
            selection = self._sort(container, ids, sort)
        if container.limit is not None:
            cut = container.limit
            runs = [(start, min(end, cut)) for start, end in selection.runs if start < cut]
            selection = Selection(selection.ids[:cut], runs)
        return selection

    def _sort(self, container: Container, ids: list[str], sort: Sort) -> Selection:
        keys: list[dict[str, Any]] = []
        for key, order in reversed(sort):
            if key == "id":
                ids.sort(reverse=order == "desc")
                continue
            column = container.column(key) or self._own_column(container, key)
            if column is None:
                continue
            cells = self.store.cells(container, column)
            values = {one: sort_key(column.field, cells[one]) for one in ids}
            ids.sort(key=values.__getitem__, reverse=order == "desc")
            keys.append(values)
        runs = [] if any(key == "id" for key, _ in sort) else _find_runs(ids, keys)
        drawn = random.Random(self._seed)
        for start, end in runs:
            run = ids[start:end]
            drawn.shuffle(run)
            ids[start:end] = run
        return Selection(ids, runs)

    def _own_column(self, container: Container, key: str) -> Column | None:
        field = self.store.app.objects[container.object_key].fields.get(key)
        return Column(field) if field is not None else None

    def check_sort(self, container: Container, key: str, order: str) -> Sort:
        """The order that a sort_field asks for, as the switches have it: () is the container's own.

        Raises: Refusal.
        """
        if key == "id":
            said: str = self.switches.sort_by_id
        elif container.column(key) is not None:
            said = "honoured"
        elif self._own_column(container, key) is not None:
            said = self.switches.unexposed_field
        else:
            said = self.switches.unknown_sort
        if said == "refused":
            raise Refusal(400, f"Invalid sort field {key}")
        return ((key, "desc" if order == "desc" else "asc"),) if said == "honoured" else ()

    def _reading(self) -> filters.Reading:
        return filters.Reading(
            self.store.clock().astimezone(self.store.app.timezone).replace(tzinfo=None),
            self.switches.time_in_date_filter == "honoured",
            self.switches.iso_in_date_filter == "honoured",
            self.switches.negation_matches_blank,
        )

    def _match_filters(self, container: Container, wanted: str) -> set[str] | None:
        if not wanted:
            return None
        try:
            match, rules = filters.parse_filters(wanted)
        except filters.BadFilter as bad:
            if self.switches.bad_filter == "refused":
                raise Refusal(400, "Invalid filters") from bad
            return set() if self.switches.bad_filter == "nothing" else None
        found = [self._match_rule(container, rule) for rule in rules]
        kept = [one for one in found if one is not None]
        if not kept:
            return None
        return set.intersection(*kept) if match == "and" else set.union(*kept)

    def _match_rule(self, container: Container, rule: Any) -> set[str] | None:
        """Ids that a rule matches; None where the rule is dropped."""
        key = rule.get("field") if isinstance(rule, dict) else None
        column = container.column(key) if isinstance(key, str) else None
        if column is None and isinstance(key, str):
            column = self._own_column(container, key)
            if column is not None and self.switches.unexposed_field != "honoured":
                if self.switches.unexposed_field == "refused":
                    raise Refusal(400, f"Invalid filter field {key}")
                return None
        try:
            if column is None:
                raise filters.BadFilter("unknown field")
            test = filters.compile_rule(rule, column.field, self._reading())
        except filters.BadFilter as bad:
            if self.switches.bad_filter == "refused":
                raise Refusal(400, "Invalid filters") from bad
            return set() if self.switches.bad_filter == "nothing" else None
        return {one for one, cell in self.store.cells(container, column).items() if test(cell)}

    def _match_criteria(self, container: Container) -> set[str] | None:
        criteria = container.criteria or {}
        plain = [self._match_criterion(container, rule) for rule in criteria.get("rules") or []]
        combine = set.union if criteria.get("match") == "any" else set.intersection
        either = [combine(*plain)] if plain else []
        for group in criteria.get("groups") or []:
            rules = [self._match_criterion(container, rule) for rule in group]
            either += [set.intersection(*rules)] if rules else []
        return set.union(*either) if either else None

    def _match_criterion(self, container: Container, rule: Any) -> set[str]:
        """Ids that a view's own rule lets through; a rule that only a log-in could answer lets all through."""
        table = self.store.tables[container.object_key]
        field = self.store.app.objects[container.object_key].fields.get(rule.get("field", ""))
        try:
            if field is None:
                raise filters.BadFilter("unknown field")
            test = filters.compile_rule(rule, field, self._reading())
        except filters.BadFilter:
            return set(table.rows)
        return {one for one, cell in table.column(field["key"]).items() if test(cell)}


def _find_runs(ids: list[str], keys: list[dict[str, Any]]) -> list[tuple[int, int]]:
    runs, start = [], 0
    for position in range(1, len(ids) + 1):
        if position < len(ids) and all(values[ids[position]] == values[ids[start]] for values in keys):
            continue
        if position - start > 1:
            runs.append((start, position))
        start = position
    return runs
