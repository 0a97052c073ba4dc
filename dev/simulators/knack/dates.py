"""Knack's dates: a local wall clock, labelled as UTC, shown and read in the field's own format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

Format = Mapping[str, Any]

EPOCH = datetime(1970, 1, 1)
# Time-only fields carry this date.
NO_DATE = date(2012, 1, 1)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?!\d)\s*(.*)", re.DOTALL)
_NAMED = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}), (\d{4})(?!\d)\s*(.*)", re.DOTALL)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?\s*([ap]m)?", re.IGNORECASE)
ISO_START = re.compile(r"\d{4}-\d{2}-\d{2}")


def has_day(shape: Format) -> bool:
    """Whether a field of this format holds a day."""
    return shape.get("date_format") != "Ignore Date"


def has_time(shape: Format) -> bool:
    """Whether a field of this format holds a time of day."""
    return shape.get("time_format", "Ignore Time") != "Ignore Time"


def show_day(day: date, shape: Format) -> str:
    """A day in the field's own format."""
    style = shape.get("date_format", "mm/dd/yyyy")
    if style == "dd/mm/yyyy":
        return f"{day.day:02}/{day.month:02}/{day.year:04}"
    if style == "M D, yyyy":
        return f"{MONTHS[day.month - 1]} {day.day}, {day.year:04}"
    return f"{day.month:02}/{day.day:02}/{day.year:04}"


def show_time(at: datetime | time, shape: Format) -> str:
    """A time of day in the field's own format: 4:05pm or 16:05."""
    if shape.get("time_format") == "HH MM (military)":
        return f"{at.hour:02}:{at.minute:02}"
    return f"{at.hour % 12 or 12}:{at.minute:02}{'am' if at.hour < 12 else 'pm'}"


def show_moment(at: datetime, shape: Format) -> str:
    """The display form of a date_time field."""
    parts = []
    if has_day(shape):
        parts.append(show_day(at, shape))
    if has_time(shape):
        parts.append(show_time(at, shape))
    return " ".join(parts)


def show_range(start: datetime, end: datetime, shape: Format) -> str:
    """The display form of a field with an end: the day is said once if it is the same."""
    if has_day(shape) and has_time(shape) and start.date() == end.date():
        return f"{show_moment(start, shape)} to {show_time(end, shape)}"
    return f"{show_moment(start, shape)} to {show_moment(end, shape)}"


def build_date(at: datetime, shape: Format) -> dict[str, Any]:
    """The raw date object of a wall clock (naive datetime)."""
    hours, minutes = f"{at.hour % 12 or 12:02}", f"{at.minute:02}"
    half = "AM" if at.hour < 12 else "PM"
    day = f"{at.month:02}/{at.day:02}/{at.year:04}"
    return {
        "date": day,
        "date_formatted": show_day(at, shape) if has_day(shape) else day,
        "hours": hours,
        "minutes": minutes,
        "am_pm": half,
        "unix_timestamp": (at - EPOCH) // timedelta(milliseconds=1),
        "iso_timestamp": f"{at.year:04}-{at.month:02}-{at.day:02}T{at.hour:02}:{minutes}:00.000Z",
        "timestamp": f"{day} {hours}:{minutes} {half.lower()}",
        # Knack counts the hour after midnight as the twelfth: midnight is 720.
        "time": (at.hour or 12) * 60 + at.minute,
    }


def read_clock(raw: Any) -> datetime | None:
    """The wall clock that a raw date object holds, naive; None where it holds none."""
    stamp = raw.get("unix_timestamp") if isinstance(raw, dict) else None
    if not isinstance(stamp, int | float) or isinstance(stamp, bool):
        return None
    return EPOCH + timedelta(milliseconds=stamp)


def parse_time(text: str) -> time | None:
    """A time of day as people type it (4:05pm, 04:05 PM, 16:05), or None."""
    found = _TIME.fullmatch(text.strip())
    if not found:
        return None
    hour, minute, half = int(found[1]), int(found[2]), (found[3] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    return time(hour, minute) if hour < 24 and minute < 60 else None


def parse_moment(text: str, shape: Format) -> tuple[datetime, bool] | None:
    """Read a text in the field's own format; no other format is tried.

    Returns: (wall clock, whether a time of day was given), or None: also for ISO dates.
    """
    text = text.strip()
    if not has_day(shape):
        alone = parse_time(text)
        return (datetime.combine(NO_DATE, alone), True) if alone else None
    style = shape.get("date_format", "mm/dd/yyyy")
    found = (_NAMED if style == "M D, yyyy" else _SLASHED).fullmatch(text)
    if not found:
        return None
    first, second, year, rest = found.groups()
    if style == "M D, yyyy":
        if first[:3].title() not in MONTHS:
            return None
        month, day = MONTHS.index(first[:3].title()) + 1, int(second)
    elif style == "dd/mm/yyyy":
        month, day = int(second), int(first)
    else:
        month, day = int(first), int(second)
    at = parse_time(rest) if rest else time()
    if at is None:
        return None
    try:
        return datetime.combine(date(int(year), month, day), at), bool(rest)
    except ValueError:
        return None


def add_units(day: date, count: int, unit: str) -> date:
    """A day moved by days, weeks, months or years; the end of a shorter month is its last day."""
    if unit == "days":
        return day + timedelta(days=count)
    if unit == "weeks":
        return day + timedelta(weeks=count)
    months = day.year * 12 + day.month - 1 + count * (12 if unit == "years" else 1)
    year, month = divmod(months, 12)
    last = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


def start_unit(day: date, unit: str) -> date:
    """The first day of the week (Sunday), month or year that a day is in."""
    if unit == "weeks":
        return day - timedelta(days=(day.weekday() + 1) % 7)
    if unit == "months":
        return day.replace(day=1)
    if unit == "years":
        return day.replace(month=1, day=1)
    return day
