"""dev.stack with real servers: start, cut off, crash, share a machine, come back."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from dev import stack as stacks
from dev.stack import binaries, lifecycle, processes
from services.utils.errors import ConfigError, StoreError
from tests.conftest import empty_tables

PROJECT = Path(stacks.__file__).resolve().parents[2]
# The database on PATH, if there is one, and the package's: both must do.
SEARCH_PATHS = [None, ""] if shutil.which("initdb") else [""]


def read_status(store: stacks.Stack, token: str = "", table: str = "knack") -> int:
    """The HTTP status of a read, 0 if nobody answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return requests.get(f"{store.url}/{table}", headers=headers, timeout=30).status_code
    except requests.ConnectionError:
        return 0


def wait_for(what: Callable[[], bool], deadline_s: float = 30) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def find_servers(store: stacks.Stack) -> list[psutil.Process]:
    """Every process of the stack's servers."""
    return processes.find_postgres(store.data) + processes.find_postgrest(store.postgrest_config)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; an ended process that nobody asked for its exit code yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def own_temp() -> Iterator[str]:
    """A temp folder of this module's own: stacks of other sessions do not sweep in it."""
    # Not pytest's: its path is too long for sockets, and PostgreSQL's user may not enter it.
    with tempfile.TemporaryDirectory(prefix="stack-", dir="/tmp") as temp:
        os.chmod(temp, 0o755)
        yield temp


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a stack that stays; what runs there is stopped in the end."""
    yield tmp_path / "kept"
    found = stacks.read_stack(tmp_path / "kept")
    if found is not None:
        found.stop()
        for path in (found.data, found.sockets):
            binaries.remove_folder(path)


def test_stack__serves_the_schema(stack: stacks.Stack) -> None:
    """A loader may read the documents; a stranger, a stale token and a wrong secret may not."""
    assert read_status(stack, stack.token("api_user")) == 200
    assert read_status(stack) == 401
    assert read_status(stack, stack.token("api_user", lifetime_s=-60)) == 401
    assert read_status(stack, stack.token("api_user")[:-4] + "AAAA") == 401


def test_clean_store__empties_every_table(clean_store: stacks.Stack) -> None:
    """A test that asks for the clean store finds no row of the tests before it."""
    insert = "insert into api.knack (app_id, container_id, record_id, record) values ('a', 'c', %s, '{}')"
    clean_store.execute(insert, ["r"])
    clean_store.execute("insert into api.knack_metadata (app_id, metadata) values ('a', '{}')")
    empty_tables(clean_store)
    assert (
        clean_store.execute("select app_id from api.knack union all select app_id from api.knack_metadata")
        == []
    )


def test_store_env__names_the_store_alone(stack: stacks.Stack, store_env: dict[str, str]) -> None:
    """A script finds the store by these variables, and the address in them answers."""
    assert store_env["PGREST_ENDPOINT"] == stack.url
    assert {name for name in store_env if name.startswith(("PG", "DATABASE"))} == set(stack.env())


@pytest.mark.parametrize("search_path", SEARCH_PATHS)
def test_run__each_postgres_cut_off_and_back(search_path: str | None) -> None:
    """Whichever PostgreSQL it is: data outlive an outage, ports stay, and nothing is left in the end."""
    with stacks.run(migrate=False, search_path=search_path) as store:
        store.execute("create table api.kept as select 1 as n; grant usage on schema api to anon")
        store.execute("grant select on api.kept to anon; notify pgrst, 'reload schema'")
        wait_for(lambda: read_status(store, table="kept") == 200)
        store.stop_database()
        assert not store.is_database_running()
        assert read_status(store, table="kept") == 503
        store.stop_database()
        store.start_database()
        store.start_database()
        assert store.execute("select n from api.kept") == [(1,)]
        store.stop_postgrest()
        assert read_status(store, table="kept") == 0
        store.start_postgrest()
        assert read_status(store, table="kept") == 200
        running = find_servers(store)
    assert not any(is_alive(process) for process in running)
    assert not store.folder.exists()


def test_run__two_at_once_and_an_exception() -> None:
    """Two stacks share nothing; both are stopped and removed when the block is left by an exception."""
    with (
        pytest.raises(KeyError),
        stacks.run(migrate=False) as one,
        stacks.run(migrate=False, pool=3) as two,
    ):
        one.execute("create table api.mine ()")
        assert two.execute("select to_regclass('api.mine')") == [(None,)]
        ports = [(each.port, each.admin_port, each.database_port) for each in (one, two)]
        assert len({port for triple in ports for port in triple}) == 6
        # The second one's start swept away what dead owners left; the first one's owner lives.
        assert one.is_running() and two.is_running()
        raise KeyError
    assert not find_servers(one) and not find_servers(two)
    assert not one.folder.exists() and not two.folder.exists()


OWNER = """
import sys, time
from dev import stack
with stack.run(migrate=False) as store:
    print(store.folder, flush=True)
    time.sleep(60)
"""


def start_owner(temp: str) -> tuple[subprocess.Popen[str], Path, list[psutil.Process]]:
    """A process that owns a stack; with the stack's folder and its servers."""
    environment = {**os.environ, "TMPDIR": temp}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip())
    store = stacks.read_stack(folder)
    assert store is not None
    return owner, folder, find_servers(store)


def test_run__owner_killed(own_temp: str) -> None:
    """When the owning process is killed, its servers end and the throw-away folder goes."""
    owner, folder, running = start_owner(own_temp)
    assert len(running) > 2
    owner.kill()
    owner.communicate()
    wait_for(lambda: not folder.exists())
    wait_for(lambda: not any(is_alive(process) for process in running))


