"""What the ledger tells: how every container stands, what was refused, what places held, what may be purged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec

from services.utils.containers import Container
from services.utils.errors import StoreError
from services.utils.postgrest import PostgREST


class Standing(msgspec.Struct):
    """The latest run of one script on one container and destination (api.status)."""

    script: str
    destination: str
    state: str
    started_at: dt.datetime
    app: str | None = None
    container: str | None = None
    env: str | None = None
    finished_at: dt.datetime | None = None
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    error: str | None = None
    watermark: dt.datetime | None = None
    last_ok_at: dt.datetime | None = None
    open_rejects: int = 0


class OpenReject(msgspec.Struct):
    """A record that is refused, and by what."""

    destination: str
    record_id: str
    reason: str
    created_at: dt.datetime


class PlaceCount(msgspec.Struct):
    """What one place of a container held when its places were last compared (api.counts).

    place: "source", "store", "socrata" or "agol"; destination: the same in the ledger's words. missing, extra and
    differing tell how it differed from what belongs there, refused what it will not take; none counts twice.
    """

    app: str
    container: str
    env: str
    place: str
    destination: str
    held: int
    counted_at: dt.datetime
    missing: int = 0
    extra: int = 0
    differing: int = 0
    refused: int = 0


def read_standings(store: PostgREST, *, app: str = "", container: str = "", env: str = "") -> list[Standing]:
    """How every container stands; of one app, container or env if they are named."""
    params = [
        (name, f"eq.{value}")
        for name, value in (("app", app), ("container", container), ("env", env))
        if value
    ]
    body = store.http.request("GET", "/rpc/status", params=params, repeatable=True, what="status").content
    return msgspec.json.decode(body, type=list[Standing])


def read_counts(store: PostgREST, *, app: str = "", container: str = "", env: str = "") -> list[PlaceCount]:
    """What every place held when it was last compared; of one app, container or env if they are named."""
    params = [("order", "app,container,env,place")]
    params += [
        (name, f"eq.{value}")
        for name, value in (("app", app), ("container", container), ("env", env))
        if value
    ]
    found: list[PlaceCount] = []
    while True:
        body = store.select("counts", [*params, ("offset", str(len(found)))], what="counts")
        page = msgspec.json.decode(body, type=list[PlaceCount])
        # PostgREST may be set to give fewer rows than there are.
        if not page:
            return found
        found += page


def keep_counts(store: PostgREST, counts: list[PlaceCount]) -> None:
    """Keep what was found of places of one container, in place of what was found of them before."""
    if counts:
        one = counts[0]
        places = [msgspec.structs.asdict(count) for count in counts]
        store.call(
            "keep_counts", {"app": one.app, "container": one.container, "env": one.env, "places": places}
        )


def read_open_rejects(store: PostgREST, destination: str) -> Iterator[OpenReject]:
    """The records that a destination refuses now, in the order of their ids."""
    last = ""
    while True:
        params = [
            ("select", "destination,record_id,reason,created_at"),
            ("destination", f"eq.{destination}"),
            ("closed_at", "is.null"),
            ("order", "record_id"),
            ("limit", "1000"),
        ]
        if last:
            params.append(("record_id", f"gt.{last}"))
        page = msgspec.json.decode(store.select("rejects", params), type=list[OpenReject])
        yield from page
        if len(page) < 1000:
            return
        last = page[-1].record_id


def find_purgeable(standings: list[Standing], container: Container, before: dt.datetime) -> dt.datetime:
    """Up to when tombstones may go: every destination of the container has taken what is older.

    Args:
        standings: of this container. before: the latest time that is wanted.
    Raises: StoreError if it is published somewhere where everything was never delivered.
    """
    for script in container.publishers:
        marks = [standing.watermark for standing in standings if standing.script == script]
        if not marks or None in marks:
            raise StoreError(
                f"{container.where} is published by {script}, which has never delivered everything in "
                f"{container.env}. Nothing was deleted. Run it first, or take its destination out of the "
                "configuration."
            )
        before = min([before, *(mark for mark in marks if mark is not None)])
    return before
