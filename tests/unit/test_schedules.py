"""When runs are due."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from services.utils import schedules
from services.utils.schedules import Schedule

NOW = dt.datetime(2026, 11, 22, 1, 20, 30, tzinfo=dt.UTC)  # a Sunday


def at(month: int, day: int, hour: int = 0, minute: int = 0) -> dt.datetime:
    """A time of that year."""
    return dt.datetime(2026, month, day, hour, minute, tzinfo=dt.UTC)


def test_parse_schedule__text_and_dict() -> None:
    """A text is for changes; a dict says which kinds differ."""
    assert schedules.parse_schedule("5m") == Schedule("5m", "@weekly", "@daily")
    assert schedules.parse_schedule({"full": "", "changes": "1h"}) == Schedule("1h", "", "@daily")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "such as"),
        ("5", "'5'"),
        ("0m", "'0m'"),
        ("5 x * * *", "'5 x * * *'"),
        ("@yearly", "@monthly"),
        ("0 0 30 2 *", "'0 0 30 2 *'"),
        ("0 0 0 1 * *", "'0 0 0 1 * *'"),
        ({"chnges": "5m"}, "'chnges'"),
        ({"changes": 5}, "not 5"),
    ],
)
def test_parse_schedule__wrong(value: Any, said: str) -> None:
    """What is no schedule is refused with the words that are wrong."""
    with pytest.raises(ValueError) as refused:
        schedules.parse_schedule(value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("when", "last", "following"),
    [
        ("5m", at(11, 22, 1, 20), at(11, 22, 1, 25)),
        ("@weekly", at(11, 22), at(11, 29)),
        ("@monthly", at(11, 1), at(12, 1)),
        ("*/15 6-20 * * 1-5", at(11, 20, 20, 45), at(11, 23, 6)),
        ("20 1 * * *", at(11, 22, 1, 20), at(11, 23, 1, 20)),
    ],
)
def test_find_last_find_next(when: str, last: dt.datetime, following: dt.datetime) -> None:
    """The times before and after a moment, wherever its clock's zone is."""
    there = NOW.astimezone(dt.timezone(dt.timedelta(hours=-6)))
    assert schedules.find_last(when, there) == last
    assert schedules.find_next(when, there) == following
    assert schedules.find_last(when, last) == last
    assert schedules.find_next(when, following) > following


def test_find_longest_gap_s() -> None:
    """Nights and weekends are gaps that a schedule means."""
    assert schedules.find_longest_gap_s("5m", NOW) == 300
    assert schedules.find_longest_gap_s("@daily", NOW) == 86400
    assert schedules.find_longest_gap_s("*/15 6-20 * * 1-5", NOW) == (57 * 60 + 15) * 60
