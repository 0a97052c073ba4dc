"""What a person at a terminal sees, and what a log file gets instead."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from typing import Any

import pytest

from services.utils import progress
from tests.scripts.conftest import APP, ROOT, SIGNALS, Way


def run_at_terminal(way: Way, *flags: str, **changed: str) -> tuple[str, str]:
    """Run the load with stderr on a terminal of 120 columns; (stdout, what the terminal showed)."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    env = {**way.env, "TERM": "xterm-256color", "PYTHONUTF8": "1", **changed}
    process = subprocess.Popen(
        [sys.executable, "services/records_to_postgrest.py", "-a", APP, "-e", "prod", *flags],
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux' way to say that nobody holds the other end any more
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.stdout is not None
    stdout = process.stdout.read().decode()
    process.wait()
    process.stdout.close()
    return stdout, shown.decode()


def test_terminal__a_bar_and_colours(way: Way) -> None:
    """A load draws a bar with a rate, which goes away in the end; errors are in colour; stdout holds the summary."""
    assert way.run("metadata_to_postgrest").code == 0
    stdout, shown = run_at_terminal(way, "-c", SIGNALS)
    total = len(way.source(SIGNALS))
    assert re.search(rf"fetching records: .*%.*/{total}\.\d.*/s", shown), shown
    assert re.search(r"\r {20,}\r[^\r]*were inserted", shown), "the bar stayed"
    assert len(stdout.strip().splitlines()) == 1
    _, shown = run_at_terminal(way, "-c", "nowhere")
    assert "\x1b[31mERROR\x1b[0m" in shown
    _, shown = run_at_terminal(way, "-c", "nowhere", NO_COLOR="1")
    assert " ERROR " in shown
    assert "\x1b[" not in shown


def test_terminal__json_lines_stay_json(way: Way) -> None:
    """Who asks for JSON lines gets nothing else, on a terminal too."""
    assert way.run("metadata_to_postgrest").code == 0
    _, shown = run_at_terminal(way, "-c", SIGNALS, LOG_FORMAT="json")
    assert all(line.startswith("{") for line in shown.strip().splitlines())


def test_log_file__no_bar_no_colour(way: Way) -> None:
    """A log that no terminal shows has neither carriage returns nor colours."""
    assert way.run("metadata_to_postgrest").code == 0
    done = way.load(SIGNALS)
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "fetching records" not in done.stderr


def test_progress__a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Without a terminal a line tells how many of how many, how fast, and how long it will take."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level("INFO"):
        under_way = progress.Progress("fetching records")
        for _ in range(25):
            clock[0] += 1.0
            under_way.add(1000, 100_000)
        for clock[0] in range(26, 31):
            list(progress.track(range(3), "reading documents"))
    assert caplog.messages == [
        "fetching records: 10,000 of 100,000, 1,000 a second, 90 s to go".replace("90 s", "2 min"),
        "fetching records: 20,000 of 100,000, 1,000 a second, 80 s to go",
    ]


def test_track__passes_everything_on() -> None:
    """Nothing is lost or reordered by being counted."""
    assert list(progress.track(iter("abc"), "reading documents")) == ["a", "b", "c"]


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_describe_seconds(seconds: float, said: str) -> None:
    """Lengths of time as people say them."""
    assert progress.describe_seconds(seconds) == said
