"""The life of a stack: run for a while, or up in the background until it is taken down."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec

from dev.stack import binaries, processes
from dev.stack.servers import POSTGREST_CONFIG, Stack
from services.utils.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

DEFAULT_FOLDER = Path(".stack")
_STATE = "state.json"
_LOCK = "lock"
_ENV = ".env"
_RUN_PREFIX = "run-"
_PORT_ATTEMPTS = 5
# How long another `up` or `down` of the same folder may take before we give up.
_LOCK_WAIT_S = 120.0
_STALE_PART_S = 3600
_PROJECT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def run(
    folder: Path | str | None = None, *, migrate: bool = True, pool: int = 10, search_path: str | None = None
) -> Iterator[Stack]:
    """A stack for as long as the `with` block lasts; however this process ends, the stack ends too.

    Args:
        folder: where its data and logs are; the data stay. None: a throw-away one in the temp folder, faster
            because it need not survive a power cut, and removed at the end.
        migrate: apply sql/; False leaves schema api empty.
        pool: how many database connections PostgREST may hold.
        search_path: where to look for PostgreSQL and PostgREST before the installed packages; None is PATH.
    Raises: ConfigError (a part is missing, the folder is in use), StoreError (a server did not start).
    """
    owner = f"{os.getpid()}-{secrets.token_hex(4)}"
    sweep()
    place, lock = _make_throw_away() if folder is None else _claim(Path(folder))
    try:
        found = read_stack(place)
        if found is not None and not found.owner and processes.find_postgres(found.data):
            raise ConfigError(
                f"The stack in {place} is up in the background. Nothing was changed. "
                "Use it, take it down (python -m dev.stack down), or use another folder."
            )
        if found is not None:
            found.stop()
        stack = _open_stack(place, found, owner, folder is None, pool, search_path)
        _write_state(stack)
        keeper = _start_keeper(stack)
        try:
            stack = _start(stack, migrate)
            yield stack
        finally:
            # Where stopping fails, the keeper is not told "done" and tries again when we have ended.
            stack.stop()
            keeper.communicate(b"done")
        binaries.remove_folder(stack.sockets)
    finally:
        if folder is None:
            binaries.remove_folder(place)
        lock.release()


def bring_up(
    folder: Path | str = DEFAULT_FOLDER, *, migrate: bool = True, search_path: str | None = None
) -> tuple[Stack, bool]:
    """Start the folder's stack in the background, or what is missing of it; apply sql/; write its `.env`.

    Returns: (stack, whether both servers ran already). Ports, passwords and data are those of last time.
    Raises: ConfigError, StoreError; what was started by this call is then stopped again.
    """
    place, lock = _claim(Path(folder))
    try:
        found = read_stack(place)
        if found is not None and found.owner:
            # Its owner is dead, or we had not got the lock.
            found.stop()
        runs = found is not None and found.is_running()
        had_database = found is not None and bool(processes.find_postgres(found.data))
        stack = _open_stack(place, found, "", False, 10, search_path)
        try:
            stack = _start(stack, migrate)
        except BaseException:
            if not runs:
                stack.stop_postgrest()
            if not had_database:
                stack.stop_database()
            raise
        binaries.write_private(place / _ENV, format_env(stack.env()))
        return stack, runs
    finally:
        lock.release()


def take_down(folder: Path | str = DEFAULT_FOLDER, *, remove: bool = False) -> bool:
    """Stop the folder's stack; with `remove`, delete its data too. Whether there was something to stop."""
    if read_stack(folder) is None:
        return False
    place, lock = _claim(Path(folder))
    try:
        found = read_stack(place)
        if found is None:
            return False
        servers = processes.find_postgres(found.data) + processes.find_postgrest(found.postgrest_config)
        found.stop()
        binaries.remove_folder(found.sockets)
        (place / _ENV).unlink(missing_ok=True)
        if remove:
            _remove_files(found)
        return bool(servers)
    finally:
        lock.release()


