"""`<layer>/query`: selection, order, pages, statistics."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import msgspec

from dev.simulators.agol.geometry import (
    POLYGON,
    describe_reference,
    format_geometry,
    read_reference,
    turn_ring,
)
from dev.simulators.agol.layer import OBJECT_ID, Feature, Layer
from dev.simulators.agol.refusals import refuse_query
from dev.simulators.agol.values import Field, normalize_text
from dev.simulators.agol.where import AGGREGATES, compile_where


def query_layer(layer: Layer, form: Mapping[str, str], chance: random.Random) -> dict[str, Any]:
    """Answer a query; raises Refusal. `chance` shuffles where no order was asked for."""
    rows, fresh = layer.read_rows()
    selected = _select(layer, form, rows, fresh)
    if form.get("outStatistics"):
        return _summarize(layer, form, selected)
    if _is_true(form, "returnCountOnly"):
        return {"count": len(selected)}
    columns = _read_columns(layer, form)
    _order(layer, form.get("orderByFields", ""), selected, chance)
    if _is_true(form, "returnIdsOnly"):
        ids = [feature.attributes[OBJECT_ID] for feature in selected]
        return {"objectIdFieldName": OBJECT_ID, "objectIds": ids}
    page, more = _cut(layer, form, selected)
    names = [column.name for column in columns]
    whole = len(names) == len(layer.fields)
    said: dict[str, Any] = {
        "objectIdFieldName": OBJECT_ID,
        "uniqueIdField": {"name": OBJECT_ID, "isSystemMaintained": True},
        "globalIdFieldName": "",
    }
    features: list[dict[str, Any]] = [
        {"attributes": feature.attributes if whole else {name: feature.attributes[name] for name in names}}
        for feature in page
    ]
    if layer.geometry is not None:
        target = _read_target(layer, form)
        said["geometryType"] = layer.geometry
        said["spatialReference"] = describe_reference(target)
        if form.get("returnGeometry", "true").lower() != "false":
            for shown, feature in zip(features, page):
                if feature.geometry is not None:
                    shown["geometry"] = _show_geometry(layer, feature, target)
    said["fields"] = [column.describe() for column in columns]
    if more:
        said["exceededTransferLimit"] = True
    said["features"] = features
    return said


def _show_geometry(layer: Layer, feature: Feature, target: int) -> Any:
    geometry: Any = feature.geometry
    if layer.geometry == POLYGON and layer.switches.turned_rings:
        geometry = tuple(map(turn_ring, geometry))
    return format_geometry(geometry, layer.geometry, layer.wkid, target)


def select_ids(layer: Layer, where: str) -> list[int]:
    """Object ids of the features a clause names now, ascending; raises Refusal."""
    found = _select(layer, {"where": where}, layer.rows, True)
    return sorted(feature.attributes[OBJECT_ID] for feature in found)


def read_ids(text: str) -> list[int]:
    """Object ids from "1,2,3" (or in brackets); raises Refusal."""
    try:
        return [int(part) for part in text.strip().strip("[]").split(",") if part.strip()]
    except ValueError as error:
        raise refuse_query("'objectIds' parameter is invalid") from error


def _select(layer: Layer, form: Mapping[str, str], rows: Mapping[int, Feature], fresh: bool) -> list[Feature]:
    where, ids = form.get("where", "").strip(), form.get("objectIds", "").strip()
    if not where and not ids:
        raise refuse_query("'where' parameter not specified")
    pool: Any = rows.values()
    if ids:
        pool = [rows[object_id] for object_id in dict.fromkeys(read_ids(ids)) if object_id in rows]
    if not where or where.replace(" ", "") == "1=1":
        return list(pool)
    try:
        condition = compile_where(where, layer.by_name, layer.switches.text_ignores_case)
    except ValueError as error:
        raise refuse_query(str(error)) from error
    if fresh and not ids and condition.one_of is not None:
        name, values = condition.one_of
        index = layer.index(name)
        found = {object_id for value in values for object_id in index.get(value, ())}
        pool = [rows[object_id] for object_id in found]
    test = condition.test
    return [feature for feature in pool if test(feature.attributes)]


def _read_columns(layer: Layer, form: Mapping[str, str]) -> list[Field]:
    asked = form.get("outFields", "").strip()
    if asked == "*":
        return layer.fields
    columns = []
    for name in [part.strip() for part in asked.split(",") if part.strip()] or [OBJECT_ID]:
        column = layer.by_name.get(name.lower())
        if column is None:
            raise refuse_query(f"'Invalid field: {name}' parameter is invalid")
        columns.append(column)
    return columns


def _read_target(layer: Layer, form: Mapping[str, str]) -> int:
    asked = form.get("outSR", "").strip()
    if not asked:
        return layer.wkid
    try:
        return read_reference(msgspec.json.decode(asked))
    except (ValueError, msgspec.DecodeError) as error:
        raise refuse_query("'outSR' parameter is invalid") from error


def _order(layer: Layer, asked: str, selected: list[Feature], chance: random.Random) -> None:
    keys = _read_order(asked, layer.by_name)
    if not layer.switches.unstable_order:
        selected.sort(key=lambda feature: feature.attributes[OBJECT_ID])
    elif not any(field.name == OBJECT_ID for field, _ in keys):
        chance.shuffle(selected)
    for field, descending in reversed(keys):
        _sort(selected, lambda feature: feature.attributes, field.name, descending, layer)


def _read_order(asked: str, fields: Mapping[str, Field]) -> list[tuple[Field, bool]]:
    keys = []
    for part in filter(str.strip, asked.split(",")):
        name, *direction = part.split()
        if len(direction) > 1 or (direction and direction[0].upper() not in ("ASC", "DESC")):
            raise refuse_query("'orderByFields' parameter is invalid")
        if name.lower() not in fields:
            raise refuse_query(f"'Invalid field: {name}' parameter is invalid")
        keys.append((fields[name.lower()], bool(direction) and direction[0].upper() == "DESC"))
    return keys


def _sort(items: list[Any], attributes: Any, name: str, descending: bool, layer: Layer) -> None:
    items.sort(key=lambda item: _sort_key(attributes(item)[name], layer), reverse=descending)


def _sort_key(value: Any, layer: Layer) -> tuple[bool, Any]:
    if isinstance(value, str):
        value = normalize_text(value, layer.switches.text_ignores_case)
    return (value is not None, 0 if value is None else value)


def _cut(layer: Layer, form: Mapping[str, str], selected: list[Any]) -> tuple[list[Any], bool]:
    """The page asked for, and whether there is more after it."""
    try:
        offset = int(form.get("resultOffset") or 0)
        count = int(form.get("resultRecordCount") or layer.max_record_count)
    except ValueError as error:
        raise refuse_query("'resultOffset' or 'resultRecordCount' is no number") from error
    if offset < 0 or count < 0:
        raise refuse_query("'resultOffset' or 'resultRecordCount' is negative")
    end = offset + min(count, layer.max_record_count)
    return selected[offset:end], len(selected) > end


def _summarize(layer: Layer, form: Mapping[str, str], selected: list[Feature]) -> dict[str, Any]:
    """outStatistics, by groupByFieldsForStatistics, filtered with having."""
    wanted = _read_statistics(layer, form["outStatistics"])
    names = [part.strip() for part in form.get("groupByFieldsForStatistics", "").split(",") if part.strip()]
    groups_by = []
    for name in names:
        if name.lower() not in layer.by_name:
            raise refuse_query(f"'Invalid field: {name}' parameter is invalid")
        groups_by.append(layer.by_name[name.lower()])
    groups: dict[tuple[Any, ...], list[Feature]] = {} if groups_by else {(): []}
    for feature in selected:
        key = tuple(_sort_key(feature.attributes[field.name], layer) for field in groups_by)
        groups.setdefault(key, []).append(feature)
    having = None
    if form.get("having", "").strip():
        if not groups_by:
            raise refuse_query("'having' needs groupByFieldsForStatistics")
        try:
            having = compile_where(
                form["having"], layer.by_name, layer.switches.text_ignores_case, aggregates=True
            ).test
        except ValueError as error:
            raise refuse_query(str(error)) from error
    found = []
    for members in groups.values():
        if having is not None and not having(_Aggregates(members)):
            continue
        attributes = {field.name: members[0].attributes[field.name] for field in groups_by}
        for function, field, name in wanted:
            attributes[name] = _aggregate(function, field.name, members)
        found.append({"attributes": attributes})
    columns = {field.name.lower(): field for field in groups_by}
    for function, field, name in wanted:
        is_same = function in ("MIN", "MAX")
        kind = field.type if is_same else "Integer" if function == "COUNT" else "Double"
        columns[name.lower()] = Field(name, kind, field.length if is_same else None, editable=False)
    for column, descending in reversed(_read_order(form.get("orderByFields", ""), columns)):
        _sort(found, lambda row: row["attributes"], column.name, descending, layer)
    page, more = _cut(layer, form, found)
    said: dict[str, Any] = {
        "objectIdFieldName": OBJECT_ID,
        "globalIdFieldName": "",
        "fields": [column.describe() for column in columns.values()],
        "features": page,
    }
    if more:
        said["exceededTransferLimit"] = True
    return said


def _read_statistics(layer: Layer, text: str) -> list[tuple[str, Field, str]]:
    try:
        asked = msgspec.json.decode(text)
        wanted = []
        for item in asked:
            function = item["statisticType"].upper()
            field = layer.by_name[item["onStatisticField"].lower()]
            if function not in AGGREGATES:
                raise ValueError(function)
            wanted.append((function, field, item.get("outStatisticFieldName") or f"{function}_{field.name}"))
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.DecodeError) as error:
        raise refuse_query("'outStatistics' parameter is invalid") from error
    return wanted


class _Aggregates(dict[str, Any]):
    """The row of a `having` clause: {"COUNT(id)": ...}, worked out where it is looked at."""

    def __init__(self, members: list[Feature]) -> None:
        super().__init__()
        self.members = members

    def get(self, key: str, default: Any = None) -> Any:
        function, _, name = key.rstrip(")").partition("(")
        return _aggregate(function, name, self.members)


def _aggregate(function: str, name: str, members: list[Feature]) -> Any:
    if name == "*":
        return len(members)
    values = [value for m in members if (value := m.attributes[name]) is not None]
    if function == "COUNT":
        return len(values)
    if not values:
        return None
    if function == "MIN":
        return min(values)
    if function == "MAX":
        return max(values)
    return sum(values) if function == "SUM" else sum(values) / len(values)


def _is_true(form: Mapping[str, str], name: str) -> bool:
    return form.get(name, "").strip().lower() == "true"
