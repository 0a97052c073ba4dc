"""The stack: one PostgreSQL and one PostgREST before it, in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dev.stack import processes
from dev.stack.binaries import Postgres, write_private
from services.utils.errors import StoreError

POSTGREST_CONFIG = "postgrest.conf"
_PROJECT = Path(__file__).resolve().parents[2]
_MIGRATE_TIMEOUT_S = 300
_CONNECT_TIMEOUT_S = 5
# What is thrown away need not survive a power cut; it must survive the server's end, so commits are written.
_FAST = ("fsync=off", "full_page_writes=off")

# What PostgREST cannot start without, where the schema is not applied.
_BARE_SCHEMA = """
create schema if not exists api;
do $$ begin
  if not exists (select from pg_roles where rolname = 'anon') then
    create role anon nologin;
  end if;
  if not exists (select from pg_roles where rolname = 'authenticator') then
    create role authenticator login noinherit;
  end if;
end $$;
grant anon to authenticator;
"""


@dataclass(frozen=True)
class Stack:
    """A store of its own: PostgreSQL with the project's schema, PostgREST before it.

    Both listen on 127.0.0.1 only; PostgreSQL also on a socket in `sockets`. Ports and passwords stay the
    same for the stack's whole life, whatever is stopped and started in between.

    owner: who stops it: "" for one that runs in the background until it is told to stop.
    """

    folder: Path
    data: Path
    sockets: Path
    owner: str
    throw_away: bool
    port: int
    admin_port: int
    database_port: int
    pool: int
    password: str = field(repr=False)
    authenticator_password: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    postgres: Postgres
    postgrest: Path
    # Ours to ask for their exit codes; the servers are found without it.
    _started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def url(self) -> str:
        """PostgREST's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        """The database, as its superuser: a libpq URL."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.database_port}/postgres"

    @property
    def postgres_log(self) -> Path:
        """PostgreSQL's log."""
        return self.folder / "postgres.log"

    @property
    def postgrest_log(self) -> Path:
        """PostgREST's log: errors and warnings only."""
        return self.folder / "postgrest.log"

    @property
    def postgrest_config(self) -> Path:
        """PostgREST's configuration file; it holds secrets."""
        return self.folder / POSTGREST_CONFIG

    def env(self, role: str = "api_user") -> dict[str, str]:
        """The variables by which the scripts find this store and act in it as `role`."""
        return {
            "PGREST_ENDPOINT": self.url,
            "PGREST_JWT_SECRET": self.jwt_secret,
            "PGREST_ROLE": role,
            "DATABASE_URL": self.database_url,
        }

    def token(self, role: str, lifetime_s: float = 3600) -> str:
        """A PostgREST token for `role`; a negative lifetime gives one that has run out."""
        import jwt

        return jwt.encode({"role": role, "exp": int(time.time() + lifetime_s)}, self.jwt_secret, "HS256")

    def execute(
        self, sql: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run SQL as the superuser, committed at once; the rows of a query, [] where there are none.

        Without `params`, several statements may stand in `sql`, and % means itself.
        """
        with self._connect() as connection:
            cursor = connection.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def _connect(self) -> Any:
        import psycopg

        return psycopg.connect(
            self.database_url,
            # The socket is in a folder of ours: what answers there is our server.
            host=str(self.sockets),
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            # Variables like PGSSLMODE are not to change what tests do.
            sslmode="disable",
            options="",
        )

    def is_database_running(self) -> bool:
        """Whether PostgreSQL takes connections."""
        import psycopg

        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def is_postgrest_ready(self) -> bool:
        """Whether PostgREST is up, connected and knows the schema (its admin server says so)."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def is_running(self) -> bool:
        """Whether both servers run and are ready, and are this stack's own."""
        return (
            bool(processes.find_postgres(self.data))
            and bool(processes.find_postgrest(self.postgrest_config))
            and self.is_database_running()
            and self.is_postgrest_ready()
        )

    def start_database(self) -> None:
        """Start PostgreSQL on its port and wait for it; without effect if it runs.

        Raises: PortTaken, StoreError.
        """
        if processes.find_postgres(self.data):
            if self.is_database_running():
                return
            self.stop_database()
        # Nobody works in the data folder, so a pid file there or beside the socket is from a crash; its pid
        # may be another's by now, and PostgreSQL would refuse to start.
        for stale in (self.data / "postmaster.pid", *self.sockets.iterdir()):
            stale.unlink(missing_ok=True)
        settings = [
            f"port={self.database_port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.sockets}",
            *(_FAST if self.throw_away else ()),
        ]
        command = [str(self.postgres.folder / "postgres"), "-D", str(self.data)]
        for setting in settings:
            command += ["-c", setting]
        process, log_start = processes.start_server(
            command, self.postgres_log, self.postgres.account, LC_ALL="C", TZ="UTC"
        )
        self._started["postgres"] = process
        processes.wait_until_ready(self.is_database_running, process, self.postgres_log, log_start)

    def wait_until_ready(self, deadline_s: float = processes.START_DEADLINE_S) -> None:
        """Wait until PostgREST answers from the database.

        After an outage it connects by itself, with doubling waits: about as long again as the outage was.
        Raises: StoreError if it is not ready in time.
        """
        deadline = time.monotonic() + deadline_s
        while not self.is_postgrest_ready():
            if time.monotonic() > deadline:
                raise StoreError(
                    f"PostgREST at {self.url} was not ready after {deadline_s:.0f} s. Its log "
                    f"({self.postgrest_log}) says: {processes.read_tail(self.postgrest_log)}"
                )
            time.sleep(0.02)

    def stop_database(self) -> None:
        """Stop PostgreSQL, ending its sessions; without effect if it does not run."""
        processes.stop_postgres(self.data)
        self._reap("postgres")

    def start_postgrest(self) -> None:
        """Start PostgREST on its port and wait until it is ready; without effect if it runs.

        Raises: PortTaken, StoreError.
        """
        if processes.find_postgrest(self.postgrest_config):
            if self.is_postgrest_ready():
                return
            self.stop_postgrest()
        self._write_postgrest_config()
        process, log_start = processes.start_server(
            [str(self.postgrest), str(self.postgrest_config)], self.postgrest_log, LC_ALL="C.UTF-8", TZ="UTC"
        )
        self._started["postgrest"] = process

        def is_ready() -> bool:
            # Until it has its ports, another program may be answering there.
            return processes.has_ports(process.pid, self.port, self.admin_port) and self.is_postgrest_ready()

        processes.wait_until_ready(is_ready, process, self.postgrest_log, log_start)

    def stop_postgrest(self) -> None:
        """Stop PostgREST, cutting its connections; without effect if it does not run."""
        processes.stop_postgrest(self.postgrest_config)
        self._reap("postgrest")

    def stop(self) -> None:
        """Stop both."""
        self.stop_postgrest()
        processes.stop_postgres(self.data, fast=self.throw_away)
        self._reap("postgres")

    def migrate(self) -> None:
        """Apply sql/ with services/migrate.py, and give the role authenticator its password.

        Raises: StoreError with the last lines that it said.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "DATABASE_URL")) and name != "SERVICES_ENV"
        }
        path = os.pathsep.join(filter(None, (str(_PROJECT), environment.get("PYTHONPATH"))))
        result = subprocess.run(
            [sys.executable, "-m", "services.migrate"],
            env={**environment, "DATABASE_URL": self.database_url, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_MIGRATE_TIMEOUT_S,
        )
        if result.returncode != 0:
            said = " | ".join((result.stderr or result.stdout).strip().splitlines()[-6:])
            raise StoreError(
                f"The schema could not be applied to the stack in {self.folder}: "
                f"services.migrate ended with {result.returncode}: {said}"
            )

    def prepare(self, migrate: bool) -> None:
        """Bring the database to where PostgREST can start: schema, roles, authenticator's password."""
        if migrate:
            self.migrate()
        else:
            self.execute(_BARE_SCHEMA)
        self.execute(f"alter role authenticator password '{self.authenticator_password}'")

    def _write_postgrest_config(self) -> None:
        uri = (
            f"postgresql://authenticator:{self.authenticator_password}@/postgres"
            f"?host={quote(str(self.sockets), safe='')}&port={self.database_port}"
        )
        settings: dict[str, str | int] = {
            "db-uri": uri,
            "db-schemas": "api",
            "db-anon-role": "anon",
            "db-pool": self.pool,
            "jwt-secret": self.jwt_secret,
            "server-host": "127.0.0.1",
            "server-port": self.port,
            "admin-server-port": self.admin_port,
            "log-level": "warn",
        }
        write_private(
            self.postgrest_config,
            "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()),
        )

    def _reap(self, name: str) -> None:
        process = self._started.pop(name, None)
        if process is not None:
            process.wait()
