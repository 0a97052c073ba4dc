"""What the ledger tells: how every container stands, what was refused, what places held, what may be purged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from services.utils.containers import Container
from services.utils.errors import StoreError
from services.utils.postgrest import PostgREST

T = TypeVar("T")


class Standing(msgspec.Struct):
    """The latest run of one script on one container and destination (api.status).

    last_ok_at: when a run last ended ok; last_done_at: ok or partial. failing_since: when the first of the runs began
    that have failed one after the other since then. last_full_at: when a run last covered everything, and read
    last_full_read records.
    """

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
    last_done_at: dt.datetime | None = None
    failing_since: dt.datetime | None = None
    failures: int = 0
    last_full_at: dt.datetime | None = None
    last_full_read: int | None = None


class PastRun(msgspec.Struct, array_like=True):
    """One run of many, as api.recent_runs gives it. since: None for everything."""

    state: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    since: dt.datetime | None
    read: int
    inserted: int
    updated: int
    unchanged: int
    deleted: int
    rejected: int
    error: str | None

    @property
    def moved(self) -> int:
        """Records that were inserted, updated or deleted."""
        return self.inserted + self.updated + self.deleted


class RecentRuns(msgspec.Struct):
    """The latest runs of one script on one container and destination, oldest first."""

    script: str
    app: str
    container: str
    env: str
    destination: str
    runs: list[PastRun]


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
    return _read_whole(store, "status", params, list[Standing])


def read_recent_runs(
    store: PostgREST, most: int, *, app: str = "", container: str = "", env: str = ""
) -> list[RecentRuns]:
    """The latest runs, at most so many, of every script on every container; of one app, container or env if named."""
    params = [("most", str(most))]
    params += [
        (name, f"eq.{value}")
        for name, value in (("app", app), ("container", container), ("env", env))
        if value
    ]
    return _read_whole(store, "recent_runs", params, list[RecentRuns])


def _read_whole(
    store: PostgREST, function: str, params: list[tuple[str, str]], rows: type[list[T]]
) -> list[T]:
    """All rows that a function gives, though PostgREST may be set to give fewer at a time."""
    found: list[T] = []
    while True:
        response = store.http.request(
            "GET",
            f"/rpc/{function}",
            params=[*params, ("offset", str(len(found)))],
            headers={"Prefer": "count=exact"},
            repeatable=True,
            what=function,
        )
        page = msgspec.json.decode(response.content, type=rows)
        found += page
        # "0-24/25"
        if not page or len(found) >= int(response.headers["Content-Range"].rpartition("/")[2]):
            return found


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


def read_open_rejects(store: PostgREST, destination: str, page_rows: int = 1000) -> Iterator[OpenReject]:
    """The records that a destination refuses now, in the order of their ids."""
    last = ""
    while True:
        params = [
            ("select", "destination,record_id,reason,created_at"),
            ("destination", f"eq.{destination}"),
            ("closed_at", "is.null"),
            ("order", "record_id"),
            ("limit", str(page_rows)),
        ]
        if last:
            params.append(("record_id", f"gt.{last}"))
        page = msgspec.json.decode(store.select("rejects", params), type=list[OpenReject])
        yield from page
        # Only an empty page is surely the last: PostgREST may be set to give fewer rows than were asked for.
        if not page:
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
