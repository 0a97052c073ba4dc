"""How far a run is: a bar on a terminal, elsewhere a line in the log every ten seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from services.utils.terminal import shows_bars

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger(__name__)

SAY_S = 10.0
_DRAW_S = 0.1
Item = TypeVar("Item")


class Progress:
    """One kind of work under way, counted as it is done; safe to leave unclosed.

    what: words for it ("reading documents"). total: how many there will be; 0 where nobody knows.
    """

    def __init__(self, what: str, total: int = 0) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._started = self._said = time.monotonic()
        self._bar: tqdm[Any] | None = None

    def add(self, count: int, total: int = 0) -> None:
        """So many more are done. total: as it is known now."""
        self._done += count
        self._total = total or self._total
        now = time.monotonic()
        if shows_bars():
            self._draw(count)
        elif now - self._said >= SAY_S:
            self._said = now
            log.info("%s", self._describe(now))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _describe(self, now: float) -> str:
        rate = self._done / max(now - self._started, 0.001)
        of = f" of {self._total:,}" if self._total else ""
        left = ""
        if self._total > self._done and rate > 0:
            left = f", {describe_seconds((self._total - self._done) / rate)} to go"
        return f"{self._what}: {self._done:,}{of}, {rate:,.0f} a second{left}"

    def _draw(self, count: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            # Nothing of it stays: what was done stands in the log.
            self._bar = tqdm(
                desc=self._what,
                total=self._total or None,
                initial=self._done - count,
                file=sys.stderr,
                leave=False,
                unit="",
                unit_scale=True,
                dynamic_ncols=True,
                ascii=not _takes_blocks(),
            )
        if self._total and self._bar.total != self._total:
            self._bar.total = self._total
        self._bar.update(count)


def track(items: Iterable[Item], what: str, total: int = 0) -> Iterator[Item]:
    """Pass items on, counting them."""
    progress = Progress(what, total)
    count, told = 0, time.monotonic()
    try:
        for item in items:
            yield item
            count += 1
            if (now := time.monotonic()) - told > _DRAW_S:
                progress.add(count)
                count, told = 0, now
    finally:
        progress.close()


def describe_seconds(seconds: float) -> str:
    """A length of time for people: 45 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _takes_blocks() -> bool:
    return (getattr(sys.stderr, "encoding", "") or "").lower().replace("-", "") == "utf8"
