"""What a check finds: a line for each thing that is wrong or worth knowing, with what to do."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.utils.cli import Summary
from services.utils.errors import ConfigError, OutcomeUnknown, ServiceError
from services.utils.records import Counts

ERROR, WARNING, NOTE = "error", "warning", "note"
# Errors say what was not done; a check never does anything.
_NOT_DONE = re.compile(r"(?<=[.;]) ?Nothing was \w+[.;]")


@dataclass(frozen=True)
class Finding:
    """One finding. level: "error" (a run would fail or do harm), "warning" or "note".

    where: app/container, or what it is about. text: what is so, and what to do. online: found by asking a system.
    """

    level: str
    where: str
    text: str
    online: bool = False

    def __str__(self) -> str:
        # Some messages name the container themselves, with its app or without.
        text = self.text.removeprefix(f"{self.where.rpartition('/')[2]}: ")
        said = text if text.startswith(self.where) else f"{self.where}: {text}"
        return f"{self.level:<8} {said}"


@dataclass
class Report:
    """The findings so far, each once. online: whether those to come are found by asking a system."""

    findings: list[Finding] = field(default_factory=list)
    online: bool = False

    def add(self, level: str, where: str, text: str) -> None:
        """Add a finding; a line, whatever its text is."""
        finding = Finding(level, where, " ".join(text.split()), self.online)
        if finding not in self.findings:
            self.findings.append(finding)

    def add_error(self, where: str, error: ServiceError) -> None:
        """Add what an error says, without what was not done."""
        self.add(ERROR, where, _NOT_DONE.sub("", str(error)))

    def count(self, level: str, online: bool | None = None) -> int:
        """How many findings there are of a level; online: only those that were found so, or were not."""
        return sum(one.level == level and online in (None, one.online) for one in self.findings)

    def lines(self, order: Sequence[str]) -> Iterator[str]:
        """A line for each finding: those of one container together, the containers in this order, the rest last."""
        places = {where: place for place, where in enumerate(order)}
        yield from map(str, sorted(self.findings, key=lambda finding: places.get(finding.where, len(places))))

    def summarize(self, containers: int) -> Summary:
        """What the last line of stdout says.

        containers: how many were checked.
        Raises: ConfigError if there are errors that were found without asking a system.
        """
        counts = {f"{level}s": self.count(level) for level in (ERROR, WARNING, NOTE)}
        told = ", ".join(f"{number} {name if number != 1 else name[:-1]}" for name, number in counts.items())
        summary = Summary(counts=Counts(read=containers), more=counts)
        summary.told = f"check of {containers} container{'s' * (containers != 1)}: {told}"
        if self.count(ERROR):
            summary.status = "failed"
        if self.count(ERROR, online=False):
            error = ConfigError(
                f"The configuration is not right ({told}): see the lines above. Nothing was sent."
            )
            error.summary = summary  # type: ignore[attr-defined]
            raise error
        return summary

    @contextlib.contextmanager
    def guarding(self, where: str) -> Iterator[None]:
        """Make a finding of what fails within, and of each warning that is logged there; then go on.

        Raises: OutcomeUnknown if a system does not answer: whoever knows which one makes the finding.
        """
        log = logging.getLogger("services")
        listener, propagated = _Listener(self, where), log.propagate
        log.addHandler(listener)
        # What becomes a finding need not be a line in the log too.
        log.propagate = False
        try:
            yield
        except OutcomeUnknown:
            raise
        except ServiceError as error:
            self.add_error(where, error)
        finally:
            log.removeHandler(listener)
            log.propagate = propagated


class _Listener(logging.Handler):
    def __init__(self, report: Report, where: str) -> None:
        super().__init__(logging.WARNING)
        self._report, self._where = report, where

    def emit(self, record: logging.LogRecord) -> None:
        self._report.add(WARNING, self._where, record.getMessage())
