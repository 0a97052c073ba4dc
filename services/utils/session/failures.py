"""Requests that failed, as errors: of the system that was asked, and of what is known of the outcome."""

from __future__ import annotations

from typing import Any

from services.utils.errors import OutcomeUnknown, RequestRefused, ServiceError


def build_failure(
    error: type[ServiceError],
    kind: type[RequestRefused] | type[OutcomeUnknown],
    message: str,
    status: int = 0,
    body: str = "",
    code: str = "",
) -> ServiceError:
    """An error to raise that is both the system's own and the kind of failure, so that either can be caught."""
    failure: ServiceError = _mixed(error, kind)(message, status, body, code)
    return failure


_MIXED: dict[tuple[type, type], type] = {}


def _mixed(error: type[ServiceError], kind: type) -> Any:
    if (error, kind) not in _MIXED:
        _MIXED[error, kind] = type(f"{error.__name__}{kind.__name__}", (kind, error), {})
    return _MIXED[error, kind]


def find_no_answer() -> tuple[type[Exception], ...]:
    """What is raised where no whole answer came."""
    import requests

    return (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
    )


def name_failure(error: Exception) -> str:
    """Words for a request without an answer; the library's own text may hold the query string."""
    import requests

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS handshake failed (wrong scheme or untrusted certificate)"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "the answer was cut short"
    if "refused" in str(error).lower():
        return "connection refused (is it running at this address?)"
    if "resolve" in str(error).lower():
        return "the host name is not known"
    return "the connection was lost"
