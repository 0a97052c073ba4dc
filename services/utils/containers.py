"""One container's settings: checked, looked up, frozen; as the files of the configuration hold them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from services.utils.config_files import SYSTEMS, Complain, raise_error, read_config
from services.utils.errors import ConfigError
from services.utils.schedules import Schedule, parse_schedule

__all__ = [
    "DESTINATION_KEYS",
    "FOUR_BY_FOUR",
    "KNOWN_KEYS",
    "PREFIX",
    "SYSTEMS",
    "Complain",
    "Container",
    "build_container",
    "find_app",
    "find_container",
    "find_system",
    "read_config",
]

FOUR_BY_FOUR = re.compile(r"[a-z0-9]{4}-[a-z0-9]{4}")
MOST_SHARDS = 100
PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")

_OLDER_SPELLINGS = {
    "scene": "scene_id",
    "modified_date_field": "modified_date_field_id",
    "location_field_id": "location_fields",
    "location_field": "location_fields",
}
# What names a place outside: in dev each of them must be overridden before anything is published there.
DESTINATION_KEYS = ("socrata_resource_id", "service_id", "attachments", "dest_apps")


@dataclass(frozen=True)
class Container:
    """What configuration says of one container. Unset texts are "", unset lists are empty."""

    system: str
    app: str
    id: str
    env: str
    description: str = ""
    scene_id: str = ""
    object: str = ""
    modified_date_field_id: str = ""
    location_fields: tuple[str, ...] = ()
    # The only fields to publish; None publishes all.
    fields: tuple[str, ...] | None = None
    exclude_fields: tuple[str, ...] = ()
    upsert_matching_field: str = "id"
    socrata_resource_id: str = ""
    # The dataset's column that says when a row was published.
    append_timestamps_socrata: str = ""
    no_replace_socrata: bool = False
    # "hashed": the published id is a keyed hash of the record's.
    public_id: str = ""
    service_id: str = ""
    layer_id: int | None = None
    item_type: str = "layer"
    # {app: object key} of the Knack apps that it is copied to.
    dest_apps: Any = None
    # When it runs by itself; None where nobody said.
    schedule: Schedule | None = None
    # How many processes share a full load, where a scheduler runs them.
    shards: int = 1
    project_id: str = ""
    form_id: str = ""
    # What names a submission: "" (its UUID field, else __id, else meta/instanceID), or the path of a field.
    record_key: str = ""
    # The path of a repeat: the container publishes its rows instead of the submissions.
    repeat: str = ""
    attachments: Any = None
    # What a publish does where fields no longer fill the columns that they filled: "warn", or "freeze" and refuse.
    on_drift: str = "warn"
    # Set by find_container. Containers, of any app, that feed the same dataset, this one left out.
    siblings: tuple[str, ...] = ()
    # Destinations that -e dev may not write, because they have no override.
    dev_blocked: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """app/container, as messages name it."""
        return f"{self.app}/{self.id}"

    @property
    def publishers(self) -> list[str]:
        """The scripts that publish this container in its env."""
        wanted = {"socrata_resource_id": "records_to_socrata", "service_id": "records_to_agol"}
        return [
            script for key, script in wanted.items() if getattr(self, key) and key not in self.dev_blocked
        ]

    @property
    def is_alone_in_dataset(self) -> bool:
        """Whether nobody else writes to its dataset: rows there that are not its own can only be left over."""
        return not (self.siblings or self.no_replace_socrata)

    @property
    def secrets(self) -> list[str]:
        """What its publishers need of the environment beside their systems' variables (`env.load`)."""
        return ["public_id"] if self.public_id else []

    @property
    def copies_to(self) -> list[str]:
        """The Knack apps that its records are copied to in its env."""
        return [] if "dest_apps" in self.dev_blocked else list(self.dest_apps or {})

    @property
    def copies_media(self) -> bool:
        """Whether its submissions' files are copied in its env."""
        return self.attachments is not None and "attachments" not in self.dev_blocked

    def require(self, key: str, purpose: str) -> str:
        """A setting that a script cannot do without.

        Raises: ConfigError if it is unset, or if env is dev and it has no override of its own.
        """
        value = getattr(self, key)
        if key in self.dev_blocked:
            raise ConfigError(
                f"{self.where} has no {key} of its own for dev, so -e dev does not {purpose}: it would write "
                f'over public data. Nothing was sent. Add "dev": {{"{key}": ...}} in config/{self.system}.py.'
            )
        if value in ("", None):
            raise ConfigError(
                f"{self.where} has no {key}, so it cannot {purpose}. Nothing was sent. "
                f"Add it in config/{self.system}.py and run again."
            )
        return str(value)


