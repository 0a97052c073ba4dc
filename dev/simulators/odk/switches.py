"""How the server behaves, where real ones are configured or differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Switches:
    """Settings that a test may also change while the simulator runs.

    public_url: the domain of links and contexts in answers ("": the simulator's own address).
    s3: attachments answer 307 to the second host (`files_url`), which refuses a request that carries Authorization.
    s3_seconds: how long such a link is good.
    secure_only: Basic and cookies need https (or `X-Forwarded-Proto: https`); False takes them on plain HTTP.
    deleted_filter: whether `__system/deletedAt` can be filtered (not before v2024.3: 501.5).
    max_head_bytes: 431 with an empty body above it, counted over the request line and the headers.
    database_down: every request is a bare 500.
    """

    public_url: str = ""
    s3: bool = False
    s3_seconds: float = 60.0
    secure_only: bool = True
    deleted_filter: bool = True
    max_head_bytes: int = 16_384
    database_down: bool = False
