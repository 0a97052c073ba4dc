"""The latest runs of a script as two rows of small bars: how long each took, and how many records it moved."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from services.utils.ledger import PastRun

STEP, BAR = 10, 7
TOP, BOTTOM = 44, 34
GAP = 6
# A bar's colour: what became of the run.
KINDS = {
    "ok": "good",
    "partial": "warn",
    "stopped": "warn",
    "failed": "bad",
    "dead": "bad",
    "running": "busy",
}


@dataclass(frozen=True)
class Chart:
    """width, height: of the picture. bars: (kind, SVG path data), durations coloured by outcome; moved: path data."""

    width: int
    height: int
    bars: list[tuple[str, str]]
    moved: str
    words: str
    longest_s: float
    most_moved: int


def build_chart(runs: Sequence[PastRun], now: dt.datetime, slots: int) -> Chart:
    """Draw runs, oldest first, the latest at the right; `slots`: how many there is room for."""
    runs = runs[-slots:]
    seconds = [measure_s(run, now) for run in runs]
    longest_s = max(seconds, default=0.0)
    most_moved = max((run.moved for run in runs), default=0)
    bars: dict[str, list[str]] = {}
    moved = []
    for number, (run, taken_s) in enumerate(zip(runs, seconds), slots - len(runs)):
        x = number * STEP
        height = max(2, round(taken_s / longest_s * TOP)) if longest_s else 2
        kind = KINDS.get(run.state, "idle")
        bars.setdefault(kind, []).append(f"M{x} {TOP}v-{height}h{BAR}v{height}z")
        if run.moved:
            depth = max(2, round(run.moved / most_moved * BOTTOM))
            moved.append(f"M{x} {TOP + GAP}v{depth}h{BAR}v-{depth}z")
    failed = sum(KINDS.get(run.state) == "bad" for run in runs)
    words = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}, {failed} failed"
    if runs:
        words += f"; the longest took {tell_length(longest_s)}, the most moved were {most_moved:,} records"
    return Chart(
        width=slots * STEP,
        height=TOP + GAP + BOTTOM,
        bars=[(kind, "".join(paths)) for kind, paths in bars.items()],
        moved="".join(moved),
        words=words,
        longest_s=longest_s,
        most_moved=most_moved,
    )


def measure_s(run: PastRun, now: dt.datetime) -> float:
    """How long a run took, or has taken so far, in seconds."""
    return max(0.0, ((run.finished_at or now) - run.started_at).total_seconds())


def tell_length(seconds: float) -> str:
    """A length of time in its two greatest units: "0.4 s", "12 s", "3 min 5 s", "2 h 10 min", "4 d 3 h"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, inner, size in (("d", "h", 86400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= size:
            rest = whole % size * {"d": 24, "h": 60, "min": 60}[unit] // size
            return f"{whole // size} {unit}" + (f" {rest} {inner}" if rest else "")
    return f"{whole} s"
