"""What Central says when it refuses: status, code, message and details, as JSON or XML."""

from __future__ import annotations

import json
from typing import Any

from dev.simulators.base import Answer


class Problem(Exception):
    """A refusal. code: Central's number, such as 404.1; its whole part is the status. None: a bare 500."""

    def __init__(self, code: float | None, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 500 if self.code is None else int(self.code)

    def to_json(self) -> Answer:
        """The usual body."""
        body: dict[str, Any] = {"message": self.message}
        if self.code is not None:
            body["code"] = self.code
        if self.details is not None:
            body["details"] = self.details
        return Answer(
            self.status,
            json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            {"Content-Type": "application/json; charset=utf-8"},
        )

    def to_xml(self) -> Answer:
        """The body that `$metadata` gives."""
        message = _escape(self.message)
        # The real one prints an object as JavaScript does.
        details = "" if self.details is None else "[object Object]"
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<error code="{self.code}">\n  <message>{message}</message>\n  <details>{details}</details>\n</error>'
        )
        return Answer(self.status, body.encode(), {"Content-Type": "text/xml; charset=utf-8"})

    def to_openrosa(self) -> Answer:
        """The body that phones get."""
        return openrosa_answer(self.status, self.message, "error")


def openrosa_answer(status: int, message: str, nature: str = "") -> Answer:
    """An OpenRosa response of one message."""
    body = (
        '\n  <OpenRosaResponse xmlns="http://openrosa.org/http/response" items="0">\n'
        f'    <message nature="{nature}">{_escape(message)}</message>\n  </OpenRosaResponse>'
    )
    return Answer(status, body.encode(), {"Content-Type": "text/xml; charset=utf-8"})


def _escape(text: str) -> str:
    for plain, coded in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ('"', "&quot;"),
        ("'", "&#39;"),
        ("/", "&#x2F;"),
        ("`", "&#x60;"),
        ("=", "&#x3D;"),
    ):
        text = text.replace(plain, coded)
    return text


def not_found() -> Problem:
    """404.1"""
    return Problem(404.1, "Could not find the resource you were looking for.")


def not_signed_in() -> Problem:
    """401.2"""
    return Problem(401.2, "Could not authenticate with the provided credentials.")


def https_only() -> Problem:
    """401.3"""
    return Problem(401.3, "This authentication method is only available over HTTPS")


def forbidden() -> Problem:
    """403.1"""
    return Problem(403.1, "The authentication you provided does not have rights to perform that action.")


def bad_type(value: str, expected: str) -> Problem:
    """400.11"""
    return Problem(
        400.11,
        f'Invalid input data type: expected "{value}" to be ({expected})',
        {"value": value, "expected": expected},
    )


def internal_error() -> Problem:
    """A 500 without a code."""
    return Problem(None, "Internal Server Error")


def unsupported_feature(feature: str) -> Problem:
    """501.1"""
    return Problem(
        501.1, f"The requested feature {feature} is not supported by this server.", {"feature": feature}
    )


def unexpected_value(field: str, value: str, reason: str) -> Problem:
    """400.8"""
    return Problem(
        400.8,
        f"Unexpected {field} value {value}; {reason}",
        {"field": field, "value": value, "reason": reason},
    )


def missing_parameters(expected: list[str], got: dict[str, Any]) -> Problem:
    """400.3"""
    shown = ", ".join(f"{name}: {_show(got.get(name))}" for name in expected)
    given = {name: got[name] for name in expected if got.get(name) is not None}
    return Problem(
        400.3,
        f"Required parameters missing. Expected ({', '.join(expected)}), got ({shown}).",
        {"expected": expected, "got": given},
    )


def _show(value: Any) -> str:
    return "undefined" if value is None else f"'{value}'"
