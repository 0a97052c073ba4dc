"""The audit log's lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dev.simulators.odk.clock import print_moment


@dataclass(frozen=True)
class Entry:
    """One line. actor, form: None where nobody did it, or to nothing in particular."""

    action: str
    actor_id: int | None
    logged_at: datetime
    actee: str | None
    details: dict[str, Any] = field(default_factory=dict)
    submission: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As the log shows it."""
        return {
            "actorId": self.actor_id,
            "action": self.action,
            "acteeId": self.actee,
            "details": self.details,
            "loggedAt": print_moment(self.logged_at),
            "notes": None,
        }
