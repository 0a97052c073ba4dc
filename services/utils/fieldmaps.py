"""How a container's fields become those of another Knack app: read from `config/field_maps.py` as data, checked."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.utils.config_files import CONFIG_FOLDER, read_literal
from services.utils.containers import Container
from services.utils.errors import ConfigError

HANDLERS = ("copy", "text", "strip", "choice", "connection", "default")
_OPTIONS = ("primary_key", "handler", "default", "map", "lookup", "ignore_diff")


@dataclass(frozen=True)
class FieldMap:
    """One field there. source: a field's key here, "id" for the record's id, "" for none. key: it matches records.

    ignore_diff: written when a record is created or changed for another reason, never a reason of its own.
    """

    source: str
    dest: str
    handler: str = "copy"
    key: bool = False
    ignore_diff: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def read_field_maps(folder: Path | None, container: Container, dest_app: str) -> list[FieldMap]:
    """The map of a container to one destination app.

    Raises: ConfigError if there is none, an entry is wrong, or not just one of them is the primary key.
    """
    where = f"{container.where} -> {dest_app} in config/field_maps.py"
    whole = read_literal((folder or CONFIG_FOLDER) / "field_maps.py", "FIELD_MAPS")
    try:
        entries = whole[container.app][container.id]
    except (KeyError, TypeError):
        entries = None
    if not isinstance(entries, list | tuple) or not all(isinstance(one, dict) for one in entries):
        raise ConfigError(
            f"{where}: there is no list of fields. Nothing was sent. Add "
            f'FIELD_MAPS["{container.app}"]["{container.id}"].'
        )
    apps = {*(container.dest_apps or {}), dest_app}
    found = [
        _read_entry(one, dest_app, apps, where) for one in entries if dest_app in one or not apps & one.keys()
    ]
    keys = [one for one in found if one.key]
    if len(keys) != 1:
        raise ConfigError(f"{where}: {len(keys)} fields are the primary_key, expected one. Nothing was sent.")
    twice = {one.dest for one in found if sum(other.dest == one.dest for other in found) > 1}
    if twice:
        raise ConfigError(f"{where}: {', '.join(sorted(twice))} is filled twice. Nothing was sent.")
    return found


def _read_entry(entry: dict[str, Any], dest_app: str, apps: set[str], where: str) -> FieldMap:
    def refuse(said: str) -> ConfigError:
        return ConfigError(f"{where}, the field {entry.get('src')!r}: {said}. Nothing was sent.")

    for key in entry:
        if key not in ("src", *_OPTIONS, *apps):
            near = difflib.get_close_matches(str(key), ["src", *_OPTIONS, *apps], n=1)
            raise refuse(f"unknown setting {key!r}{f'; nearest: {near[0]}' if near else ''}")
    dest, source = entry.get(dest_app), entry.get("src")
    if not isinstance(dest, str) or not dest.startswith("field_"):
        raise refuse(f'expected "{dest_app}": "field_1"')
    if source is not None and not isinstance(source, str):
        raise refuse("src is a field's key, or None")
    # Older maps name the halves of a record's field.
    source = (source or "").removesuffix("_raw")
    handler = entry.get("handler") or ("copy" if source else "default")
    if handler not in HANDLERS:
        raise refuse(f"there is no handler {handler!r}; there is: {', '.join(HANDLERS)}")
    if (handler == "default") is bool(source):
        raise refuse("a field without src takes the handler default, one with src takes another")
    if handler == "default" and "default" not in entry:
        raise refuse("without src it needs a default")
    listed = entry.get("map")
    if (handler == "choice") is not isinstance(listed, dict) or ("map" in entry and not listed):
        raise refuse('the handler choice, and no other, takes a map such as {"here": "there"}')
    if "lookup" in entry and (handler != "connection" or not isinstance(entry["lookup"], str)):
        raise refuse("lookup is a field's key, for the handler connection")
    for flag in ("primary_key", "ignore_diff"):
        if not isinstance(entry.get(flag, False), bool):
            raise refuse(f"{flag} is True or False")
    return FieldMap(
        source,
        dest,
        handler,
        bool(entry.get("primary_key")),
        bool(entry.get("ignore_diff")),
        {name: entry[name] for name in ("default", "map", "lookup") if name in entry},
    )
