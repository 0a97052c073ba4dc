"""How everything stands, as a table for a terminal."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator

from services.utils.status.report import ContainerReport, Line, Report

_COLUMNS = (
    "app/container",
    "env",
    "script",
    "state",
    "started",
    "last ok",
    "moved",
    "refused",
    "destination",
)
# What moves a terminal's cursor or a reader's eye: C0, C1 and DEL, and the marks that turn text around.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def show_text(text: str) -> str:
    """A text from outside in which nothing is hidden: control and direction marks as \\x1b or \\u202e."""
    return _UNSEEN.sub(lambda mark: ascii(mark[0])[1:-1], text)


def build_table(report: Report, *, rejects: bool = False) -> Iterator[str]:
    """Lines: one for each script and container, its error below; with rejects, what is refused and why."""
    lines = [(one, line) for one in report.containers for line in one.lines]
    rows = [_COLUMNS, *(_describe(one, line) for one, line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        if number:
            line = lines[number - 1][1]
            if line.latest and line.latest.error:
                yield f"    {show_text(line.latest.error)}"
            if rejects:
                for reject in line.rejects:
                    yield f"    refused {show_text(reject.record_id)}: {show_text(reject.reason)}"


def _describe(one: ContainerReport, line: Line) -> tuple[str, ...]:
    latest = line.latest
    state = line.words if latest is None or line.words in ("late", "overdue") else latest.state
    return (
        show_text(one.name),
        one.env,
        line.script,
        state,
        tell_time(latest.started_at if latest else None),
        tell_time(latest.last_ok_at if latest else None),
        f"{latest.inserted + latest.updated + latest.deleted} of {latest.read}" if latest else "",
        str(latest.open_rejects) if latest else "",
        show_text(line.destination),
    )


def tell_time(when: dt.datetime | None) -> str:
    """A time in UTC, to the second; "never" for None."""
    return when.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ") if when else "never"
