"""What a person at a terminal gets: colours, and bars."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from services.utils import env

_CODES = {"red": 31, "green": 32, "yellow": 33}


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
