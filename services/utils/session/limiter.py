"""How many requests may start in a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from services.utils.session import process


class RateLimiter:
    """At most `per_second` requests a second, shared by all threads that hold it.

    burst: so many may start at once, and no more of them in any `burst / per_second` seconds.
    """

    def __init__(self, per_second: float, burst: int = 1) -> None:
        self._window_s = burst / per_second
        self._burst = burst
        self._starts: list[float] = []
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until the next request may start."""
        with self._lock:
            now = time.monotonic()
            start = self.book(now, self._window_s * process.pace)
        if start > now:
            time.sleep(start - now)

    def book(self, now: float, window_s: float) -> float:
        """When the next request may start, by the monotonic clock, with `burst` of them in `window_s` at most."""
        start = self.find_start(self._starts, now, window_s)
        self._starts = [*self._starts, start][-self._burst :]
        return start

    def find_start(self, starts: Sequence[float], now: float, window_s: float) -> float:
        """When the next may start after those that are booked, oldest first; never with one of them."""
        start = max(now, starts[-1] + 1e-6) if starts else now
        return start if len(starts) < self._burst else max(start, starts[-self._burst] + window_s)
