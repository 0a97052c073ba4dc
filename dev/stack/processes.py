"""Server processes of a stack: start, find, wait for, stop; ports and locks.

A stack's servers are found by what they are, not by remembered process ids, which may be another's by
now: PostgreSQL's processes work in its data folder, PostgREST has its own configuration file as argument.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.utils.errors import ConfigError, StoreError

# Generous: a busy machine is slow, not broken.
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 10.0
_POLL_S = 0.01
# Below the ports that systems give to outgoing connections (from 32768 on Linux), so that a server that was
# stopped finds its port free again.
_PORTS = range(18000, 32000)
_SERVER_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# Tests seed the global generator; two stacks must not draw the same ports for it.
_random = random.SystemRandom()


class PortTaken(Exception):
    """A server could not have its port: another program took it first."""


@dataclass(frozen=True)
class Account:
    """The system user that PostgreSQL runs as, where it must not be ourselves."""

    uid: int
    gid: int


def draw_port() -> int:
    """A port of 127.0.0.1 that is free at this moment."""
    for _ in range(500):
        port = _random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigError(
        f"No free port between {_PORTS.start} and {_PORTS.stop - 1} on 127.0.0.1 was found. Nothing was started."
    )


def start_server(
    command: Sequence[str], log_file: Path, account: Account | None = None, **environment: str
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server that writes to `log_file` and outlives the terminal; give it and the log's length before.

    It gets few of our variables: PG* and PGRST_* would change its settings, others may be secrets.
    """
    variables = {name: os.environ[name] for name in _SERVER_VARIABLES if name in os.environ}
    log_start = log_file.stat().st_size if log_file.exists() else 0
    # The log may hold what was in a refused statement: it is for our eyes.
    with open(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log_stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_stream,
            stderr=log_stream,
            cwd="/",
            env={**variables, **environment},
            # Ctrl-C goes to the terminal's whole group: only we are to hear it, and then stop in order.
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    return process, log_start


def wait_until_ready(
    is_ready: Callable[[], bool],
    process: subprocess.Popen[bytes],
    log_file: Path,
    log_start: int,
    deadline_s: float = START_DEADLINE_S,
) -> None:
    """Wait for a server just started.

    Raises: PortTaken if it ended for its port; StoreError, with the last lines of its log, if it ended for
    another reason or is not ready in time (it is then stopped).
    """
    name = Path(os.fsdecode(process.args[0])).name if isinstance(process.args, list) else "the server"
    deadline = time.monotonic() + deadline_s
    pause_s = _POLL_S
    while not is_ready():
        if process.poll() is not None:
            said = read_tail(log_file, log_start)
            if "already in use" in said or "resource busy" in said:
                raise PortTaken(said)
            raise StoreError(
                f"{name} ended with {process.returncode} while starting. Its log ({log_file}) says: {said}"
            )
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            said = read_tail(log_file, log_start)
            raise StoreError(
                f"{name} was not ready after {deadline_s:.0f} s and was stopped. Its log ({log_file}) says: {said}"
            )
        time.sleep(pause_s)
        # A server that takes its time (recovery after a crash) logs each question.
        pause_s = min(pause_s * 1.3, 0.2)


def has_ports(pid: int, *ports: int) -> bool:
    """Whether the process itself listens on all these ports."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    listening = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return listening.issuperset(ports)


def read_tail(log_file: Path, log_start: int = 0, lines: int = 6) -> str:
    """The last lines of a log after byte `log_start`, joined into one."""
    try:
        with log_file.open("rb") as log_stream:
            log_stream.seek(log_start)
            text = log_stream.read().decode(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return " | ".join(text.strip().splitlines()[-lines:]) or "(nothing)"


def find_postgres(data: Path) -> list[psutil.Process]:
    """The PostgreSQL processes that work in the data folder, the main one first."""
    found = [process for process in _list_processes("postgres") if _read_cwd(process) == str(data)]
    # Children of the main process say what they do instead of their arguments.
    return sorted(found, key=lambda process: str(data) not in _read_arguments(process))


def find_postgrest(config: Path) -> list[psutil.Process]:
    """The PostgREST processes that were started with this configuration file."""
    return [process for process in _list_processes("postgrest") if str(config) in _read_arguments(process)]


def _list_processes(name: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name", "status"]):
        if process.info["name"] == name and process.info["status"] != psutil.STATUS_ZOMBIE:
            yield process


def _read_cwd(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.cwd()
    return ""


def _read_arguments(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def stop_postgres(data: Path, fast: bool = False) -> None:
    """Stop the PostgreSQL of a data folder, ending its sessions; without effect if none runs there.

    fast: at once, as a crash does: the next start recovers from the database's own log.
    """
    found = find_postgres(data)
    if found and str(data) in _read_arguments(found[0]):
        stop_processes(found, *((signal.SIGQUIT,) if fast else (signal.SIGINT, signal.SIGQUIT)))
    else:
        # Without the main process there is nobody to ask: what is left of it is killed.
        stop_processes(found)


def stop_postgrest(config: Path) -> None:
    """Stop the PostgREST of a configuration file, cutting its connections; without effect if none runs."""
    stop_processes(find_postgrest(config), signal.SIGTERM)


def stop_processes(processes: Sequence[psutil.Process], *signals: signal.Signals) -> None:
    """End processes: the first one is asked with each signal in turn, then all are killed.

    Raises: StoreError if they belong to another user, or stay.
    """
    try:
        for sign in signals:
            if not _any_alive(processes):
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                processes[0].send_signal(sign)
            _wait_for_end(processes)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    except psutil.AccessDenied as error:
        raise StoreError(
            f"Process {error.pid} of this stack belongs to another user and was not stopped. "
            "Stop the stack as the user who started it."
        ) from error
    _wait_for_end(processes)
    if _any_alive(processes):
        raise StoreError(f"Processes {[process.pid for process in processes]} do not end, although killed.")


def _any_alive(processes: Sequence[psutil.Process]) -> bool:
    return any(_is_alive(process) for process in processes)


def _is_alive(process: psutil.Process) -> bool:
    try:
        # An ended process whose parent never asked for its exit code stays as a zombie.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_for_end(processes: Sequence[psutil.Process]) -> None:
    deadline = time.monotonic() + STOP_DEADLINE_S
    while _any_alive(processes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


class Lock:
    """A lock on a file, held until `release` or the end of this process, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self, wait_s: float) -> bool:
        """Take the lock, waiting up to `wait_s` seconds; False if another process keeps it."""
        deadline = time.monotonic() + wait_s
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The file may have been removed, with its folder, while we waited.
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    self._descriptor = descriptor
                    return True
            except (BlockingIOError, FileNotFoundError):
                pass
            os.close(descriptor)
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)

    def release(self) -> None:
        """Give the lock back; without effect if it is not held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
