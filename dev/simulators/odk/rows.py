"""Rows of the feed, from a submission's nodes and the form's current fields."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from dev.simulators.odk.instances import Node
from dev.simulators.odk.schema import REPEAT, STRUCTURE, Element, Schema
from dev.simulators.odk.values import read_value

Row = dict[str, Any]


def render_row(
    instance_id: str, nodes: list[Node], schema: Schema, system: Row, expand: bool, wkt: bool
) -> Row:
    """A submission's row of the root table; expand: with its repeats inside."""
    row = _blank(schema.root)
    row["__id"] = instance_id
    row["__system"] = system
    place = _Place(f"Submissions#{instance_id}", _link_to(instance_id))
    _fill(row, nodes, schema.root, place, expand, wkt)
    return row


def render_repeats(
    instance_id: str, nodes: list[Node], schema: Schema, target: Element, expand: bool, wkt: bool
) -> Iterator[Row]:
    """A submission's rows of one repeat's table."""
    path = target.field.path.split("/")[1:]
    start = _Place(f"Submissions#{instance_id}", _link_to(instance_id))
    yield from _walk(nodes, schema.root, path, start, ("__Submissions-id", instance_id), expand, wkt)


class _Place:
    """Where the walk stands: what the ids are made of, the link to here, and names since the root."""

    __slots__ = ("key", "link", "names")

    def __init__(self, key: str, link: str, names: tuple[str, ...] = ()) -> None:
        self.key = key
        self.link = link
        self.names = names

    def into_group(self, child: Element) -> _Place:
        return _Place(
            f"{self.key}%%{child.field.name}#",
            f"{self.link}/{child.odata_name}",
            (*self.names, child.odata_name),
        )

    def into_repeat(self, child: Element, index: int) -> tuple[str, _Place]:
        key = f"{self.key}%%{child.field.name}#{index}"
        repeat_id = hashlib.sha1(key.encode()).hexdigest()
        place = _Place(key, f"{self.link}/{child.odata_name}('{repeat_id}')", (*self.names, child.odata_name))
        return repeat_id, place


def _link_to(instance_id: str) -> str:
    return f"Submissions('{encode_component(instance_id)}')"


def encode_component(text: str) -> str:
    """As JavaScript's encodeURIComponent."""
    return quote(text, safe="!~*'()")


def _blank(parent: Element) -> Row:
    return {
        child.odata_name: _blank(child) if child.type == STRUCTURE else None
        for child in parent.children.values()
        if child.type != REPEAT
    }


def _fill(row: Row, nodes: list[Node], parent: Element, place: _Place, expand: bool, wkt: bool) -> None:
    counts: dict[str, int] = {}
    children = parent.children
    for name, content in nodes:
        child = children.get(name)
        if child is None:
            continue
        kind, out = child.type, child.odata_name
        if kind == STRUCTURE:
            if isinstance(content, list):
                _fill(row[out], content, child, place.into_group(child), expand, wkt)
        elif kind == REPEAT:
            index = counts.get(name, 0)
            counts[name] = index + 1
            if index == 0:
                row[f"{out}@odata.navigationLink"] = f"{place.link}/{out}"
                if expand:
                    row[out] = []
            if expand:
                repeat_id, inner = place.into_repeat(child, index)
                instance = _blank(child)
                instance["__id"] = repeat_id
                _fill(instance, _children_of(content), child, inner, expand, wkt)
                row[out].append(instance)
        elif isinstance(content, str):
            value = read_value(kind, content, wkt)
            if value is not None:
                before = row[out]
                # Two fields of one name in the feed: their texts run together.
                row[out] = value if before is None else f"{before}{value}"


def _walk(
    nodes: list[Node],
    parent: Element,
    path: list[str],
    place: _Place,
    parent_key: tuple[str, str],
    expand: bool,
    wkt: bool,
) -> Iterator[Row]:
    index = 0
    for name, content in nodes:
        if name != path[0]:
            continue
        child = parent.children[name]
        if child.type == STRUCTURE:
            yield from _walk(
                _children_of(content), child, path[1:], place.into_group(child), parent_key, expand, wkt
            )
            continue
        repeat_id, inner = place.into_repeat(child, index)
        index += 1
        if len(path) > 1:
            key = (f"__Submissions-{'-'.join(inner.names)}-id", repeat_id)
            yield from _walk(_children_of(content), child, path[1:], inner, key, expand, wkt)
            continue
        row = _blank(child)
        row["__id"] = repeat_id
        row[parent_key[0]] = parent_key[1]
        _fill(row, _children_of(content), child, inner, expand, wkt)
        yield row


def _children_of(content: str | list[Node]) -> list[Node]:
    return content if isinstance(content, list) else []


def pick(row: Row, wanted: dict[str, Any]) -> Row:
    """What `$select` leaves of a row. wanted: names, each with None (all of it) or the wanted names inside."""
    picked: Row = {}
    for key, value in row.items():
        name = key.split("@", 1)[0]
        if name not in wanted:
            continue
        inside = wanted[name]
        picked[key] = pick(value, inside) if inside is not None and isinstance(value, dict) else value
    return picked
