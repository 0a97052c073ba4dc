"""Every error the commands raise, as a tree.

ServiceError                a known failure: one line for people, an exit code for schedulers
├── ConfigError             wrong flag, variable or setting: nothing was sent (exit 2)
├── SourceError             Knack or ODK Central did not give what was asked (exit 1)
├── StoreError              PostgREST or the database refused or failed (exit 1)
└── PublishError            a destination refused or failed (exit 1)

Stopped                     SIGTERM or Ctrl-C (exit 1); no ServiceError, because it comes anywhere at all

A request's failure is one of two, and the difference decides what may be repeated:

RequestRefused              the server said no: the request was surely not carried out
OutcomeUnknown              no readable answer: it may or may not have been carried out
"""

from __future__ import annotations

from collections.abc import Sequence


class ServiceError(Exception):
    """A known failure. Its text is one line: what happened, where, what was (not) done, what to do."""

    exit_code = 1


class ConfigError(ServiceError):
    """A flag, variable or setting is wrong; nothing was sent."""

    exit_code = 2


class SourceError(ServiceError):
    """A source did not give what was asked."""


class StoreError(ServiceError):
    """The store (PostgREST, PostgreSQL) refused or failed."""


class PublishError(ServiceError):
    """A destination refused or failed. `rejected` are the keys of the records it refused, if known."""

    def __init__(self, message: str, rejected: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.rejected = list(rejected)


class Stopped(KeyboardInterrupt):
    """The run was told to stop (SIGTERM or Ctrl-C).

    Raised by a signal, so in the middle of anything: as an Exception it would be swallowed where a library
    catches those (logging does, while it writes a line), and the run would go on as if nobody had asked.
    """

    exit_code = 1


class RequestFailed(ServiceError):
    """A request that did not succeed; mixed with the system's own error class by the session.

    `status` is the HTTP status, 0 where no answer came. `body` is the answer's text (up to 2,000
    characters), for code that must tell one refusal from another; it is never part of the message,
    because it may hold record content.
    """

    def __init__(self, message: str, status: int = 0, body: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.code = code


class RequestRefused(RequestFailed):
    """The server answered no: the request was surely not carried out."""


class OutcomeUnknown(RequestFailed):
    """No readable answer came: the request may or may not have been carried out."""
