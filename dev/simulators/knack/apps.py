"""An app's metadata, looked up: objects with their fields, views with what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from dev.simulators.knack.values import Field

Sort = tuple[tuple[str, str], ...]

# Names that Knack has beside those of knackpy's table, where two entries are misspelt.
_ZONES = {"brasilia": "America/Sao_Paulo", "athens,bucharest, istanbul": "Europe/Istanbul"}


@dataclass(frozen=True)
class Column:
    """A field that a container shows. connection: the field of the source object that leads to it."""

    field: Field
    connection: Field | None = None
    object_key: str = ""

    @property
    def key(self) -> str:
        """The key it comes under: the connected object's own, not a dotted one."""
        return str(self.field["key"])


@dataclass(frozen=True)
class Container:
    """What records can be asked of: an object (scene "", every field) or a view."""

    key: str
    object_key: str
    columns: tuple[Column, ...]
    sort: Sort = ()
    scene: str = ""
    public: bool = False
    criteria: Mapping[str, Any] | None = None
    limit: int | None = None

    def column(self, key: str) -> Column | None:
        """The column that comes under a key."""
        return next((column for column in self.columns if column.key == key), None)


@dataclass(frozen=True)
class ObjectDef:
    """An object of the app."""

    key: str
    name: str
    fields: dict[str, Field]
    sort: Sort
    identifier: str

    def modified_field(self) -> str:
        """The key of the date_time field that the app stamps on a change, "" if there is none."""
        named = [f for f in self.fields.values() if f["type"] == "date_time" and "modif" in f["name"].lower()]
        return str(named[0]["key"]) if named else ""

    def auto_fields(self) -> list[Field]:
        """The auto_increment fields."""
        return [field for field in self.fields.values() if field["type"] == "auto_increment"]


class App:
    """An application's metadata (the whole document, with its "application" key)."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        app = metadata["application"]
        self.id: str = app["id"]
        self.slug: str = app["account"]["slug"]
        self.timezone = find_zone(app["settings"]["timezone"])
        self.objects = {one["key"]: _read_object(one) for one in app["objects"]}
        self.fields = {key: field for one in self.objects.values() for key, field in one.fields.items()}
        self.containers = {
            key: Container(key, key, tuple(Column(field) for field in one.fields.values()), one.sort)
            for key, one in self.objects.items()
        }
        scenes = {scene.get("slug", scene["key"]): scene for scene in app["scenes"]}
        for scene in app["scenes"]:
            for view in scene.get("views", []):
                container = self._read_view(scene, view, _is_public(scene, scenes))
                if container is not None:
                    self.containers[view["key"]] = container

    def connections_to(self, object_key: str) -> Iterator[tuple[str, Field]]:
        """(object key, connection field) of every connection that leads to an object."""
        for one in self.objects.values():
            for field in one.fields.values():
                if field["type"] == "connection" and field["relationship"]["object"] == object_key:
                    yield one.key, field

    def _read_view(self, scene: Mapping[str, Any], view: Mapping[str, Any], public: bool) -> Container | None:
        source = view.get("source") or {}
        owner = self.objects.get(source.get("object", ""))
        if owner is None:
            return None
        columns: dict[str, Column] = {}
        for shown in _walk_columns(view):
            key = shown["field"]["key"]
            link = (shown.get("connection") or {}).get("key")
            if link in owner.fields and key in self.fields:
                connection = owner.fields[link]
                columns[key] = Column(self.fields[key], connection, connection["relationship"]["object"])
            elif key in owner.fields:
                columns[key] = Column(owner.fields[key])
        limit = str(source.get("limit") or "")
        return Container(
            view["key"],
            owner.key,
            tuple(columns.values()),
            _read_sort(source.get("sort")) or owner.sort,
            scene["key"],
            public,
            source.get("criteria"),
            int(limit) if limit.isdigit() else None,
        )


def find_zone(name: str) -> ZoneInfo:
    """The time zone of a display name ("Central Time (US & Canada)") or an IANA name.

    Raises: ValueError for a name that is neither.
    """
    from knackpy.models import TIMEZONES

    known = {zone["common_name"].lower(): zone["iana_name"] for zone in TIMEZONES}
    iana = _ZONES.get(name.lower()) or known.get(name.lower()) or name
    try:
        return ZoneInfo(iana)
    except (KeyError, OSError):
        raise ValueError(f"unknown time zone {name!r}") from None


def _read_object(one: Mapping[str, Any]) -> ObjectDef:
    fields = {field["key"]: field for field in one["fields"]}
    texts = [key for key, field in fields.items() if field["type"] in ("short_text", "name")]
    identifier = one.get("identifier") or (texts[0] if texts else "")
    return ObjectDef(one["key"], one["name"], fields, _read_sort(one.get("sort")), identifier)


def _read_sort(sort: Any) -> Sort:
    listed = [sort] if isinstance(sort, dict) else sort or []
    return tuple((one["field"], one.get("order", "asc")) for one in listed if one.get("field"))


def _is_public(scene: Mapping[str, Any], scenes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a scene asks for no log-in, neither itself nor a scene above it."""
    seen = set()
    above: Mapping[str, Any] | None = scene
    while above is not None and above["key"] not in seen:
        if above.get("authenticated"):
            return False
        seen.add(above["key"])
        above = scenes.get(above.get("parent") or "")
    return True


def _walk_columns(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every part of a view that shows a field: a table's columns, a detail view's nested ones."""
    if isinstance(node, dict):
        field = node.get("field")
        if isinstance(field, dict) and field.get("key"):
            yield node
        for name in ("columns", "groups", "inputs", "results"):
            yield from _walk_columns(node.get(name))
    elif isinstance(node, list):
        for one in node:
            yield from _walk_columns(one)
