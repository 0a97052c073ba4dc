"""When a container's runs are due: lengths of time and cron expressions, as the setting `schedule` gives them."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cronsim import CronSim

_PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}
# A longest gap is looked for over so many runs at most.
_LOOKED_AT = 2000


@dataclass(frozen=True)
class Schedule:
    """When each kind of run is due: a length of time ("5m"), a cron expression in UTC, a preset, or "" for never.

    changes: load and publish what changed (`--since-last`). full: load and publish everything, which finds deleted
    records. metadata: the source's field definitions.
    """

    changes: str = ""
    full: str = "@weekly"
    metadata: str = "@daily"


KINDS = ("changes", "full", "metadata")


def parse_schedule(value: Any) -> Schedule:
    """A schedule from its setting: a text (for changes), or a dict of the kinds that differ from the defaults.

    Raises: ValueError that says what was expected instead.
    """
    given = {"changes": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise ValueError('a time such as "5m" or "*/15 * * * *", or a dict such as {"changes": "5m"}')
    for kind, when in given.items():
        if kind not in KINDS:
            raise ValueError(f"only {', '.join(KINDS)} in it, not {kind!r}")
        if not isinstance(when, str):
            raise ValueError(f"a text for {kind!r}, not {when!r}")
        if when:
            _check(when)
    return Schedule(**given)


def find_length_s(when: str) -> int | None:
    """The seconds of a length of time such as "5m", or None for a cron expression."""
    found = re.fullmatch(r"([1-9]\d{0,5})([mhd])", when.strip())
    return int(found[1]) * _UNITS_S[found[2]] if found else None


def to_cron(when: str) -> str:
    """A cron expression, presets spelt out."""
    return _PRESETS.get(when.strip(), when.strip())


def find_next(when: str, after: dt.datetime) -> dt.datetime:
    """The first time later than `after` (aware) at which a run is due, in UTC.

    Lengths of time are counted from 1970, so that every machine finds the same.
    """
    length_s = find_length_s(when)
    if length_s is not None:
        seconds = (after.timestamp() // length_s + 1) * length_s
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    return next(_open(when, after))


def find_last(when: str, before: dt.datetime) -> dt.datetime:
    """The last time not later than `before` (aware) at which a run was due, in UTC."""
    length_s = find_length_s(when)
    if length_s is not None:
        seconds = before.timestamp() // length_s * length_s
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    times = _open(when, before + dt.timedelta(minutes=1), reverse=True)
    return next(time for time in times if time <= before)


def find_longest_gap_s(when: str, now: dt.datetime) -> float:
    """The longest time, in seconds, between two runs within about a week from `now` (at least one gap)."""
    length_s = find_length_s(when)
    if length_s is not None:
        return float(length_s)
    times = _open(when, now)
    last, longest_s = next(times), 0.0
    for _, due in zip(range(_LOOKED_AT), times):
        longest_s = max(longest_s, (due - last).total_seconds())
        last = due
        if due - now > dt.timedelta(days=7):
            break
    return longest_s


def _check(when: str) -> None:
    if find_length_s(when) is None:
        from cronsim import CronSimError

        try:
            if len(to_cron(when).split()) != 5:
                raise CronSimError("a sixth field would count seconds")
            next(_open(when, dt.datetime.now(dt.UTC)))
        except (CronSimError, StopIteration) as error:
            raise ValueError(
                f'a length such as "5m", "1h" or "1d", five cron fields such as "*/15 6-20 * * 1-5", or '
                f"one of {', '.join(_PRESETS)}, where {when!r} stands"
            ) from error


def _open(when: str, start: dt.datetime, *, reverse: bool = False) -> CronSim:
    # Cron's rules are a library's to know.
    from cronsim import CronSim

    return CronSim(to_cron(when), start.astimezone(dt.UTC), reverse=reverse)
