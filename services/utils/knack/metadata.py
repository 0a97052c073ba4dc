"""What a Knack app says of itself: its containers, their fields, its time zone and date formats.

    app = open_app(metadata)
    app.fields("view_31")                                  # [FieldDef, ...]
    field = app.modified_field("object_9", "field_49")
    to_knack_date(date(2025, 3, 9), field)                 # "03/09/2025"

Source: the application document (GET /v1/applications/{id}); field order and the fields of table views
are knackpy 1.1.1's (app.py, fields.py).
"""

from __future__ import annotations

import datetime
import difflib
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from services.utils.errors import ConfigError, SourceError

# Names that knackpy's table spells in a way no time zone database knows.
_MISSPELT_ZONES = {"America/Sao_Paul": "America/Sao_Paulo", "Europe/Istanbu": "Europe/Istanbul"}

_CONTINENTS = frozenset({"Africa", "America", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"})

# Parts of a view that name fields without showing them: what it filters, sorts and does.
_NOT_SHOWN = frozenset(
    {
        "criteria",
        "filter_fields",
        "links",
        "menu_filters",
        "preset_filters",
        "rules",
        "sort",
        "source",
        "totals",
    }
)

_MONTHS = "January February March April May June July August September October November December"


@dataclass(frozen=True, slots=True)
class FieldDef:
    """A field: its key, its name as people see it in Knack, its type, its format settings, its object's key."""

    key: str
    name: str
    type: str
    format: Mapping[str, Any] = field(compare=False, repr=False)
    object: str


@dataclass(frozen=True, slots=True)
class _Container:
    """An object (scene "") or a view, and the part of the metadata that describes it."""

    name: str
    type: str
    scene: str
    object: str
    body: Mapping[str, Any]


class KnackApp:
    """A Knack app's metadata, indexed. Made by `open_app`; the metadata itself is never changed.

    name: the app's name. timezone: the zone that all its dates and times are written in.
    """

    def __init__(self, name: str, timezone: ZoneInfo, application: Mapping[str, Any]) -> None:
        self.name = name
        self.timezone = timezone
        self._fields: dict[str, FieldDef] = {}
        self._by_object: dict[str, list[FieldDef]] = {}
        self._containers: dict[str, _Container] = {}
        self._shown: dict[str, list[FieldDef]] = {}
        for entry in _dicts(application.get("objects")):
            self._add_object(entry)
        for scene in _dicts(application.get("scenes")):
            for view in _dicts(scene.get("views")):
                self._add_view(str(scene.get("key", "")), view)
        self._position = {key: position for position, key in enumerate(self._fields)}

    def containers(self) -> list[str]:
        """The keys of all objects and views, objects first."""
        return list(self._containers)

    def fields(self, container_id: str) -> list[FieldDef]:
        """The fields of an object, or those that a view shows, in the order of the metadata's objects.

        A view's connected columns are included, under the connected object's own field. The record id is
        not a field and not in the list.
        Raises: ConfigError if the app has no such container.
        """
        if container_id not in self._shown:
            container = self._find(container_id)
            shown = self._by_object.get(container_id)
            if shown is None:
                keys = {key for key in _shown_keys(container.body) if key in self._fields}
                shown = [self._fields[key] for key in sorted(keys, key=self._position.__getitem__)]
            self._shown[container_id] = shown
        return list(self._shown[container_id])

    def field(self, key: str, container_id: str = "") -> FieldDef:
        """A field by its key, wherever it is, or in one container.

        Raises: ConfigError if there is no such field, or if the container does not show it.
        """
        found = self._fields.get(key)
        if container_id and (found is None or not self.exposes(container_id, key)):
            raise ConfigError(
                f"{container_id} of the Knack app {self.name!r} has no field {key!r}"
                f"{_hint(key, self._field_labels(self.fields(container_id)))}. Nothing was sent. Correct the "
                "configuration, or add the field in Knack and load the app's metadata again."
            )
        if found is None:
            raise ConfigError(
                f"The Knack app {self.name!r} has no field {key!r}"
                f"{_hint(key, self._field_labels(self._fields.values()))}. Nothing was sent. Correct the "
                "configuration, or load the app's metadata again if the field is new."
            )
        return found

    def exposes(self, container_id: str, field_key: str) -> bool:
        """Whether a container's records carry this field.

        Raises: ConfigError if the app has no such container.
        """
        return any(shown.key == field_key for shown in self.fields(container_id))

    def source_object(self, container_id: str) -> str:
        """The key of the object that the container's records are of: an object's own, a view's source.

        Raises: ConfigError if there is no such container, or if it is a view without records (a menu, a text).
        """
        container = self._find(container_id)
        if not container.object:
            raise ConfigError(
                f"{container_id} of the Knack app {self.name!r} is a view of type {container.type!r} without "
                "records. Nothing was sent. Name an object or a view with records in the configuration."
            )
        return container.object

    def scene(self, container_id: str) -> str:
        """The key of the scene that a view is on; "" for an object.

        Raises: ConfigError if the app has no such container.
        """
        return self._find(container_id).scene

    def modified_field(self, container_id: str, key: str) -> FieldDef:
        """The field that says when a record was changed last, fit to be filtered by.

        Raises: ConfigError if the container does not show it (Knack filters a view by the fields it shows), or
            if it is not a date/time field, or one without a date.
        """
        found = self.field(key, container_id)
        if found.type != "date_time" or date_format(found) == "Ignore Date":
            what = "a time without a date" if found.type == "date_time" else f"of type {found.type!r}"
            raise ConfigError(
                f"{container_id} of the Knack app {self.name!r} cannot be loaded by {key} ({found.name!r}): it is "
                f"{what}, a date/time field is needed. Nothing was sent. Correct modified_date_field_id."
            )
        return found

    def sort_field(self, container_id: str, *, exposed: bool = True) -> str | None:
        """The field whose order edits cannot change: an auto increment of the container's source object.

        exposed: for a view, only a field that it shows; False also gives one that it does not show.
        None: there is none.
        Raises: ConfigError if there is no such container, or if it has no records.
        """
        source = self.source_object(container_id)
        for candidate in self._by_object.get(source, []):
            if candidate.type == "auto_increment" and (
                not exposed or self.exposes(container_id, candidate.key)
            ):
                return candidate.key
        return None

    def _add_object(self, entry: Mapping[str, Any]) -> None:
        key = str(entry.get("key", ""))
        fields = self._by_object.setdefault(key, [])
        for raw in _dicts(entry.get("fields")):
            if not isinstance(raw.get("key"), str):
                continue
            settings = raw.get("format")
            found = FieldDef(
                raw["key"],
                str(raw.get("name") or raw["key"]),
                str(raw.get("type") or ""),
                settings if isinstance(settings, dict) else {},
                key,
            )
            self._fields[found.key] = found
            fields.append(found)
        self._containers[key] = _Container(str(entry.get("name") or key), "object", "", key, entry)

    def _add_view(self, scene: str, view: Mapping[str, Any]) -> None:
        key = str(view.get("key", ""))
        source = view.get("source")
        of = source.get("object") if isinstance(source, dict) else None
        self._containers[key] = _Container(
            str(view.get("name") or key), str(view.get("type") or ""), scene, of or "", view
        )

    def _find(self, container_id: str) -> _Container:
        try:
            return self._containers[container_id]
        except KeyError:
            labels = {key: f"{key} ({found.name!r})" for key, found in self._containers.items()}
            labels |= {found.name: labels[key] for key, found in self._containers.items()}
            raise ConfigError(
                f"The Knack app {self.name!r} has no object or view {container_id!r}{_hint(container_id, labels)}. "
                "Nothing was sent. Correct the configuration, or load the app's metadata again if it is new."
            ) from None

    @staticmethod
    def _field_labels(fields: Iterable[FieldDef]) -> dict[str, str]:
        found = list(fields)
        labels = {one.key: f"{one.key} ({one.name!r})" for one in found}
        return labels | {one.name: labels[one.key] for one in found}


def open_app(metadata: Mapping[str, Any]) -> KnackApp:
    """Index an app's metadata.

    metadata: the whole document, with its "application" key; left unchanged.
    Raises: SourceError if it is no such document; ConfigError if the app's time zone is not known.
    """
    application = metadata.get("application") if isinstance(metadata, Mapping) else None
    if not isinstance(application, Mapping) or not isinstance(application.get("objects"), list):
        raise SourceError(
            "This is not the metadata of a Knack app: it has no application with objects. Nothing was done. "
            "Load the app's metadata again (metadata_to_postgrest.py)."
        )
    name = str(application.get("name") or application.get("slug") or "")
    settings = application.get("settings")
    zone = settings.get("timezone") if isinstance(settings, dict) else None
    try:
        timezone = find_timezone(zone if isinstance(zone, str) else "")
    except ConfigError as error:
        raise ConfigError(f"The Knack app {name!r}: {error}") from None
    return KnackApp(name, timezone, application)


def find_timezone(name: str) -> ZoneInfo:
    """The time zone that Knack means by a name.

    name: an IANA name ("America/Chicago"), one of Knack's names ("Central Time (US & Canada)",
        "Guadalajara, Mexico City, Monterrey"; case and spacing do not matter), or a city that the IANA
        database or one of those names holds ("London", "Edinburgh").
    Raises: ConfigError if it is none of these.
    Source: knackpy 1.1.1 (models.TIMEZONES), its two misspelt zones set right.
    """
    zone = _open_zone(name)
    if zone is not None:
        return zone
    # Here, not above: knackpy brings pytz, which only this table's sake would load.
    from knackpy.models import TIMEZONES

    table = {entry["common_name"]: entry["iana_name"] for entry in TIMEZONES}
    wanted = _plain(name)
    known = {_plain(common): iana for common, iana in table.items()}
    if wanted in known:
        return ZoneInfo(_MISSPELT_ZONES.get(known[wanted], known[wanted]))
    iana_names = {_plain(iana): iana for iana in sorted(zoneinfo.available_timezones())}
    # Cities only: "Central" may be US/Central or Canada/Central, and Etc/GMT+5 is five hours behind.
    iana_cities = {
        _plain(iana.split("/")[1]): iana
        for iana in iana_names.values()
        if iana.count("/") == 1 and iana.split("/")[0] in _CONTINENTS
    }
    cities = {
        _plain(city): _MISSPELT_ZONES.get(iana, iana)
        for common, iana in table.items()
        for city in common.split(":")[-1].split(",")
    }
    for names in (iana_names, iana_cities, cities):
        if wanted in names:
            return ZoneInfo(names[wanted])
    near = _hint(wanted, {_plain(one): one for one in [*table, *iana_names.values()]})
    raise ConfigError(
        f"the time zone {name!r} is not known{near}. Nothing was sent. Choose another one in the app's settings "
        "in Knack, then load its metadata again."
    )


def date_format(field: FieldDef) -> str:
    """How a date/time field's dates are written: "mm/dd/yyyy" (Knack's own choice where none is set),
    "dd/mm/yyyy", "M D, yyyy", or "Ignore Date" for a time of day."""
    return str(field.format.get("date_format") or "mm/dd/yyyy")


def to_knack_date(day: datetime.date, field: FieldDef) -> str:
    """A day as a filter on this field must name it: in the field's own date format.

    "M D, yyyy" is written "March 9, 2025": the English month in full, the day without zero or ending. Knack
    itself shows "March 9th, 2025"; the form without the ending is the one that every parser of dates reads.
    Raises: ConfigError if the field has no dates, or a format that is not known.
    """
    written = date_format(field)
    if written == "mm/dd/yyyy":
        return f"{day.month:02}/{day.day:02}/{day.year:04}"
    if written == "dd/mm/yyyy":
        return f"{day.day:02}/{day.month:02}/{day.year:04}"
    if written == "M D, yyyy":
        return f"{_MONTHS.split()[day.month - 1]} {day.day}, {day.year:04}"
    raise ConfigError(
        f"{field.key} ({field.name!r}) has the date format {written!r}, which cannot be filtered by. Nothing was "
        "sent. Give it one of mm/dd/yyyy, dd/mm/yyyy and M D, yyyy in Knack, then load the metadata again."
    )


def _dicts(value: Any) -> Iterator[Mapping[str, Any]]:
    return (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else iter(())


def _shown_keys(view: Mapping[str, Any]) -> Iterator[str]:
    """Keys that may be fields, from the part of a view that shows values."""
    if view.get("type") == "table":
        for column in _dicts(view.get("columns")):
            shown = column.get("field")
            if isinstance(shown, dict) and isinstance(shown.get("key"), str):
                yield shown["key"]
        return
    # Lists, details, forms, maps, calendars and reports each nest their columns in their own way; all name a
    # field as {"key": "field_1"}, {"field": {"key": "field_1"}} or {"field": "field_1"}.
    left: list[Any] = [view]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left.extend(node)
        elif isinstance(node, dict):
            yield from (key for key in (node.get("key"), node.get("field")) if isinstance(key, str))
            left.extend(part for name, part in node.items() if name not in _NOT_SHOWN)


def _open_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _plain(name: str) -> str:
    """A name without what writers vary: case, underscores, spaces at commas."""
    parts = name.lower().replace("_", " ").split(",")
    return ",".join(" ".join(part.split()) for part in parts)


def _hint(wanted: str, labels: Mapping[str, str]) -> str:
    """ "; nearest: a, b" from {what may have been meant: how to show it}, "" where nothing is near."""
    folded = {str(name).lower(): shown for name, shown in labels.items()}
    near = difflib.get_close_matches(wanted.lower(), folded, n=3, cutoff=0.5)
    shown = list(dict.fromkeys(folded[name] for name in near))
    return f"; nearest: {', '.join(shown)}" if shown else ""
