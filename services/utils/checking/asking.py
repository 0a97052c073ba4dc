"""Questions to systems that may be down: one that does not answer is one finding, and is not asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from services.utils.checking.findings import Report
from services.utils.errors import OutcomeUnknown, RequestRefused

Answer = TypeVar("Answer")

NAMES = {
    "knack": "Knack",
    "odk": "ODK Central",
    "store": "the store",
    "socrata": "Socrata",
    "agol": "ArcGIS Online",
    "s3": "S3",
    "public_id": "public ids",
}
# Refusals that are about who asks, not about what is asked for.
_SIGN_IN_CODES = (
    "app-token",
    "no-sign-in",
    "redirected",
    "plan-limit",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
)


@dataclass
class Asker:
    """Asks systems for the report. usable: those whose variables are there; down: those that are asked no more."""

    report: Report
    usable: set[str]
    down: set[str] = field(default_factory=set)

    def ask(self, system: str, where: str, question: Callable[[], Answer]) -> Answer | None:
        """What a question gives; None where it fails, which is a finding, or where the system is down."""
        if system not in self.usable or system in self.down:
            return None
        try:
            with self.report.guarding(where):
                try:
                    return question()
                except RequestRefused as error:
                    if error.status != 401 and error.code not in _SIGN_IN_CODES:
                        raise
                    self._give_up(system, error)
        except OutcomeUnknown as error:
            self._give_up(system, error)
        return None

    def _give_up(self, system: str, error: RequestRefused | OutcomeUnknown) -> None:
        self.down.add(system)
        self.report.add_error(NAMES[system], error)
