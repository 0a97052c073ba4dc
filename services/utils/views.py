"""The views in schema bi: has the database build them, or follow new metadata."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from services.utils.errors import RequestRefused, StoreError
from services.utils.postgrest import PostgREST

log = logging.getLogger(__name__)


class View(msgspec.Struct, frozen=True):
    """One view and what became of it.

    part: "main", "unified" or "repeat:<path>". state: "created", "changed" or "unchanged". columns: how many it has
    now; added: those that came behind the others; notices: what whoever uses it should know.
    """

    name: str
    part: str
    state: str
    columns: int
    added: list[str]
    notices: list[str]


class ViewsSummary(msgspec.Struct, frozen=True):
    """The views of one container. left: views of repeats that the form no more has; they stay."""

    views: list[View]
    left: list[str]


def refresh_views(postgrest: PostgREST, source: str, app_id: str, container_id: str) -> ViewsSummary:
    """Let a container's views follow the metadata in the store; columns are only added. Its notices are logged.

    source: "knack" or "odk".
    Raises: StoreError if the store lacks the metadata, or refuses; the views are then as they were.
    """
    answer = postgrest.call(
        "refresh_views",
        {"source": source, "app_id": app_id, "container_id": container_id},
        what=f"views of {container_id}",
    )
    summary = msgspec.convert(answer, ViewsSummary)
    for view in summary.views:
        if view.state != "unchanged":
            added = f", new: {', '.join(view.added)}" if view.added else ""
            log.info("view bi.%s %s: %d columns%s", view.name, view.state, view.columns, added)
        for notice in view.notices:
            log.warning("view bi.%s: %s", view.name, notice)
    return summary


def refresh_all(postgrest: PostgREST, places: Iterable[tuple[str, str, str]]) -> None:
    """Let the views of several containers (source, app id, container id) follow; a refusal stops no other.

    Raises: StoreError if views of one or more were refused, after all were tried; or if the store is not there.
    """
    refused = []
    for source, app_id, container_id in places:
        try:
            refresh_views(postgrest, source, app_id, container_id)
        except RequestRefused as error:
            log.error("%s", error)
            refused.append(container_id)
    if refused:
        raise StoreError(
            f"The metadata are stored, but the views of {', '.join(refused)} do not follow them; the lines above say "
            "why. They are as they were. Run this again when that is mended."
        )
