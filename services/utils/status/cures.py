"""What to do about an error: the README's table of messages, kept beside the code because an image has no README."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("templates") / "cures.md"


def find_cure(error: str) -> str:
    """Cause and cure of an error's line, with code in backquotes; "" where the table does not know it."""
    for message, text in _read_cures():
        if message.search(error):
            return text
    return ""


@cache
def _read_cures() -> list[tuple[re.Pattern[str], str]]:
    """[(what the message looks like, "Cause: cure.")] of the rows that hold a message."""
    cures = []
    for row in TABLE.read_text(encoding="utf-8").splitlines():
        found = re.fullmatch(r"\| `([^`]+)` \| (.+) \| (.+) \|", row)
        if found:
            message, cause, cure = found.groups()
            cures.append((_build_pattern(message), f"{cause[0].upper()}{cause[1:]}: {cure}."))
    return cures


def _build_pattern(message: str) -> re.Pattern[str]:
    """A message as a pattern: "..." stands for anything, a number for any other."""
    parts = [
        re.sub(r"\d+", r"\\d+", re.escape(part.strip())) for part in message.split("...") if part.strip()
    ]
    return re.compile(".*?".join(parts))
