"""`session.set_testing` and `session.ask_before_writes`: waits a fraction, and leave to write."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dev.simulators.base import Answer, Request, Simulator
from services.utils import session
from services.utils.errors import OutcomeUnknown, SourceError


class _Yes(Simulator):
    def answer(self, request: Request) -> Answer:
        return Answer.json({"yes": True})


@pytest.fixture
def yes() -> Iterator[_Yes]:
    """A server that says yes to everything."""
    with _Yes() as simulator:
        yield simulator


@pytest.fixture
def quick() -> Iterator[None]:
    """Waits of this process take a hundredth; as usual again afterwards."""
    session.set_testing(0.01, timeout_s=0.2)
    yield
    session.set_testing(1.0)


def _open(yes: _Yes) -> session.HttpSession:
    return session.HttpSession(
        yes.url, "Yes", SourceError, backoff=session.Backoff(attempts=6, deadline_s=60.0)
    )


def test_set_testing__waits_a_part_and_still_gives_up(yes: _Yes, quick: None) -> None:
    """Five waits of some seconds in all pass in a moment, and the sixth failure is still the last."""
    yes.faults.add("503", times=None, headers={"Retry-After": "2"})
    with pytest.raises(OutcomeUnknown, match="gave up after 6 tries"):
        _open(yes).request("GET", "/", repeatable=True)
    assert yes.count() == 6


def test_set_testing__no_answer_is_waited_for_longer(yes: _Yes, quick: None) -> None:
    """A server that hangs is given up after the testing time-out, and asked again."""
    yes.faults.add("slow", seconds=3.0)
    assert _open(yes).request("GET", "/", repeatable=True).status_code == 200
    assert yes.count() == 1, "the hanging one has not been answered yet"


def test_limit_waiting__only_ever_shortens(yes: _Yes, quick: None) -> None:
    """No answer is waited for longer than the process allows; allowing more afterwards changes nothing."""
    session.set_testing(0.01)
    session.limit_waiting(0.2)
    session.limit_waiting(60.0)
    yes.faults.add("slow", seconds=3.0)
    assert _open(yes).request("GET", "/", repeatable=True).status_code == 200
    assert yes.count() == 1, "the hanging one has not been answered yet"


def test_rate_limiter__keeps_its_pace_in_testing(quick: None) -> None:
    """Ten a second are a thousand a second at a hundredth, and never all at once."""
    limiter = session.RateLimiter(10)
    started = time.monotonic()
    for _ in range(20):
        limiter.wait()
    assert time.monotonic() - started > 0.015


def test_ask_before_writes__stops_writes_and_lets_reads_pass(yes: _Yes) -> None:
    """What is asked before a write may stop it, also before it is tried again; reading needs no leave."""
    answers = iter([None, SourceError("no more")])

    def ask() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    session.ask_before_writes(ask)
    try:
        yes.faults.add("503")
        _open(yes).request("GET", "/", repeatable=True)
        yes.faults.add("503")
        with pytest.raises(SourceError, match="no more"):
            _open(yes).request("POST", "/", repeatable=True)
    finally:
        session.ask_before_writes(None)
    assert [seen.method for seen in yes.requests] == ["GET", "GET", "POST"]
    _open(yes).request("POST", "/", repeatable=True)
