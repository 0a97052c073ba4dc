"""Being told to stop between two steps."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

import pytest

from services.utils.steps import StopAfterStep


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop__told_while_a_line_is_written(number: signal.Signals) -> None:
    """A signal in the middle of a line of the log writes none itself: that would break the line and the run."""
    depth, deepest = 0, 0

    class Stream:
        def write(self, text: str) -> None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(deepest, depth)
            if "next round" in text:
                os.kill(os.getpid(), number)
            depth -= 1

        def flush(self) -> None:
            """Nothing waits."""

    logger = logging.getLogger("services")
    handler = logging.StreamHandler(Stream())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    stop = StopAfterStep()
    try:
        with stop.listening():
            logger.info("next round")
            assert stop.is_wished
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert deepest == 1


def test_stop__ends_a_wait() -> None:
    """A wait is over soon after the signal, not at its end."""
    stop = StopAfterStep()
    with stop.listening():
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        started = time.monotonic()
        assert stop.wait(3600)
        assert time.monotonic() - started < 1800
    assert not StopAfterStep().wait(0.01)
