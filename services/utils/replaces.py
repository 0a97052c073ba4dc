"""A full load that several processes share: what their shards brought, for the finishing call to go by."""

from __future__ import annotations

import datetime as dt

import msgspec

from services.utils.errors import SourceError
from services.utils.postgrest import PostgREST
from services.utils.records import Counts, Part


class ShardRun(msgspec.Struct):
    """The latest run of one shard.

    delivered_to, pages, records: null until it has read all of its pages. kept: how many ids the store knows of it.
    """

    shard: int
    state: str
    read: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    kept: int
    delivered_to: dt.datetime | None = None
    pages: int | None = None
    records: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything it was to read has come, and is known to have been seen."""
        return self.state in ("ok", "partial") and self.records == self.kept


class _Replace(msgspec.Struct):
    replace_id: str
    shards: int
    round: str
    started_at: dt.datetime
    finished_at: dt.datetime | None = None


class _Found(msgspec.Struct):
    shards: list[ShardRun]
    replace: _Replace | None = None
    latest: _Replace | None = None


class Replace(msgspec.Struct):
    """All shards of a replace, each of them whole. finished_at: when a finishing call closed it, if one has."""

    replace_id: str
    shards: list[ShardRun]
    finished_at: dt.datetime | None = None

    @property
    def pages(self) -> int:
        """Pages that the shards read."""
        return sum(shard.pages or 0 for shard in self.shards)

    @property
    def records(self) -> int:
        """Records that the shards saw."""
        return sum(shard.records or 0 for shard in self.shards)

    @property
    def delivered_to(self) -> str:
        """Up to here every shard delivered its pages (ISO-8601)."""
        return min(shard.delivered_to for shard in self.shards if shard.delivered_to).isoformat()

    @property
    def counts(self) -> Counts:
        """What the shards did, together."""
        total = Counts()
        for shard in self.shards:
            total.add(
                Counts(
                    read=shard.read,
                    inserted=shard.inserted,
                    updated=shard.updated,
                    unchanged=shard.unchanged,
                    rejected=shard.rejected,
                )
            )
        return total


def read_replace(
    store: PostgREST, destination: str, app: str, container: str, env: str, part: Part
) -> Replace:
    """The replace that a finishing call is to close, all of its shards whole.

    Raises: SourceError that names the shards that have not come whole.
    """
    asked = {
        "destination": destination,
        "app": app,
        "container": container,
        "env": env,
        "shards": part.shards,
        "round": part.round,
    }
    answer = store.call("find_replace", asked, what=f"shards of {container}")
    found = msgspec.convert(answer, _Found, strict=False)
    where = f"{app}/{container}"
    if found.replace is None:
        raise SourceError(
            f"{where}: no shard of {part.shards}{_name_round(part.round)} has come{_tell_latest(found.latest)}. "
            f"Nothing was removed. Run --shard 1/{part.shards} to {part.shards}/{part.shards} first."
        )
    if found.replace.finished_at is None:
        _require_whole(found.shards, part, where)
    return Replace(found.replace.replace_id, found.shards, found.replace.finished_at)


def _require_whole(shards: list[ShardRun], part: Part, where: str) -> None:
    known = {shard.shard: shard for shard in shards}
    lacking: dict[str, list[int]] = {}
    for number in range(1, part.shards + 1):
        shard = known.get(number)
        if shard is None:
            lacking.setdefault("not begun", []).append(number)
        elif not shard.is_whole:
            done = shard.state in ("ok", "partial")
            lacking.setdefault("what it saw is lost" if done else shard.state, []).append(number)
    if lacking:
        told = "; ".join(
            f"{', '.join(map(str, numbers[:10]))}{' ...' if len(numbers) > 10 else ''} ({state})"
            for state, numbers in lacking.items()
        )
        raise SourceError(
            f"{where}: {sum(map(len, lacking.values()))} of {part.shards} shards have not come whole"
            f"{_name_round(part.round)}: {told}. What came is stored, nothing was removed. Run these shards (again), "
            f"then --finish {part.shards}."
        )


def _name_round(name: str) -> str:
    return f" in the round {name!r}" if name else ""


def _tell_latest(latest: _Replace | None) -> str:
    if latest is None:
        return ""
    begun = f"{latest.started_at:%Y-%m-%d %H:%M} UTC"
    return f"; the latest were of {latest.shards}{_name_round(latest.round)}, begun {begun}"
