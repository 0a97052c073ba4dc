"""How often and how long a request is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from services.utils.session import process


@dataclass(frozen=True)
class Backoff:
    """How often and how long: waits of about 0.3, 0.6, 1.2 ... seconds, at most `max_wait_s`, with jitter.

    attempts: how often a request may fail; being told to wait is no failure. deadline_s: no attempt starts
    later than this after the first one; a wait that would pass it ends the trying at once.
    """

    attempts: int = 8
    factor_s: float = 0.3
    max_wait_s: float = 30.0
    jitter_s: float = 0.3
    deadline_s: float = 600.0


class Waits:
    """The waits between the tries of one request, within its back-off and this process' patience."""

    def __init__(self, limits: Backoff) -> None:
        self._limit_s = limits.deadline_s
        self._least_s = limits.factor_s
        self._started = time.monotonic()
        from urllib3.util import Retry

        self._retry = Retry(
            total=None,
            backoff_factor=limits.factor_s,
            backoff_max=limits.max_wait_s,
            backoff_jitter=limits.jitter_s,
        )

    @property
    def deadline_s(self) -> float:
        """Seconds after the first try up to which others may start; patience may end on the way."""
        return min(self._limit_s, process.patience_s)

    def find_next(self, wish_s: float | None = None) -> float | None:
        """Seconds to wait now, the server's wish if it has one; None where the next try would come too late."""
        self._retry = self._retry.increment(error=None, response=None)
        # A wish of no wait at all (a date gone by, say) is none: it would be granted a thousand times a second.
        wait_s = wish_s or max(self._retry.get_backoff_time(), self._least_s)
        late = time.monotonic() - self._started + wait_s * process.pace > self.deadline_s
        return None if late else wait_s
