"""What holds for all requests of this process: how patient it is, whether it may write, waits that tests shorten."""

from __future__ import annotations

import time
from collections.abc import Callable

patience_s = float("inf")
longest_s = float("inf")
pace = 1.0
_stopping = False
_ask_first: Callable[[], None] | None = None


def limit_patience(seconds: float) -> None:
    """Let no request of this process be repeated for longer than this, whatever its back-off says."""
    global patience_s
    patience_s = seconds


def limit_waiting(seconds: float) -> None:
    """Let no answer be waited for longer than this by this process, whatever time-outs a system has."""
    global longest_s
    longest_s = min(longest_s, seconds)


def ask_before_writes(may_write: Callable[[], None] | None) -> None:
    """Have this called before every request of this process that may change something; what it raises stops it.

    None: no more.
    """
    global _ask_first
    _ask_first = may_write


def stop_soon(seconds: float) -> None:
    """This process is told to stop: no request is repeated for longer than this, and waits under way end."""
    global _stopping
    _stopping = True
    limit_patience(min(seconds, patience_s))


def check_may_write() -> None:
    """Raise what `ask_before_writes` says, for writes that do not go through `HttpSession`."""
    if _ask_first is not None:
        _ask_first()


def set_testing(part: float, timeout_s: float = float("inf")) -> None:
    """For tests: waits take this part of their time (1.0 is as usual), no answer is waited for beyond `timeout_s`."""
    global pace, longest_s
    pace, longest_s = part, timeout_s


def pause(seconds: float) -> None:
    """Wait, between two requests; every such wait in this package goes through here, so that tests need not.

    Once this process is told to stop (`stop_soon`) no wait is a long one.
    """
    until = time.monotonic() + seconds * pace
    # In short sleeps: an Event's lock may be held by the very thread in which the signal sets it.
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.3))
        if _stopping:
            return