def read_stack(folder: Path | str = DEFAULT_FOLDER) -> Stack | None:
    """The stack that the folder's state file tells of, running or not; None if there is none.

    Raises: ConfigError if the file cannot be read.
    """
    state = Path(folder).resolve() / _STATE
    try:
        return msgspec.json.decode(state.read_bytes(), type=Stack, dec_hook=lambda kind, value: kind(value))
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{state} cannot be read ({error}). Nothing was changed. Start the stack as the user who made it, "
            "or remove its folder once its servers are stopped."
        ) from error


def format_env(variables: dict[str, str]) -> str:
    """Variables as the lines of an .env file, for docker --env-file and for a shell."""
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def sweep() -> None:
    """Stop and remove throw-away stacks whose owner died without doing so."""
    base = binaries.find_base()
    gate = processes.Lock(base / _LOCK)
    if not gate.acquire(wait_s=5):
        return
    orphans = []
    try:
        for folder in base.glob(f"{_RUN_PREFIX}*"):
            lock = processes.Lock(folder / _LOCK)
            with contextlib.suppress(FileNotFoundError):
                if lock.acquire(wait_s=0):
                    orphans.append((folder, lock))
        for part in base.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _STALE_PART_S:
                    binaries.remove_folder(part)
    finally:
        gate.release()
    for folder, lock in orphans:
        # Without its state file, which may be another release's.
        processes.stop_postgres(folder / "data", fast=True)
        processes.stop_postgrest(folder / POSTGREST_CONFIG)
        binaries.remove_folder(folder)
        lock.release()


def end_orphan(folder: Path, owner: str) -> None:
    """Stop the stack that `owner` left running, unless another process has taken the folder since."""
    lock = processes.Lock(folder / _LOCK)
    with contextlib.suppress(FileNotFoundError):
        if lock.acquire(wait_s=_LOCK_WAIT_S):
            found = read_stack(folder)
            if found is not None and found.owner == owner:
                found.stop()
                binaries.remove_folder(found.folder if found.throw_away else found.sockets)
            lock.release()


def _make_throw_away() -> tuple[Path, processes.Lock]:
    base = binaries.find_base()
    # Held until our own lock is taken: a sweep in between would take the new folder for an orphan.
    gate = processes.Lock(base / _LOCK)
    if not gate.acquire(wait_s=_LOCK_WAIT_S):
        raise StoreError(f"{base / _LOCK} was held by another process for {_LOCK_WAIT_S:.0f} s.")
    try:
        folder = base / f"{_RUN_PREFIX}{secrets.token_hex(4)}"
        _make_folder(folder)
        return _claim(folder)
    finally:
        gate.release()


def _claim(folder: Path) -> tuple[Path, processes.Lock]:
    """Make the folder if need be and take its lock, so that nobody else starts or stops its stack."""
    try:
        _make_folder(folder)
        place = folder.resolve()
        lock = processes.Lock(place / _LOCK)
        found = read_stack(place)
        # An owner keeps the lock as long as it lives; an `up` or `down` is over soon.
        if lock.acquire(wait_s=0.3 if found is not None and found.owner else _LOCK_WAIT_S):
            return place, lock
    except PermissionError as error:
        raise ConfigError(
            f"The stack's folder {folder} belongs to another user. Nothing was changed. Use another folder."
        ) from error
    raise ConfigError(
        f"The stack in {place} is in use by another process. Nothing was changed. "
        "Wait until it ends, or use another folder."
    )


def _make_folder(folder: Path) -> None:
    account = binaries.choose_account()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        # Files with secrets in it are for us alone; PostgreSQL, another user, must pass through.
        folder.chmod(0o755 if account else 0o700)


