"""What a phone sends: a submission's XML, as a light tree of names and texts."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from dev.simulators.odk.problems import Problem
from dev.simulators.odk.schema import BINARY, REPEAT, STRUCTURE, Element, Schema

# The file that an encrypted submission's content comes in.
SUBMISSION_FILE = "submission.xml.enc"

# One XML element: its name without the namespace, and its text or its elements.
Node = tuple[str, "str | list[Node]"]


@dataclass
class Instance:
    """A submission as it was sent."""

    form_id: str
    version: str
    nodes: list[Node] = field(default_factory=list)
    xml: str | None = None
    encrypted: bool = False
    # Of an encrypted submission: the files that belong to it, its content last.
    files: list[str] = field(default_factory=list)

    def text_of(self, *path: str) -> str | None:
        """The text at a path, None where it is missing or empty."""
        return find_text(self.nodes, path)

    @property
    def instance_id(self) -> str | None:
        """meta/instanceID"""
        return self.text_of("meta", "instanceID")

    def to_xml(self) -> str:
        """The XML as it came, or one that says the same."""
        if self.xml is None:
            self.xml = write_instance(self)
        return self.xml


def find_text(nodes: list[Node], path: tuple[str, ...]) -> str | None:
    """The text of the first node at a path, None where it is missing or empty."""
    for name, content in nodes:
        if name == path[0]:
            if len(path) > 1:
                return find_text(content, path[1:]) if isinstance(content, list) else None
            return (content or None) if isinstance(content, str) else None
    return None


def read_instance(xml: bytes | str) -> Instance:
    """Parse a submission. Raises: Problem 400.2 where it is no XML or names no form."""
    text = xml.decode("utf-8", "replace") if isinstance(xml, bytes) else xml
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise Problem(400.2, "Could not parse the given data as xml.", {"format": "xml"}) from None
    form_id = root.get("id")
    if not form_id:
        raise Problem(
            400.2,
            "Required parameter(s) form ID xml attribute missing.",
            {"field": "form ID xml attribute"},
        )
    instance = Instance(form_id, root.get("version") or "", _read_children(root), text)
    instance.encrypted = root.get("encrypted") == "yes"
    if instance.encrypted:
        instance.files = [
            content
            for content in (
                *_texts_of(instance.nodes, "media"),
                find_text(instance.nodes, ("encryptedXmlFile",)) or "",
            )
            if content
        ]
    return instance


def _texts_of(nodes: list[Node], name: str) -> Iterator[str]:
    for found, content in nodes:
        if found == name:
            if isinstance(content, str):
                yield content
            else:
                yield from (text for _, text in content if isinstance(text, str))


def _read_children(element: ElementTree.Element) -> list[Node]:
    return [
        (_local_name(child.tag), _read_children(child) if len(child) else child.text or "")
        for child in element
    ]


def _local_name(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def write_instance(instance: Instance) -> str:
    """XML of an instance that was made of values."""
    out = io.StringIO()
    out.write('<?xml version="1.0" encoding="UTF-8"?>')
    out.write(f"<data id={quoteattr(instance.form_id)} version={quoteattr(instance.version)}>")
    _write_nodes(out, instance.nodes)
    out.write("</data>")
    return out.getvalue()


def _write_nodes(out: io.StringIO, nodes: list[Node]) -> None:
    for name, content in nodes:
        if not content:
            out.write(f"<{name}/>")
            continue
        out.write(f"<{name}>")
        if isinstance(content, str):
            out.write(escape(content))
        else:
            _write_nodes(out, content)
        out.write(f"</{name}>")


def build_nodes(values: Mapping[str, Any], schema: Schema) -> list[Node]:
    """Nodes of values: nested dicts for groups, lists of dicts for repeats, GeoJSON or text for places.

    Names are the form's, or the feed's. A name that the form does not have is kept as it is: Central drops it later.
    Keys that belong to the feed alone (`__id`, `__system`, links) are left out.
    """
    return _build_children(values, schema.root)


def _build_children(values: Mapping[str, Any], parent: Element) -> list[Node]:
    nodes: list[Node] = []
    left = {
        name: value for name, value in values.items() if "@" not in name and name not in ("__id", "__system")
    }
    for child in parent.children.values():
        for name in (child.field.name, child.odata_name):
            if name in left:
                nodes.extend(_build_element(child, left.pop(name)))
                break
        else:
            if child.type == STRUCTURE:
                nodes.append((child.field.name, _build_children({}, child)))
            elif child.type != REPEAT:
                nodes.append((child.field.name, ""))
    for name, value in left.items():
        if not isinstance(value, Mapping | list):
            nodes.append((name, print_value(value)))
    return nodes


def _build_element(element: Element, value: Any) -> Iterator[Node]:
    name = element.field.name
    if element.type == REPEAT:
        for row in value or []:
            yield name, _build_children(row, element)
    elif element.type == STRUCTURE:
        yield name, _build_children(value or {}, element)
    else:
        yield name, print_value(value)


def print_value(value: Any) -> str:
    """A value as a phone writes it into XML."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return _print_place(value)
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)


def _print_place(place: Mapping[str, Any]) -> str:
    kind, coordinates = place["type"], place["coordinates"]
    if kind == "Point":
        accuracy = (place.get("properties") or {}).get("accuracy")
        return _print_position(coordinates, accuracy)
    line = coordinates[0] if kind == "Polygon" else coordinates
    return ";".join(_print_position(position, 0) for position in line)


def _print_position(position: list[float], accuracy: float | None) -> str:
    longitude, latitude, *rest = position
    parts = [latitude, longitude, *rest]
    if accuracy is not None:
        parts = [latitude, longitude, rest[0] if rest else 0, accuracy]
    return " ".join(str(part) for part in parts)


def list_files(nodes: list[Node], schema: Schema) -> list[str]:
    """The files that a submission says it has: texts of its binary fields, each once, sorted."""
    found: set[str] = set()

    def visit(nodes: list[Node], parent: Element) -> None:
        for name, content in nodes:
            child = parent.children.get(name)
            if child is None:
                continue
            if isinstance(content, list):
                visit(content, child)
            elif child.type == BINARY and content:
                found.add(content)

    visit(nodes, schema.root)
    return sorted(found)
