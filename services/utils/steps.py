"""Scripts run one after another, and again at an interval; each in a process of its own.

A process a step keeps memory flat for months, and makes a step here exactly what it is elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from services.utils.cli import EXIT_OK, EXIT_PARTIAL, Summary
from services.utils.records import Counts

log = logging.getLogger(__name__)

SERVICES = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """A step that has ended. summary: its last line of stdout; empty if it gave none."""

    script: str
    code: int
    summary: dict[str, Any]

    @property
    def counts(self) -> Counts:
        """What it moved."""
        return Counts(**{name: int(self.summary.get(name, 0)) for name in Counts().as_dict()})


class StopAfterStep:
    """Turns SIGTERM and Ctrl-C into a wish: the step under way ends first."""

    def __init__(self) -> None:
        # A plain name: a signal may come while this very thread holds the lock of a log or an event.
        self._signal = ""

    @property
    def is_wished(self) -> bool:
        """Whether the process was told to stop."""
        return bool(self._signal)

    def wait(self, seconds: float) -> bool:
        """Sleep, but hardly longer than until the process is told to stop; whether it was."""
        until = time.monotonic() + seconds
        while not self._signal and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.3))
        return self.is_wished

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals within the block."""

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = signal.Signals(number).name

        before = [(number, signal.signal(number, note)) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)
            if self._signal:
                log.info("%s: stopped after the step that was under way", self._signal)


def run_step(script: str, flags: Sequence[str]) -> Outcome:
    """Run one script to its end; its log goes where ours goes.

    The step is out of reach of the terminal's Ctrl-C: it ends, and then the loop does.
    """
    done = subprocess.run(
        [sys.executable, str(SERVICES / f"{script}.py"), *flags],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        start_new_session=True,
    )
    lines = done.stdout.strip().splitlines()
    summary: dict[str, Any] = {}
    if lines:
        with contextlib.suppress(ValueError):
            summary = json.loads(lines[-1])
    return Outcome(script, done.returncode, summary)


def run_round(plan: Sequence[tuple[str, Sequence[str]]], stop: StopAfterStep) -> Summary:
    """Run the steps of a plan (script, flags) in turn; what all of them did together.

    A step that fails does not keep the later ones from being tried: each works from what the store has.
    """
    summary = Summary()
    failed: list[str] = []
    for script, flags in plan:
        if stop.is_wished:
            summary.status = "stopped"
            break
        outcome = run_step(script, flags)
        summary.counts.add(outcome.counts)
        if outcome.code == EXIT_PARTIAL and not failed:
            summary.status = "partial"
        elif outcome.code not in (EXIT_OK, EXIT_PARTIAL):
            summary.status = "failed"
            failed.append(script)
    if failed:
        log.error("%s failed; the lines above say why. The next round tries again.", " and ".join(failed))
    return summary


def tick(interval_s: float, stop: StopAfterStep) -> Iterator[int]:
    """Numbers of rounds, each begun at a whole multiple of the interval after the first: no drift.

    A round that takes longer than the interval lets those pass that it has missed. Ends when told to stop.
    """
    first = time.monotonic()
    number = 0
    while not stop.is_wished:
        number += 1
        yield number
        if stop.is_wished:
            return
        passed = time.monotonic() - first
        wait_s = interval_s - passed % interval_s
        at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=wait_s)
        log.info("next round at %s", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        if stop.wait(wait_s):
            return