_NOT_SETTINGS = {"system", "app", "id", "env", "siblings", "dev_blocked"}
KNOWN_KEYS = tuple(f.name for f in fields(Container) if f.name not in _NOT_SETTINGS) + ("dev",)
_LISTS = ("location_fields", "fields", "exclude_fields")
_TEXTS = (
    "description",
    "scene_id",
    "object",
    "modified_date_field_id",
    "upsert_matching_field",
    "socrata_resource_id",
    "service_id",
    "item_type",
    "project_id",
    "form_id",
    "record_key",
    "repeat",
    "on_drift",
)


def find_container(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]],
    app: str,
    container_id: str,
    env: str,
    sources: tuple[str, ...] = ("knack",),
) -> Container:
    """Look up one container, with the overrides of its env laid over.

    sources: those that the script can work with.
    Raises: ConfigError if the app or container is not configured (the nearest names are said), or if one
    of its settings is wrong.
    """
    system = find_app(config, app, container_id, sources)
    return build_container(config, system, app, container_id, env)


def build_container(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]],
    system: str,
    app: str,
    container_id: str,
    env: str,
    complain: Complain = raise_error,
) -> Container:
    """One container that is configured, with the overrides of its env laid over.

    complain: is given a ConfigError for each setting that is wrong. By default it is raised; where it is not, the
        container is built without that setting.
    """
    settings = _check_settings(config[system][app][container_id], f"{app}/{container_id}", system, complain)
    overrides = settings.pop("dev", {})
    blocked: tuple[str, ...] = ()
    if env == "dev":
        settings.update(overrides)
        blocked = tuple(key for key in DESTINATION_KEYS if key not in overrides)
    found = Container(system=system, app=app, id=container_id, env=env, dev_blocked=blocked, **settings)
    return replace(found, siblings=_find_siblings(config, found))


def find_app(
    config: Mapping[str, Mapping[str, Any]],
    app: str,
    container_id: str = "",
    sources: tuple[str, ...] = ("knack",),
) -> str:
    """Which source an app belongs to, for commands that work on a whole app.

    Raises: ConfigError if the app, or the container if one is named, is not configured.
    """
    system = find_system(config, app, sources)
    if container_id and container_id not in config[system][app]:
        raise ConfigError(
            f"The app {app!r} has no container {container_id!r} in config/{system}.py"
            f"{name_nearest(container_id, config[system][app])}. Nothing was sent."
        )
    return system


def find_system(config: Mapping[str, Mapping[str, Any]], app: str, sources: tuple[str, ...] = SYSTEMS) -> str:
    """Which source an app belongs to: "knack" or "odk".

    Raises: ConfigError if no file lists it, or if it is of another source than those that are wanted.
    """
    for system in SYSTEMS:
        if app in config[system]:
            if system not in sources:
                raise ConfigError(
                    f"{app!r} stands in config/{system}.py, and this command works with {' and '.join(sources)} "
                    "only. Nothing was sent."
                )
            return system
    apps = [name for system in SYSTEMS for name in config[system]]
    raise ConfigError(f"No app {app!r} is configured{name_nearest(app, apps)}. Nothing was sent.")