def test_sweep__owner_and_keeper_killed(own_temp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the keeper was killed too, the next stack that starts removes what is left."""
    owner, folder, running = start_owner(own_temp)
    (keeper,) = [
        child for child in psutil.Process(owner.pid).children() if "dev.stack.keeper" in child.cmdline()
    ]
    keeper.kill()
    owner.kill()
    owner.communicate()
    assert all(is_alive(process) for process in running)
    monkeypatch.setattr(tempfile, "tempdir", own_temp)
    lifecycle.sweep()
    assert not folder.exists()
    assert not any(is_alive(process) for process in running)


class YesToAll(http.server.BaseHTTPRequestHandler):
    """Answers 200 to every question."""

    def do_GET(self) -> None:
        """Say yes."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing else."""


def test_bring_up__reused_crashed_and_moved(folder: Path) -> None:
    """A second `up` reuses; after a crash `up` brings back the same data, address and secrets; ports that
    another program took meanwhile are replaced, and only those."""
    first, ran = stacks.bring_up(folder, migrate=False)
    assert not ran
    first.execute("create table api.kept as select 1 as n")
    again, ran = stacks.bring_up(folder, migrate=False)
    assert ran
    assert again == first
    assert (folder / ".env").read_text() == stacks.format_env(first.env())
    with pytest.raises(ConfigError, match="is up in the background"), stacks.run(folder, migrate=False):
        pass
    assert first.is_running()

    with (first.data / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off  # else recovery waits for the disk for seconds\n")
    for process in find_servers(first):
        with contextlib.suppress(psutil.NoSuchProcess):  # a child of one that was killed just before
            process.kill()
    wait_for(lambda: not find_servers(first))
    # The dead server's number may meanwhile be that of another program.
    pid_file = first.data / "postmaster.pid"
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text(f"{sleeper.pid}\n" + pid_file.read_text().split("\n", 1)[1])
        after_crash, ran = stacks.bring_up(folder, migrate=False)
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not ran
    assert after_crash == first
    assert after_crash.execute("select n from api.kept") == [(1,)]

    assert stacks.take_down(folder)
    assert not stacks.take_down(folder)
    assert not find_servers(first)
    listener = socket.create_server(("127.0.0.1", first.database_port))
    # Another program that even says that it is ready.
    impostor = http.server.HTTPServer(("127.0.0.1", first.admin_port), YesToAll)
    threading.Thread(target=impostor.serve_forever, args=(0.02,), daemon=True).start()
    try:
        moved, ran = stacks.bring_up(folder, migrate=False)
    finally:
        listener.close()
        impostor.shutdown()
        impostor.server_close()
    assert not ran
    assert moved.database_port != first.database_port and moved.admin_port != first.admin_port
    assert moved.jwt_secret == first.jwt_secret
    assert moved.execute("select n from api.kept") == [(1,)]
    assert stacks.read_stack(folder) == moved

    assert stacks.take_down(folder, remove=True)
    assert not folder.exists() and not first.data.exists() and not first.sockets.exists()


def test_bring_up__refused(folder: Path) -> None:
    """A folder in use, data of another PostgreSQL and a server that gives up: one line each, nothing runs on."""
    with stacks.run(folder, migrate=False) as store, pytest.raises(ConfigError, match="in use by another"):
        stacks.bring_up(folder, migrate=False)
    assert not find_servers(store)

    version_file = store.data / "PG_VERSION"
    version = version_file.read_text()
    version_file.write_text("9\n")
    with pytest.raises(ConfigError, match=r"made by PostgreSQL 9, the one found now is \d+ .*--remove"):
        stacks.bring_up(folder, migrate=False)
    version_file.write_text(version)

    (store.data / "postgresql.conf").write_text("shared_buffers = 'many'\n")
    with pytest.raises(StoreError, match="postgres ended with 1 .*shared_buffers"):
        stacks.bring_up(folder, migrate=False)
    assert not find_servers(store)


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m dev.stack` as people type it, in a terminal that is closed afterwards."""
    command = [sys.executable, "-m", "dev.stack", *arguments]
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate(timeout=120)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_command__up_status_env_down(folder: Path) -> None:
    """The servers outlive the command that started them; each command's exit code says how it stands."""
    flags = ("--folder", str(folder))
    for name in ("status", "env"):
        assert run_command(name, *flags).returncode == 1
    assert run_command("sideways").returncode == 2

    up = run_command("up", *flags)
    assert (up.returncode, up.stdout) == (0, ""), up.stderr
    assert "is up: PostgREST at http://127.0.0.1:" in up.stderr
    status = run_command("status", *flags)
    assert (status.returncode, status.stdout.splitlines()[0]) == (0, "up")
    env = run_command("env", *flags)
    assert env.returncode == 0
    assert env.stdout == (folder / ".env").read_text()
    variables = dict(line.split("=", 1) for line in env.stdout.splitlines())
    assert requests.get(variables["PGREST_ENDPOINT"] + "/knack", timeout=30).status_code == 401

    store = stacks.read_stack(folder)
    assert store is not None
    os.kill(processes.find_postgrest(store.postgrest_config)[0].pid, signal.SIGKILL)
    half = run_command("status", *flags)
    assert (half.returncode, half.stdout) == (1, "half up: PostgreSQL only\n")
    assert "is up:" in run_command("up", *flags).stderr

    down = run_command("down", "--remove", *flags)
    assert down.returncode == 0 and "is down" in down.stderr
    assert not folder.exists() and not find_servers(store)
    down = run_command("down", *flags)
    assert down.returncode == 0 and "was not up" in down.stderr
