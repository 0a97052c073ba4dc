"""Applies `sql/` to a database, in order; the only code with a database driver."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from services.utils.errors import ConfigError, StoreError

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

SQL = Path(__file__).resolve().parents[2] / "sql"
_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
# One migrate at a time on a database: the number is this project's own.
_LOCK = 827_190_001

_TABLE = """
create schema if not exists store;
revoke all on schema store from public;
create table if not exists store.migrations (
    name text primary key,
    digest text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on schema store is 'What migrate.py keeps for itself.';
comment on table store.migrations is 'Migrations that were applied.';
comment on column store.migrations.name is 'The file in sql/migrations.';
comment on column store.migrations.digest is 'SHA-256 of the file: a file that was applied never changes.';
comment on column store.migrations.applied_at is 'When it was applied.';
"""


def list_migrations(folder: Path = SQL) -> list[Path]:
    """The migration files in the order they are applied.

    Raises: ConfigError if a name is not NNNN_verb_what.sql or a number stands twice.
    """
    paths = sorted((folder / "migrations").glob("*.sql"))
    if not paths:
        raise ConfigError(
            f"No migrations in {folder / 'migrations'}. Nothing was applied. Is the sql folder there?"
        )
    numbers = [path.name[:4] for path in paths]
    for path in paths:
        if not _NAME.fullmatch(path.name) or numbers.count(path.name[:4]) > 1:
            raise ConfigError(
                f"{path.name} is no migration: names are NNNN_verb_what.sql, each number once. "
                "Nothing was applied."
            )
    return paths


def apply_migrations(database_url: str, folder: Path = SQL, upto: str = "9999") -> list[str]:
    """Bring a database up to date: each new migration in a transaction of its own, then roles and grants.

    Args:
        database_url: a libpq URL of a role that may create schemas and roles.
        upto: the last number to apply, for tests of upgrades; roles.sql is applied only after the last one.
    Returns: the names of the migrations applied now; empty when all were there.
    Raises: StoreError if the database cannot be reached or refuses; ConfigError if an applied file changed.
    """
    import psycopg

    paths = list_migrations(folder)
    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=10) as connection:
            connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
            connection.execute(_TABLE.encode())
            applied = _apply_new(connection, [path for path in paths if path.name[:4] <= upto])
            if paths[-1].name[:4] <= upto:
                with connection.transaction():
                    connection.execute((folder / "roles.sql").read_bytes())
            connection.execute("notify pgrst, 'reload schema'")
            return applied
    except psycopg.Error as error:
        raise StoreError(_explain(error)) from error


def _apply_new(connection: psycopg.Connection, paths: list[Path]) -> list[str]:
    known = {
        str(name): str(digest)
        for name, digest in connection.execute("select name, digest from store.migrations")
    }
    applied = []
    for path in paths:
        statements = path.read_bytes()
        digest = hashlib.sha256(statements).hexdigest()
        if path.name in known:
            if known[path.name] != digest:
                raise ConfigError(
                    f"{path.name} was changed after it had been applied to this database. Nothing more was "
                    "applied. Put the file back as it was, and write the change as a new migration."
                )
            continue
        log.info("applying %s", path.name)
        with connection.transaction():
            connection.execute(statements)
            connection.execute(
                "insert into store.migrations (name, digest) values (%s, %s)", (path.name, digest)
            )
        applied.append(path.name)
    return applied


def _explain(error: psycopg.Error) -> str:
    import psycopg

    if isinstance(error, psycopg.ProgrammingError) and not error.sqlstate:
        # The library repeats what it could not read, password included.
        return "DATABASE_URL is not a libpq URL (postgresql://user:password@host:5432/name). Nothing was applied."
    text = str(error.diag.message_primary or error).strip().splitlines()[0]
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    return (
        f"The database refused or could not be reached{code}: {text}. Migrations applied before this one are "
        "kept, this one was rolled back. Check DATABASE_URL, that the server runs, and that its role may "
        "create schemas and roles."
    )
