"""The server's clock: time stamps come from it, so that a test can set, stop and turn it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


class Clock:
    """Time in UTC, cut to milliseconds as Central stores it. It runs with the machine's until it is set."""

    def __init__(self) -> None:
        self._stopped: datetime | None = None
        self._offset = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The time now."""
        with self._lock:
            moment = self._stopped or datetime.now(UTC) + self._offset
        return cut_to_ms(moment)

    def set(self, moment: datetime | str) -> None:
        """Stop the clock at a moment (ISO text or aware datetime); `advance` moves it on."""
        with self._lock:
            self._stopped = read_moment(moment)

    def advance(self, seconds: float) -> datetime:
        """Turn it forward; a running clock runs on from there. Returns: the new time."""
        with self._lock:
            if self._stopped is not None:
                self._stopped += timedelta(seconds=seconds)
            else:
                self._offset += timedelta(seconds=seconds)
        return self.now()

    def run(self) -> None:
        """Let it run again, with the machine's time."""
        with self._lock:
            self._stopped = None
            self._offset = timedelta()

    def http_date(self) -> str:
        """The `Date` header: whole seconds, cut down."""
        return format_datetime(self.now().replace(microsecond=0), usegmt=True)


def cut_to_ms(moment: datetime) -> datetime:
    """Without what is finer than a millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def read_moment(moment: datetime | str) -> datetime:
    """ISO text or a datetime as aware UTC; no zone means UTC."""
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def print_moment(moment: datetime | None) -> str | None:
    """As Central prints it: `2026-11-21T20:41:47.974Z`; None stays None."""
    if moment is None:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
