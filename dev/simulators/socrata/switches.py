"""How the portal behaves, where the real one is configured, varies or is not known."""

from __future__ import annotations

from dataclasses import dataclass, field

PUBLISHER = ("publisher@example.org", "publisher-password")
API_KEY = ("example-key-id", "example-key-secret")
APP_TOKEN = "example-app-token"


@dataclass
class Switches:
    """Settings that a test may also change while the simulator runs. The defaults are the strict reading.

    logins: {user or API key id: password or secret}. viewers: those who may read and not write.
    app_tokens: the tokens that exist.
    requests_per_s: 429 above it; requests_per_s_without_token: the shared pool's limit. None: no limit.
    retry_after: the `Retry-After` of a 429; None sends none.
    max_body_bytes: 413 above it, counted as sent. max_row_bytes: 400 for a row above it.
    write_s, write_s_per_row: how long a write takes, while it holds the dataset's only write lock.
    lock_wait_s: how long a second write waits for that lock; lock_status: then 409 or 500.
    replica_lag_s, replica_lag_reads: for how long, and for how many reads, a write stays unseen.
    reply_style: "all" keys, "legacy" (with By RowIdentifier and By SID), "short" (zeros may be left out),
        "storage" (an array of {typ, id}), or "vary": all, legacy and short in turn.
    row_reply: a bare object as body is answered with that row instead of counts.
    creates_as_updates: counts every created row as an updated one.
    missing_row_id: "refuse" the request, or "count" the row under Errors.
    exact_names: False lets field names differ in case.
    lenient: take "true" for a checkbox, "" for no number, a bare string for a url; read by `create_dataset`.
    soda: "2.1", or "2.0": at most 50,000 rows a read.
    ticket_polls: how often a 202 ticket answers "not yet" before it gives its result.
    """

    logins: dict[str, str] = field(default_factory=lambda: dict([PUBLISHER, API_KEY]))
    viewers: set[str] = field(default_factory=set)
    app_tokens: set[str] = field(default_factory=lambda: {APP_TOKEN})
    requests_per_s: int | None = None
    requests_per_s_without_token: int | None = None
    retry_after: str | None = None
    max_body_bytes: int = 250_000_000
    max_row_bytes: int = 70_000_000
    write_s: float = 0.0
    write_s_per_row: float = 0.0
    lock_wait_s: float = 10.0
    lock_status: int = 409
    replica_lag_s: float = 0.0
    replica_lag_reads: int = 0
    reply_style: str = "vary"
    row_reply: bool = True
    creates_as_updates: bool = False
    missing_row_id: str = "refuse"
    exact_names: bool = True
    lenient: bool = False
    soda: str = "2.1"
    ticket_polls: int = 1
