"""What one value of a record means: a function for each field, made once for its type.

Values are those of knackpy 1.1.1 (record.py, fields.py, formatters.py), and like there a field is read from
`field_N_raw` where the record has it, else from `field_N`; "" and [] are None. Where knackpy raises, these
functions give what they can make of the value:

    neither key in the record                            None
    date/time object without a usable unix_timestamp     None (also beyond the years 1 to 9999)
    address parts that are not text                      their text
    file or image object without url                     None
    connection that is not a list of identifiers         its text or number as it is; an entry without
                                                         identifier by its id; blank entries left out
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

Record = Mapping[str, Any]
Reader = Callable[[Record], Any]

_NUMERIC = (int, float, str)
_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_DAY = _EPOCH.toordinal()
_LAST_DAY = datetime.date.max.toordinal()
_DAYS_KEPT = 20_000
_MINUTES = [f"T{minute // 60:02}:{minute % 60:02}:00" for minute in range(1440)]

_ADDRESS_PARTS = ("street", "street2", "city", "state", "zip", "country")
# The part of an object that is its value.
_PARTS = {"signature": "base30", "email": "email", "link": "url", "phone": "full"}
# Types whose display form says more than their raw one.
_DISPLAYED = frozenset({"id", "name", "equation"})


class WallClock:
    """Knack's timestamps as ISO-8601 with the offset of the app's time zone.

    A timestamp counts milliseconds to the local wall clock as if it were UTC. A time that the clocks jumped over
    is read with the offset before the jump (so 02:30 becomes 03:30); a time that came twice is the one of
    standard time: pytz's localize(is_dst=False), which knackpy uses. Unlike pytz, daylight saving goes on
    after 2037, history before 1901 is known, and milliseconds are exact. Offsets are in whole minutes.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._days: dict[int, tuple[str, str]] = {}

    def format_iso(self, unix_timestamp: Any) -> str | None:
        """ "2025-03-09T16:05:00-05:00"; None if it is no number or no time of the years 1 to 9999."""
        if type(unix_timestamp) is not int:
            if not isinstance(unix_timestamp, float) or not math.isfinite(unix_timestamp):
                return None
            unix_timestamp = int(unix_timestamp)
        day, left = divmod(unix_timestamp, _DAY_MS)
        known = self._days.get(day)
        if known is None:
            if not 1 <= day + _EPOCH_DAY <= _LAST_DAY:
                return None
            known = self._open_day(day)
        if known[1] and not left % _MINUTE_MS:
            return known[0] + _MINUTES[left // _MINUTE_MS] + known[1]
        return self._format_slowly(_EPOCH + datetime.timedelta(days=day, milliseconds=left))

    def _open_day(self, day: int) -> tuple[str, str]:
        """(date, offset) of a day; offset "" if the clocks are changed on it."""
        start = _EPOCH + datetime.timedelta(days=day)
        offsets = {
            moment.replace(tzinfo=self._zone, fold=fold).utcoffset()
            for moment in (start, start + datetime.timedelta(milliseconds=_DAY_MS - 1))
            for fold in (0, 1)
        }
        steady = _format_offset(_round_offset(offsets.pop())) if len(offsets) == 1 else ""
        known = (start.date().isoformat(), steady)
        if len(self._days) >= _DAYS_KEPT:
            self._days.clear()
        self._days[day] = known
        return known

    def _format_slowly(self, wall: datetime.datetime) -> str | None:
        first, second = (wall.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        before, after = _round_offset(first.utcoffset()), _round_offset(second.utcoffset())
        if before < after:  # the clocks jumped over it
            try:
                wall += after - before
            except OverflowError:
                return None
            return wall.isoformat() + _format_offset(after)
        summer_second = bool(second.dst()) and not first.dst()
        return wall.isoformat() + _format_offset(before if summer_second else after)


def _round_offset(offset: datetime.timedelta | None) -> datetime.timedelta:
    """An offset in whole minutes: before standard time, zones kept odd seconds that ISO-8601 cannot write."""
    seconds = offset.total_seconds() if offset is not None else 0
    return datetime.timedelta(minutes=(seconds + 30) // 60)


def _format_offset(offset: datetime.timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def build_reader(type_: str, key: str, clock: WallClock) -> Reader:
    """The function that reads one field of a record. It never raises and leaves the record unchanged."""
    if type_ == "date_time":
        return _read_date(key, clock)
    if type_ in _DISPLAYED:
        return _read_displayed(key)
    if type_ in _PARTS:
        return _read_part(key, _PARTS[type_])
    if type_ in ("file", "image"):
        return _read_part(key, "url")
    if type_ == "address":
        return _read_address(key)
    if type_ == "multiple_choice":
        return _read_choice(key)
    if type_ == "connection":
        return _read_connection(key)
    if type_ == "timer":
        return _read_timer(key)
    return _read_default(key)


def build_place_reader(key: str) -> Reader:
    """The function that reads an address field as a place with coordinates.

    Returns: {"latitude": float, "longitude": float} in decimal degrees (WGS84), with those of street,
        street2, city, state, zip and country that are filled, as text; a list of such for a list of
        addresses (a view's column behind a connection to many), without those that have no coordinates; None if
        no coordinates are left.
    """
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        value = record[raw] if raw in record else record.get(key)
        if isinstance(value, list):
            return [place for place in map(_build_place, value) if place is not None] or None
        return _build_place(value)

    return read


def _build_place(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    latitude = _read_degrees(value.get("latitude"), 90)
    longitude = _read_degrees(value.get("longitude"), 180)
    if latitude is None or longitude is None:
        return None
    place: dict[str, Any] = {"latitude": latitude, "longitude": longitude}
    for part in _ADDRESS_PARTS:
        if value.get(part):
            place[part] = str(value[part])
    return place


def _read_degrees(value: Any, most: int) -> float | None:
    if isinstance(value, bool) or not isinstance(value, _NUMERIC):
        return None
    try:
        degrees = float(value)
    except (ValueError, OverflowError):
        return None
    return degrees if -most <= degrees <= most else None


def _join(values: list[Any]) -> str | None:
    if not values:
        return None
    try:
        return ", ".join(values)
    except TypeError:  # seldom: not all are text
        return ", ".join([str(value) for value in values])


def _read_default(key: str) -> Reader:
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        value = record[raw] if raw in record else record.get(key)
        if type(value) is str:
            return value or None
        return _join(value) if isinstance(value, list) else value

    return read


def _read_choice(key: str) -> Reader:
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        value = record[raw] if raw in record else record.get(key)
        if type(value) is str:
            return value or None
        if isinstance(value, list):
            # Knack writes a blank choice of many as [null] too.
            return None if value == [None] else _join(value)
        return value

    return read


def _read_date(key: str, clock: WallClock) -> Reader:
    raw = f"{key}_raw"
    format_iso = clock.format_iso

    def read(record: Record) -> Any:
        value = record[raw] if raw in record else record.get(key)
        if isinstance(value, dict):
            return format_iso(value.get("unix_timestamp"))
        return None if value == "" or value == [] else value

    return read


def _read_part(key: str, part: str) -> Reader:
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        value = record[raw] if raw in record else record.get(key)
        if isinstance(value, dict):
            return value.get(part)
        return None if value == "" or value == [] else value

    return read


def _read_address(key: str) -> Reader:
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        value = record[raw] if raw in record else record.get(key)
        if isinstance(value, dict):
            return _join([part for part in map(value.get, _ADDRESS_PARTS) if part])
        return None if value == "" or value == [] else value

    return read


def _read_connection(key: str) -> Reader:
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        value = record[raw] if raw in record else record.get(key)
        if not value:
            return None
        if isinstance(value, list):
            return _join([_identify(one) for one in value if one])
        return _identify(value)

    return read


def _identify(connected: Any) -> Any:
    """What a connected record is called."""
    if isinstance(connected, dict):
        return connected["identifier"] if "identifier" in connected else connected.get("id")
    return connected


def _read_displayed(key: str) -> Reader:
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        value = record.get(key)
        if not value:
            value = record.get(raw, value)
        if value == "":
            return None
        return _join(value) if isinstance(value, list) else value

    return read


def _read_timer(key: str) -> Reader:
    raw = f"{key}_raw"

    def read(record: Record) -> Any:
        shown = record.get(key)
        value = record.get(raw, shown)
        text = shown or value
        if isinstance(text, str) and text:
            return text.replace("<span>", "").replace("</span>", "").replace("&nbsp;", "; ")
        return None if value == "" or value == [] else value

    return read
