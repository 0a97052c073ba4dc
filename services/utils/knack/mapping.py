"""Which field of a copy fills which: a field map, held to the metadata of both apps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.utils.errors import ConfigError
from services.utils.fieldmaps import FieldMap
from services.utils.knack.fetch import Place
from services.utils.knack.handlers import TEXTS, WRITABLE, Read, build_read
from services.utils.knack.metadata import FieldDef, KnackApp

KEY_TYPES = TEXTS | {"number"}


@dataclass(frozen=True)
class Column:
    """One field of the destination. lookup: where a connection's records are found, and by which of their fields."""

    map: FieldMap
    dest: FieldDef
    read: Read
    lookup: tuple[Place, FieldDef] | None = None

    def __str__(self) -> str:
        return f"{self.dest.name} ({self.dest.key})"


@dataclass(frozen=True)
class FieldMapping:
    """All fields of a copy, the key among them, and the time zones of both apps."""

    columns: tuple[Column, ...]
    key: Column
    source: KnackApp
    dest: KnackApp


def compile_mapping(
    maps: Sequence[FieldMap],
    source: KnackApp,
    container_id: str,
    dest: KnackApp,
    object_key: str,
    connections: Mapping[str, tuple[str, str]],
) -> FieldMapping:
    """The fields of a copy, held to both apps' metadata.

    connections: {field key: (key of the connected object, its identifier field)} of the destination.
    Raises: ConfigError if a field is not there, or cannot be written.
    """
    columns = []
    for one in maps:
        field = dest.field(one.dest, object_key)
        if field.type not in WRITABLE:
            raise _refuse(field, f"is of type {field.type}, which cannot be written")
        here = source.field(one.source, container_id) if one.source not in ("", "id") else None
        if field.type == "date_time" and (here is None or here.type != "date_time"):
            raise _refuse(field, "is a date/time, which only a date/time field can fill")
        if one.handler == "connection" and field.type != "connection":
            raise _refuse(field, f"is of type {field.type}, and the handler is connection")
        lookup = None
        if field.type == "connection":
            object_, identifier = connections.get(field.key, ("", ""))
            name = one.options.get("lookup") or identifier
            if not object_ or not name:
                raise _refuse(
                    field, "is a connection, and the field that names its records is not known; set lookup"
                )
            by = dest.field(name, object_)
            if by.type not in KEY_TYPES | {"auto_increment"}:
                raise _refuse(
                    field, f"is looked up by {by.key}, of type {by.type}; a text or number is wanted"
                )
            lookup = (Place(object_, f"/v1/objects/{object_}/records", is_view=False), by)
        columns.append(
            Column(one, field, build_read(here, field, one.handler, one.options, source.timezone), lookup)
        )
    (key,) = (column for column in columns if column.map.key)
    if key.dest.type not in KEY_TYPES:
        raise _refuse(
            key.dest, f"is the primary_key, and of type {key.dest.type}; a text or number is wanted"
        )
    return FieldMapping(tuple(columns), key, source, dest)


def _refuse(field: FieldDef, said: str) -> ConfigError:
    return ConfigError(f"config/field_maps.py: {field.key} ({field.name!r}) {said}. Nothing was sent.")


def find_connections(metadata: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """{key of a connection: (the object it leads to, the field that names its records)}."""
    objects = metadata["application"]["objects"]
    identifiers = {one.get("key"): str(one.get("identifier") or "") for one in objects}
    found = {}
    for one in objects:
        for field in one.get("fields") or []:
            leads_to = (field.get("relationship") or {}).get("object")
            if field.get("type") == "connection" and leads_to:
                found[field["key"]] = leads_to, identifiers.get(leads_to, "")
    return found
