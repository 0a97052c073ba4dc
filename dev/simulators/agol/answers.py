"""Answers in the service's own forms: JSON, the directory's pages, errors in a 200 body."""

from __future__ import annotations

import html
from typing import Any

import msgspec

from dev.simulators.agol.refusals import Refusal
from dev.simulators.base import Answer

_ERRORS = {
    400: ("Unable to complete operation.", "Unable to perform operation."),
    403: ("You do not have permissions to access this resource or perform this operation.", ""),
    498: ("Invalid token.", "Invalid token."),
    499: ("Token Required", "Token Required"),
    500: ("Unable to complete operation.", "Error performing operation."),
    504: ("Your request has timed out.", ""),
}


def format_json(value: Any) -> Answer:
    """JSON with status 200."""
    return Answer(200, msgspec.json.encode(value), {"Content-Type": "application/json; charset=utf-8"})


def format_page(words: str, status: int = 200) -> Answer:
    """An HTML page."""
    return Answer.text(
        "<!DOCTYPE html><html><head><title>ArcGIS REST Services Directory</title></head>"
        f"<body><h2>{html.escape(words)}</h2></body></html>",
        status,
    )


def refuse_code(code: int, seconds: float = 1.0) -> Refusal:
    """The error that usually goes with a code; 429 asks to wait so many seconds, rounded up."""
    if code == 429:
        return Refusal(
            429,
            "Unable to perform query. Too many requests.",
            "API calls quota exceeded! Maximum admitted number of units per minute is reached. "
            f"Retry after {max(1, -int(-seconds // 1))} sec.",
        )
    message, detail = _ERRORS[code]
    return Refusal(code, message, *filter(None, [detail]))
