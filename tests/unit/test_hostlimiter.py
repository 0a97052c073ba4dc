"""One rate for all processes of a machine: booked in a file, by whoever comes, whatever lies there."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from services.utils import hostlimiter, session
from services.utils.hostlimiter import HostLimiter


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """Waits take their whole time here, whatever a test set before."""
    session.set_testing(1.0)
    yield
    session.set_testing(1.0)


def find_file(folder: Path) -> Path:
    """The one file that was made."""
    (path,) = (folder / hostlimiter.FOLDER).iterdir()
    return path


def book(limiter: HostLimiter, times: int, gap_s: float = 1.0) -> list[float]:
    """When so many requests may start, without waiting for them; seconds from now, whole ones."""
    now = time.monotonic()
    return [round(limiter.book(now, gap_s) - now, 3) for _ in range(times)]


def test_wait__processes_together(tmp_path: Path) -> None:
    """However many processes hold it, they start no faster together than one would, and no booking is lost."""
    code = (
        "import sys, time; from pathlib import Path; from services.utils.hostlimiter import HostLimiter\n"
        "limiter = HostLimiter('app', 50, Path(sys.argv[1])); sys.stdin.readline()\n"
        "for _ in range(10):\n    limiter.wait(); print(time.monotonic())"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    began = time.monotonic()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    ends = [child.communicate(timeout=60)[0].split() for child in children]
    starts = sorted(float(line) for lines in ends for line in lines)
    booked = float(find_file(tmp_path).read_text().split()[-1])
    assert len(starts) == 30
    assert booked >= began + 29 / 50
    assert starts[-1] >= booked - 1e-5


def test_book__in_turn(tmp_path: Path) -> None:
    """Two of one name book in turn, one of another name for itself."""
    one, two, other = (HostLimiter(name, 10, tmp_path) for name in ("app", "app", "another"))
    assert book(one, 2) == [0, 1]
    now = time.monotonic()
    assert 1.9 < two.book(now, 1.0) - now <= 2.0
    assert book(other, 1) == [0]
    names = [path.name for path in (tmp_path / hostlimiter.FOLDER).iterdir()]
    assert len(names) == 2 and not any("app" in name or "another" in name for name in names)


def test_book__ten_at_once(tmp_path: Path) -> None:
    """With a burst the first ten go at once, whoever sends them, the next ten when the first are out of the window."""
    one, two = (HostLimiter("app", 9, tmp_path, burst=10) for _ in range(2))
    assert book(one, 7) == [0] * 7
    now = time.monotonic()
    assert [round(two.book(now, 1.0) - now) for _ in range(15)] == [0] * 3 + [1] * 10 + [2] * 2


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.4)), max_size=60),
    st.lists(st.integers(1, 12), min_size=3, max_size=3),
)
def test_book__never_more_in_any_window(comes: list[tuple[int, float]], bursts: list[int]) -> None:
    """Whoever asks when, no stretch of the window's length holds more starts than the burst of who starts last."""
    with tempfile.TemporaryDirectory() as folder:
        limiters = [HostLimiter("app", 10, Path(folder), burst=burst) for burst in bursts]
        now = time.monotonic()
        starts: list[tuple[float, int]] = []
        for who, later in comes:
            now += later
            starts.append((limiters[who].book(now, 1.0), min(bursts[who], hostlimiter.BURST_MOST)))
    times = [start for start, _ in starts]
    assert times == sorted(times)
    for place, (start, burst) in enumerate(starts):
        assert sum(start - 1.0 + 1e-5 < other <= start for other in times[: place + 1]) <= burst


def test_wait__keeps_its_pace_in_testing(tmp_path: Path) -> None:
    """Ten a second are a thousand a second at a hundredth, and never all at once."""
    session.set_testing(0.01)
    limiter = HostLimiter("app", 10, tmp_path)
    started = time.monotonic()
    for _ in range(20):
        limiter.wait()
    assert time.monotonic() - started > 0.015


@pytest.mark.parametrize("left", [b"", b"nonsense", b"nan", b"inf", b"-5", b"1e300", b"\xff" * 24, b"0.0"])
def test_book__whatever_the_file_holds(tmp_path: Path, left: bytes) -> None:
    """Rubbish, and a time of another boot of the machine, count as nothing: nobody waits for them."""
    limiter = HostLimiter("app", 10, tmp_path)
    book(limiter, 1)
    find_file(tmp_path).write_bytes(left)
    assert book(HostLimiter("app", 10, tmp_path), 2) == [0, 1]
    find_file(tmp_path).write_text(str(time.monotonic() + hostlimiter.LONGEST_QUEUE_S + 10))
    assert book(HostLimiter("app", 10, tmp_path), 2) == [0, 1]


