"""How the service says no: for a whole request, and for one feature of it."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """The whole request is refused: a JSON error in an HTTP 200 body."""

    def __init__(self, code: int, message: str, *details: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = list(details)
        self.more = more

    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error": {"code": self.code, **self.more, "message": self.message, "details": self.details}}


class EditRefusal(Exception):
    """One feature is refused: `error` of its entry in the results."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


def refuse_query(detail: str) -> Refusal:
    """A query's parameter is wrong."""
    return Refusal(400, "Cannot perform query. Invalid query parameters.", detail)


def refuse_edit(detail: str) -> Refusal:
    """An edit's parameter is wrong."""
    return Refusal(400, "Cannot perform operation. Invalid operation parameters.", detail)
