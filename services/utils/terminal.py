"""What a person at a terminal gets: colours, and bars that log lines do not tear."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from services.utils import env

_CODES = {"red": 31, "green": 32, "yellow": 33}
_LEVELS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


def paint(text: str, color: str, stream: TextIO) -> str:
    """The text in a colour, where the stream is a terminal and nobody asked for none (NO_COLOR).

    color: "red", "green", "yellow", or "" for none.
    """
    if color and stream.isatty() and not env.get("NO_COLOR"):
        return f"\x1b[{_CODES[color]}m{text}\x1b[0m"
    return text


def shows_bars() -> bool:
    """Whether somebody looks at the log on a terminal, as lines for people."""
    return (
        sys.stderr.isatty()
        and env.get("LOG_FORMAT") != "json"
        and logging.getLogger().isEnabledFor(logging.INFO)
    )


class LogHandler(logging.StreamHandler[TextIO]):
    """Log lines on stderr; a bar steps aside for them."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class LogLines(logging.Formatter):
    """Plain lines, UTC; the level in a colour where `paint` gives one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(painted)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        record.painted = paint(record.levelname, _LEVELS.get(record.levelno, ""), sys.stderr)
        return super().format(record)
