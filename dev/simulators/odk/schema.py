"""A form's fields: the list that `/fields` gives, and the same as a tree."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STRUCTURE, REPEAT, BINARY = "structure", "repeat", "binary"

# What a test may write as a field's type, beside Central's own words.
_ALIASES = {
    "group": (STRUCTURE, False),
    "select_multiple": ("string", True),
    "select_one": ("string", False),
    "text": ("string", False),
    "integer": ("int", False),
    "image": (BINARY, False),
    "photo": (BINARY, False),
    "audio": (BINARY, False),
    "file": (BINARY, False),
}


@dataclass(frozen=True)
class Field:
    """One field. path: with a leading slash and the XML names, such as `/building/address`."""

    path: str
    type: str = "string"
    select_multiple: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[1]

    def to_json(self, odata: bool = False) -> dict[str, Any]:
        """As `/fields` prints it; odata: with the feed's names."""
        path = name_of_path(self.path) if odata else self.path
        return {
            "path": path,
            "name": path.rsplit("/", 1)[1],
            "type": self.type,
            "binary": True if self.type == BINARY else None,
            "selectMultiple": True if self.select_multiple else None,
        }


# A field as a test writes it: "group/name", ("group/name", type), or an entry of `/fields`.
FieldSpec = str | tuple[str, str] | Mapping[str, Any] | Field


@dataclass
class Element:
    """A field in the tree; the root's field has the path "". Children are in form order, by XML name."""

    field: Field
    odata_name: str
    children: dict[str, Element] = dataclasses.field(default_factory=dict)

    @property
    def type(self) -> str:
        """The field's type."""
        return self.field.type

    def find(self, name: str) -> Element | None:
        """A child by its XML name, or else by its name in the feed."""
        found = self.children.get(name)
        if found is None:
            found = next((child for child in self.children.values() if child.odata_name == name), None)
        return found


class Schema:
    """The fields of one form version."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = tuple(fields)
        self.root = Element(Field("", STRUCTURE), "Submissions")
        places = {"": self.root}
        for one in self.fields:
            element = Element(one, odata_name(one.name))
            places[one.path] = element
            places[one.path.rsplit("/", 1)[0]].children[one.name] = element
        self.by_path = places

    @property
    def tables(self) -> dict[str, Element]:
        """The feed's tables by name: `Submissions`, `Submissions.person.document`, ..."""
        found = {"Submissions": self.root}
        for one in self.fields:
            if one.type == REPEAT:
                found["Submissions" + name_of_path(one.path).replace("/", ".")] = self.by_path[one.path]
        return found

    def to_json(self, odata: bool = False) -> list[dict[str, Any]]:
        """The answer of `/fields`."""
        return [one.to_json(odata) for one in self.fields]


def odata_name(name: str) -> str:
    """A field's name in the feed.

    A first character that is neither letter nor `_` gets a `_` before it; every run of others becomes one `_`.
    """
    if not re.match(r"[A-Za-z_]", name):
        name = "_" + name
    return re.sub(r"[^A-Za-z0-9_]+", "_", name)


def name_of_path(path: str) -> str:
    """A path with the feed's names."""
    return "/".join(odata_name(part) if part else "" for part in path.split("/"))


def build_schema(specs: Sequence[FieldSpec]) -> Schema:
    """A schema of what a test wrote. Groups that are only mentioned in paths are added, and `meta/instanceID`."""
    fields: dict[str, Field] = {}
    for spec in specs:
        one = _read_spec(spec)
        parts = one.path.split("/")
        for end in range(2, len(parts)):
            parent = "/".join(parts[:end])
            fields.setdefault(parent, Field(parent, STRUCTURE))
        fields[one.path] = one
    fields.setdefault("/meta", Field("/meta", STRUCTURE))
    fields.setdefault("/meta/instanceID", Field("/meta/instanceID"))
    return Schema(_sort_by_tree(fields))


def _read_spec(spec: FieldSpec) -> Field:
    if isinstance(spec, Field):
        return spec
    if isinstance(spec, str):
        spec = (spec, "string")
    if isinstance(spec, tuple):
        path, kind = spec
        many = False
    else:
        path, kind, many = spec["path"], spec["type"], bool(spec.get("selectMultiple"))
    kind, also_many = _ALIASES.get(kind, (kind, False))
    return Field("/" + path.strip("/"), kind, many or also_many)


def _sort_by_tree(fields: Mapping[str, Field]) -> list[Field]:
    children: dict[str, list[Field]] = {}
    for one in fields.values():
        children.setdefault(one.path.rsplit("/", 1)[0], []).append(one)
    ordered: list[Field] = []

    def visit(path: str) -> None:
        for child in children.get(path, ()):
            ordered.append(child)
            visit(child.path)

    visit("")
    return ordered
