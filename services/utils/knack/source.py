"""A Knack container as loading sees it: where its records are, in which order, and which of them changed."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from services.utils.errors import ConfigError
from services.utils.knack.fetch import Knack, Place
from services.utils.knack.metadata import KnackApp, open_app, to_knack_date
from services.utils.rawjson import decode_blanked
from services.utils.records import Page, Part

log = logging.getLogger(__name__)

# Whole days are filtered, and time zones, daylight saving and late stamps all cost less than a day.
OVERLAP = dt.timedelta(days=1)
_METADATA: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True)
class KnackSource:
    """A container as loading sees it (services.utils.records.Source)."""

    knack: Knack
    place: Place
    sort_field: str | None = None
    filters: dict[str, Any] | None = None
    first: int = 1
    every: int = 1

    @property
    def can_ask(self) -> bool:
        """A view's own criteria may hide a record that its object still has: only objects can be asked."""
        return not self.place.is_view

    @property
    def is_steady(self) -> bool:
        """Knack promises no order among equal values: only an auto-increment field has none."""
        return self.sort_field is not None

    def pages(self) -> Iterator[Page]:
        """Walk the container from its first page to its last, or a shard's share of its pages."""
        return self.knack.fetch_pages(
            self.place,
            sort_field=self.sort_field,
            filters=self.filters,
            first=self.first,
            every=self.every,
        )

    def fetch_record(self, record_id: str) -> bytes | None:
        """One record's bytes; None where it is not there.

        Raises: SourceError where the answer leaves it open.
        """
        return self.knack.fetch_record(self.place, record_id)


def find_app(knack: Knack, stored: dict[str, Any] | None, container_id: str) -> KnackApp:
    """The app as the stored metadata has it; as Knack has it now, if that is missing or older than the container.

    Raises: ConfigError if the app has no such container. SourceError if Knack does not give its metadata.
    """
    app = open_app(stored) if stored else None
    if app is None or container_id not in app.containers():
        log.info(
            "asking Knack for the app's metadata: %s",
            "it is not stored yet" if app is None else "it is older",
        )
        metadata = decode_blanked(_METADATA, knack.fetch_metadata())
        app = open_app(metadata)
    app.source_object(container_id)
    return app


def open_source(
    knack: Knack,
    app: KnackApp,
    container_id: str,
    *,
    scene_id: str = "",
    modified_field: str = "",
    since: dt.datetime | None = None,
    part: Part | None = None,
) -> KnackSource:
    """A container ready to be walked: all of it, a shard's pages of it, or what changed at or after `since` (aware).

    Raises: ConfigError if the app has no such container, or no such date field in it.
    """
    place = find_place(container_id, scene_id, app)
    filters = build_date_filter(app, container_id, modified_field, since) if since else None
    sort_field = app.sort_field(container_id)
    if part is None or not part.number:
        return KnackSource(knack, place, sort_field, filters)
    if sort_field is None:
        log.warning(
            "%s shows no auto-increment field to sort by: edits may move records from one shard to another, so run "
            "the shards at the same time",
            container_id,
        )
    return KnackSource(knack, place, sort_field, filters, part.number, part.shards)


def find_place(container_id: str, scene_id: str, app: KnackApp | None) -> Place:
    """Where a container's records are read.

    Raises: ConfigError if it is a view and neither the configuration nor the metadata names its scene.
    """
    if not container_id.startswith("view_"):
        return Place(container_id, f"/v1/objects/{container_id}/records", is_view=False)
    scene = scene_id or (app.scene(container_id) if app else "")
    if not scene:
        raise ConfigError(
            f"{container_id} is a view and its scene is not known. Nothing was sent. Set scene_id in "
            "config/knack.py, or load the app's metadata first."
        )
    return Place(container_id, f"/v1/pages/{scene}/views/{container_id}/records", is_view=True)


def build_date_filter(app: KnackApp, container_id: str, field_key: str, since: dt.datetime) -> dict[str, Any]:
    """Knack's filter for records changed at or after a time, widened so that none is missed.

    Knack compares whole days in the app's time zone, and "is after" leaves the day itself out.

    Args:
        since: aware.
    """
    field = app.modified_field(container_id, field_key)
    day = (since.astimezone(app.timezone) - OVERLAP).date()
    value = to_knack_date(day, field)
    return {
        "match": "or",
        "rules": [
            {"field": field_key, "operator": "is", "value": value},
            {"field": field_key, "operator": "is after", "value": value},
        ],
    }
