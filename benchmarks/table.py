"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under a head; the first column is words, the others are numbers (floats get two decimals)."""
    texts = [[_format(value) for value in row] for row in rows]
    widths = [max(len(line[place]) for line in [list(head), *texts]) for place in range(len(head))]
    for line in [list(head), ["-" * width for width in widths], *texts]:
        first, *others = line
        print(
            "  ".join([f"{first:<{widths[0]}}", *(f"{t:>{w}}" for t, w in zip(others, widths[1:]))]).rstrip()
        )


def _format(value: Any) -> str:
    return (
        f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
