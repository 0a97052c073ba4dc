"""How many requests may be under way at a time: as many as make a server quicker, few while it is in trouble."""

from __future__ import annotations

import time
from collections.abc import Callable

# Two keep a small server busy; what more are worth is found out.
START, MOST = 2, 4
# Answers by which a number is judged; how much quicker one more must make it; how many rounds until the next try.
ROUND, WORTH, REST = 8, 1.1, 8


class Window:
    """`size` requests at a time. Not for use by two threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = START
        self._clock = clock
        self._settled = START
        self._rest = 0
        # The rate that one more must beat, while one more is tried.
        self._to_beat: float | None = None
        self._answers = 0
        self._amount = 0.0
        self._waited = False
        self._started = clock()

    def note(self, amount: float, *, waited: bool, trouble: bool) -> None:
        """Take notice of an answer.

        Args:
            amount: what it was worth (bytes). waited: a request had to wait for it, so that more could have been
                under way. trouble: the server refused for a while, or did not answer.
        """
        if trouble:
            self.size = 1
            self._to_beat = None
            self._begin()
            return
        self._answers += 1
        self._amount += amount
        self._waited = self._waited or waited
        if self._answers >= ROUND:
            self._judge(self._amount / max(self._clock() - self._started, 1e-9))
            self._begin()

    def _judge(self, rate: float) -> None:
        if self._to_beat is not None:
            if rate >= self._to_beat * WORTH:
                self._settled = self.size
            else:
                self._rest = REST
            self._to_beat = None
            self.size = self._settled
        elif self.size < self._settled:
            self.size += 1
        elif self._rest:
            self._rest -= 1
        elif self._waited and self.size < MOST:
            self._to_beat = rate
            self.size += 1

    def _begin(self) -> None:
        self._answers = 0
        self._amount = 0.0
        self._waited = False
        self._started = self._clock()
