"""The store as a check sees it: the token, the schema."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import msgspec

from services.utils import migrations
from services.utils.checking.asking import NAMES, Asker
from services.utils.checking.findings import ERROR, NOTE, WARNING, Report
from services.utils.env import StoreSettings
from services.utils.errors import RequestRefused
from services.utils.postgrest import PostgREST

WHERE = NAMES["store"]
SOON = dt.timedelta(days=7)


class _Migration(msgspec.Struct):
    name: str
    digest: str


def check_store(settings: StoreSettings, asker: Asker) -> PostgREST | None:
    """Check the token and the schema; the store to ask further, None where it does not answer."""
    report = asker.report
    postgrest = asker.ask("store", WHERE, lambda: PostgREST(settings))
    if postgrest is None:
        asker.down.add("store")
        return None
    if settings.jwt:
        _check_claims(settings.jwt, report)
    role = _read_claims(settings.jwt).get("role") if settings.jwt else settings.role
    if role == "api_publisher":
        report.add(
            NOTE,
            WHERE,
            "the token's role api_publisher publishes only; loads, metadata and media need api_user.",
        )
    elif role != "api_user":
        report.add(
            ERROR,
            WHERE,
            f"the token's role is {role!r}: loads need api_user, publishers api_publisher. Make a token with "
            "mint_token.py --role, or correct PGREST_ROLE.",
        )
    if asker.ask("store", WHERE, lambda: _check_schema(postgrest, report)) is None:
        asker.down.add("store")
        return None
    return postgrest


def _read_claims(token: str) -> dict[str, Any]:
    import jwt

    return dict(jwt.decode(token, options={"verify_signature": False}))


def _check_claims(token: str, report: Report) -> None:
    ends = _read_claims(token).get("exp")
    if not isinstance(ends, int | float):
        report.add(
            WARNING,
            WHERE,
            "the token in PGREST_JWT never expires. Make one that does (mint_token.py --lifetime 90d), or set "
            "PGREST_JWT_SECRET and PGREST_ROLE for tokens of minutes.",
        )
        return
    until = dt.datetime.fromtimestamp(ends, dt.UTC)
    if until - dt.datetime.now(dt.UTC) < SOON:
        report.add(
            WARNING,
            WHERE,
            f"the token in PGREST_JWT expires at {until:%Y-%m-%d %H:%M} UTC. Make a new one with mint_token.py.",
        )


def _check_schema(postgrest: PostgREST, report: Report) -> bool:
    """Compare the migrations that the database has with those that are here. Returns: True."""
    here = {path.name: path for path in migrations.list_migrations()}
    try:
        body = postgrest.http.request("GET", "/rpc/migrations", repeatable=True, what="migrations").content
    except RequestRefused as error:
        if error.status != 404:
            raise
        report.add(ERROR, WHERE, "its schema is older than this program. Run migrate.py.")
        return True
    there = {one.name: one.digest for one in msgspec.json.decode(body, type=list[_Migration])}
    lacking = [name for name in here if name not in there]
    if lacking:
        report.add(ERROR, WHERE, f"its schema lacks {', '.join(lacking)}. Run migrate.py.")
    newer = [name for name in there if name not in here]
    if newer:
        report.add(
            WARNING,
            WHERE,
            f"its schema has {', '.join(newer)}, which this program does not know. Bring this program up to date.",
        )
    for name, path in here.items():
        if name in there and hashlib.sha256(path.read_bytes()).hexdigest() != there[name]:
            report.add(
                WARNING, WHERE, f"{name} is not the file that was applied there. Put it back as it was."
            )
    return True