def _open_stack(
    place: Path, found: Stack | None, owner: str, throw_away: bool, pool: int, search_path: str | None
) -> Stack:
    """The folder's stack as it is to run now: the one found, with its ports and secrets, or a new one."""
    postgres = binaries.find_postgres(search_path)
    postgrest = binaries.find_postgrest(search_path)
    if found is not None:
        stack = replace(found, owner=owner, pool=pool, postgres=postgres, postgrest=postgrest)
        _check_data(stack)
        return stack
    theirs = [name for name in ("data", _ENV) if (place / name).exists()]
    if theirs:
        raise ConfigError(
            f"{place} holds {' and '.join(theirs)} but no {_STATE}, which tells of a stack: they may be anybody's. "
            "Nothing was changed. Use another folder, or remove them by hand to start afresh."
        )
    base = binaries.find_base()
    name = binaries.hash_text(str(place))
    data = place / "data"
    if not binaries.can_enter(place, postgres.account):
        data = base / f"data-{name}"
        # Left by a folder of this name that was removed by hand.
        processes.stop_postgres(data, fast=True)
        binaries.remove_folder(data)
    return Stack(
        folder=place,
        data=data,
        # Short, for a socket's path is limited.
        sockets=place / "s" if throw_away else base / f"s-{name}",
        owner=owner,
        throw_away=throw_away,
        port=processes.draw_port(),
        admin_port=processes.draw_port(),
        database_port=processes.draw_port(),
        pool=pool,
        password="",
        authenticator_password=secrets.token_hex(16),
        jwt_secret=secrets.token_hex(32),
        postgres=postgres,
        postgrest=postgrest,
    )


def _check_data(stack: Stack) -> None:
    version_file = stack.data / "PG_VERSION"
    if version_file.exists():
        made_by = version_file.read_text().strip()
        if made_by != stack.postgres.major:
            raise ConfigError(
                f"{stack.data} was made by PostgreSQL {made_by}, the one found now is {stack.postgres.major} "
                f"({stack.postgres.folder}). Nothing was changed. Put PostgreSQL {made_by} on PATH, or start "
                "afresh with: python -m dev.stack down --remove"
            )


def _start(stack: Stack, migrate: bool) -> Stack:
    """Start what does not run yet, in order; the stack with the ports that it then has."""
    if not stack.data.exists():
        template = binaries.make_template(stack.postgres)
        # Written down before there are data that need it.
        stack = replace(stack, password=template.password)
        _write_state(stack)
        template.copy_to(stack.data)
    if not stack.sockets.exists():
        stack.sockets.mkdir(mode=0o700)
        binaries.give_to(stack.sockets, stack.postgres.account)
    _write_state(stack)
    stack = _with_free_ports(stack, ["database_port"], Stack.start_database)
    stack.prepare(migrate)
    stack = _with_free_ports(stack, ["port", "admin_port"], Stack.start_postgrest)
    _write_state(stack)
    return stack


def _with_free_ports(stack: Stack, names: Sequence[str], start: Callable[[Stack], None]) -> Stack:
    for _ in range(_PORT_ATTEMPTS):
        try:
            start(stack)
            return stack
        except processes.PortTaken:
            ports: dict[str, Any] = {name: processes.draw_port() for name in names}
            stack = replace(stack, **ports)
    raise StoreError(f"No free port was found for the stack in {stack.folder}, in {_PORT_ATTEMPTS} attempts.")


def _write_state(stack: Stack) -> None:
    state = {item.name: getattr(stack, item.name) for item in fields(stack) if not item.name.startswith("_")}
    binaries.write_private(stack.folder / _STATE, msgspec.json.encode(state, enc_hook=str).decode())


def _remove_files(stack: Stack) -> None:
    """Remove what is the stack's, and its folder if nothing else is in it."""
    for folder in (stack.data, stack.data.with_name(f"{stack.data.name}.part")):
        binaries.remove_folder(folder)
    for name in (_STATE, _ENV, POSTGREST_CONFIG, "postgres.log", "postgrest.log", _LOCK):
        (stack.folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        stack.folder.rmdir()


def _start_keeper(stack: Stack) -> subprocess.Popen[bytes]:
    """A small process that outlives us if we are killed, and then stops the stack.

    It waits for the end of a pipe whose other end only we hold: that ends with us, whatever happens.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "dev.stack.keeper", str(stack.folder), stack.owner],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(_PROJECT)},
        start_new_session=True,
    )
