"""Asynchronous operations: a status address, work that happens later, and the ways it can end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dev.simulators.agol.refusals import Refusal

# Carries the work out up to a share of it (0 to 1) and says how many rows that were.
Work = Callable[[float], int]


@dataclass
class Job:
    """One operation under way. `path` is where its status is asked for."""

    path: str
    layer_name: str
    status: str = "Pending"
    record_count: int = 0
    submitted_ms: int = field(default_factory=lambda: round(time.time() * 1000))
    updated_ms: int = 0

    def describe(self) -> dict[str, Any]:
        """The status answer."""
        return {
            "layerName": self.layer_name,
            "status": self.status,
            "recordCount": self.record_count,
            "submissionTime": self.submitted_ms,
            "lastUpdatedTime": self.updated_ms or self.submitted_ms,
        }

    def plan(
        self, work: Work, end: str, share: float, seconds: float
    ) -> list[tuple[float, Callable[[], None]]]:
        """What happens when: [(seconds from now, function)]. See Switches for `end` and `share`."""
        if end == "hang":
            return []
        first = 0.5 if end == "complete" else share
        last = {"complete": "Completed", "errors": "CompletedWithErrors", "fail": "Failed"}[end]
        return [
            (seconds / 2, lambda: self._advance("InProgress", lambda: work(first))),
            (seconds, lambda: self._advance(last, lambda: work(1.0) if end == "complete" else 0)),
        ]

    def _advance(self, status: str, work: Callable[[], int]) -> None:
        try:
            self.record_count += work()
            self.status = status
        except Refusal:
            self.status = "Failed"
        self.updated_ms = round(time.time() * 1000)