def test_book__file_is_cleared_away(tmp_path: Path) -> None:
    """A clean-up of the temp folder takes the file or the whole folder: it is made again."""
    limiter = HostLimiter("app", 10, tmp_path)
    book(limiter, 1)
    find_file(tmp_path).unlink()
    book(limiter, 1)
    find_file(tmp_path).unlink()
    (tmp_path / hostlimiter.FOLDER).rmdir()
    now = time.monotonic()
    # What it booked before, it keeps to by itself.
    assert limiter.book(now, 1.0) > now + 1.5
    assert HostLimiter("app", 10, tmp_path).book(now, 1.0) > now + 2.5


def test_book__permissions(tmp_path: Path) -> None:
    """Whatever the umask, all users may book, and none may take another's file away."""
    before = os.umask(0o077)
    try:
        book(HostLimiter("app", 10, tmp_path), 1)
    finally:
        os.umask(before)
    path = find_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o1777


@pytest.mark.parametrize(
    "case", ["no folder", "a file", "a link", "file a link", "file a folder", "hard link"]
)
def test_book__on_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str) -> None:
    """Where the file cannot be had, or is somebody's trap, the process keeps the rate by itself and says so once."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "temp"
    limiter = HostLimiter("app", 10, folder)
    inside = folder / hostlimiter.FOLDER
    if case == "a file":
        folder.mkdir()
        inside.write_text("")
    elif case == "a link":
        folder.mkdir()
        inside.symlink_to(tmp_path)
    elif case != "no folder":
        inside.mkdir(parents=True)
        book(limiter, 1)
        path = find_file(folder)
        path.unlink()
        if case == "file a folder":
            path.mkdir()
        elif case == "file a link":
            path.symlink_to(victim)
        else:
            os.link(victim, path)
        limiter = HostLimiter("app", 10, folder)
    assert book(limiter, 3) == [0, 1, 2]
    assert len(caplog.messages) == 1 and "the limit on requests is this process' own" in caplog.text
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("found", [None, "the working folder"])
def test_book__no_temp_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, found: str | None
) -> None:
    """On a machine that may write nowhere, or only where it works, the process keeps the rate by itself."""

    def gettempdir() -> str:
        if found is None:
            raise FileNotFoundError(2, "No usable temporary directory found")
        return str(tmp_path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
    assert book(HostLimiter("app", 10), 3) == [0, 1, 2]
    assert len(caplog.messages) == 1 and "the limit on requests is this process' own" in caplog.text
    assert not list(tmp_path.iterdir())


def test_book__holder_is_suspended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that was suspended with the lock in its hand keeps nobody waiting for ever."""
    monkeypatch.setattr(hostlimiter, "LOCK_WITHIN_S", 0.02)
    limiter = HostLimiter("app", 10, tmp_path)
    book(limiter, 1)
    with find_file(tmp_path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now = time.monotonic()
        assert limiter.book(now, 1.0) > now
        assert "another process holds its lock" in caplog.text
    now = time.monotonic()
    assert limiter.book(now, 1.0) > now + 1.5, "what it booked on its own holds"


def test_book__holder_dies(tmp_path: Path) -> None:
    """A process that is killed with the lock in its hand leaves it open."""
    book(HostLimiter("app", 10, tmp_path), 1)
    path = find_file(tmp_path)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(1, flush=True);"
        "time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    with path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    now = time.monotonic()
    assert now + 0.5 < HostLimiter("app", 10, tmp_path).book(now, 1.0) < now + 2


def _book_as(user: int, folder: str, answer: multiprocessing.Queue[float]) -> None:
    logging.disable()
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    answer.put(HostLimiter("app", 10, Path(folder)).book(time.monotonic(), 1.0))


def test_book__several_users() -> None:
    """Users who may not write one another's files book in one file (as root this test becomes two of them)."""
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    # Not in tmp_path: that is closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        starts = []
        for user in (4001, 4002, 4001):
            child = context.Process(target=_book_as, args=(user, folder, answer))
            child.start()
            child.join(30)
            starts.append(answer.get(timeout=10))
    assert starts[1] >= starts[0] + 0.999 and starts[2] >= starts[1] + 0.999
