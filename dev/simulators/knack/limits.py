"""Knack's two limits: requests in a second, and calls in a day by plan."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Limits:
    """Counts calls; a call over a limit is not counted.

    per_second: None switches the limit off. plan: calls a day; `used` may be set to order the end of them.
    """

    def __init__(self, per_second: int | None, plan: int, clock: Callable[[], datetime]) -> None:
        self.per_second = per_second
        self.plan = plan
        self.used = 0
        self._clock = clock
        self._taken: deque[float] = deque()

    def take(self, counts: bool) -> bool:
        """Whether a call may go on. counts: it is one of those that the plan limits."""
        now = time.monotonic()
        while self._taken and now - self._taken[0] >= 1.0:
            self._taken.popleft()
        if self.per_second is not None and len(self._taken) >= self.per_second:
            return False
        if counts and self.used >= self.plan:
            return False
        if self.per_second is not None:
            self._taken.append(now)
        self.used += counts
        return True

    def headers(self) -> dict[str, str]:
        """X-RateLimit-* (Reset: epoch seconds) and X-PlanLimit-* (Reset: milliseconds to 00:00 UTC)."""
        limit = self.per_second if self.per_second is not None else 10
        now = self._clock().astimezone(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - len(self._taken))),
            "X-RateLimit-Reset": str(math.ceil(time.time() + 1)),
            "X-PlanLimit-Limit": str(self.plan),
            "X-PlanLimit-Remaining": str(max(0, self.plan - self.used)),
            "X-PlanLimit-Reset": str((midnight - now) // timedelta(milliseconds=1)),
        }