def _check_settings(
    given: Mapping[str, Any], where: str, system: str, complain: Complain, inner: bool = False
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in given.items():
        spelt, key = key, _OLDER_SPELLINGS.get(key, key)
        try:
            if spelt != key and given.get(key) not in (None, value):
                raise ConfigError(
                    f"{where} has both {key} and, as it used to be called, {spelt!r} in config/{system}.py. "
                    "Nothing was sent. Keep one of them."
                )
            if key not in KNOWN_KEYS or (inner and key == "dev"):
                raise ConfigError(
                    f"{where} has an unknown setting {key!r} in config/{system}.py"
                    f"{name_nearest(str(key), KNOWN_KEYS)}. Nothing was sent."
                )
            if value is not None or key == "layer_id":
                settings[key] = _check_value(key, value, where, system, complain)
        except ConfigError as error:
            complain(error)
    return settings


def _check_value(key: str, value: Any, where: str, system: str, complain: Complain) -> Any:
    def refuse(expected: str) -> ConfigError:
        return ConfigError(
            f"{where}: {key} is {value!r}, expected {expected}. Nothing was sent. "
            f"Correct it in config/{system}.py and run again."
        )

    if key == "dev":
        if not isinstance(value, dict):
            raise refuse("a dict of settings that differ in dev")
        return _check_settings(value, f"{where} (dev)", system, complain, inner=True)
    if key in _LISTS:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(v, str) and v for v in values):
            raise refuse("a list of field names or keys")
        return tuple(values)
    if key == "layer_id":
        if value is not None and (isinstance(value, bool) or not str(value).isdecimal()):
            raise refuse("a whole number, 0 or more")
        return None if value is None else int(value)
    if key == "attachments":
        _check_attachments(value, refuse)
    if key == "dest_apps":
        return _check_dest_apps(value, refuse)
    if key == "append_timestamps_socrata":
        column = value.get("key") if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(column, str) or not column or column.startswith(":"):
            raise refuse('{"key": "..."}, with the name of a column of the dataset')
        return column
    if key == "schedule":
        try:
            return parse_schedule(value)
        except ValueError as error:
            raise refuse(str(error)) from error
    if key == "shards":
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SHARDS:
            raise refuse(f"a whole number from 1 to {MOST_SHARDS}")
        if system == "odk" and value > 1:
            raise refuse("1: a form's feed is one walk")
    if key == "public_id" and value not in ("", "hashed"):
        raise refuse('"hashed"')
    if key == "no_replace_socrata" and not isinstance(value, bool):
        raise refuse("True or False")
    if key == "on_drift" and value not in ("warn", "freeze"):
        raise refuse('"warn" or "freeze"')
    if key == "item_type" and value not in ("layer", "table"):
        raise refuse('"layer" or "table"')
    if key == "socrata_resource_id" and not (isinstance(value, str) and FOUR_BY_FOUR.fullmatch(value)):
        raise refuse("a dataset's id such as abcd-1234")
    if key == "project_id" and isinstance(value, int):
        value = str(value)
    if key in _TEXTS and not isinstance(value, str):
        raise refuse("a text")
    return value


def _check_dest_apps(value: Any, refuse: Callable[[str], ConfigError]) -> dict[str, str]:
    """{app: object key}. Older configurations name a view too, under "container", which nobody reads."""
    found = {}
    for app, place in value.items() if isinstance(value, dict) else []:
        settings = place if isinstance(place, dict) and set(place) <= {"object", "container"} else {}
        named = settings.get("object") or settings.get("container")
        if not isinstance(app, str) or not isinstance(named, str) or not re.fullmatch(r"object_\d+", named):
            raise refuse('{"name of the app": {"object": "object_1"}}')
        found[app] = named
    if not found:
        raise refuse('{"name of the app": {"object": "object_1"}}')
    return found


def _check_attachments(value: Any, refuse: Callable[[str], ConfigError]) -> None:
    if not isinstance(value, dict):
        raise refuse('a dict such as {"prefix": "photos", "thumbnails": 256}')
    unknown = [key for key in value if key not in ("prefix", "thumbnails")]
    if unknown:
        raise refuse(f'"prefix" and "thumbnails" in it only, not {unknown[0]!r}')
    prefix, longest_px = value.get("prefix", ""), value.get("thumbnails", 0)
    if not isinstance(prefix, str) or (prefix and not PREFIX.fullmatch(prefix)):
        raise refuse("a prefix of letters, digits, - _ . and single / between them")
    if isinstance(longest_px, bool) or not isinstance(longest_px, int) or not 0 <= longest_px <= 4096:
        raise refuse("thumbnails as a number of pixels up to 4096, or 0")


def _find_siblings(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]], found: Container
) -> tuple[str, ...]:
    """Other containers that feed the same dataset."""
    siblings = []
    for held in config.values():
        for app, containers in held.items():
            for container_id, settings in containers.items():
                over = settings.get("dev") if found.env == "dev" else None
                dataset = {**settings, **(over if isinstance(over, dict) else {})}.get("socrata_resource_id")
                if (
                    found.socrata_resource_id
                    and dataset == found.socrata_resource_id
                    and (app, container_id) != (found.app, found.id)
                ):
                    siblings.append(container_id)
    return tuple(siblings)


def name_nearest(name: str, known: Any) -> str:
    """Words that name what was probably meant, or what there is."""
    names = sorted(str(one) for one in known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"; nearest: {', '.join(near)}"
    if names:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return f"; there is: {shown}"
    return "; there is none"
