"""A limit on the rate of requests that all processes of one machine keep together.

Each process books its next request in a small file under the system's temp folder, which holds when the last ones
start. The file is locked for as long as that takes (some microseconds), by a lock that ends
with its process; who dies after booking leaves one request's time unused, no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from services.utils.session import RateLimiter

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

FOLDER = "record-services"
# Longer than any queue of processes: a time beyond it was left by another boot of the machine.
LONGEST_QUEUE_S = 60.0
# The lock is held for microseconds, unless its holder was suspended with it.
LOCK_WITHIN_S = 1.0
# So many starts are kept: no process may have a larger burst.
BURST_MOST = 10
_SIZE = 512
_TEMP_FOLDERS = (Path("/tmp"), Path("/var/tmp"))


class HostLimiter(RateLimiter):
    """At most `per_second` requests a second of all processes on this machine that give the same name.

    Where the temp folder cannot be used, the process keeps to the rate by itself, and says so once.
    folder: instead of the system's temp folder, for tests. burst: as there, `BURST_MOST` at most.
    """

    def __init__(self, name: str, per_second: float, folder: Path | None = None, *, burst: int = 1) -> None:
        super().__init__(per_second, max(1, min(burst, BURST_MOST)))
        self._parent = folder
        self._file = f"rate-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        self._told = False

    def book(self, now: float, window_s: float) -> float:
        """As `RateLimiter.book`, for all processes."""
        try:
            with self._open() as file:
                # What this process booked while it was on its own holds too.
                starts = sorted({*_read(file, now), *self._starts})[-BURST_MOST:]
                start = round(self.find_start(starts, now, window_s), 6)
                starts = [*starts, start][-BURST_MOST:]
                os.pwrite(file, " ".join(f"{one:.6f}" for one in starts).ljust(_SIZE).encode(), 0)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning(
                    "%s in the temp folder cannot be used (%s): the limit on requests is this process' own, others on "
                    "this machine are not counted",
                    FOLDER,
                    error.strerror or error,
                )
            return super().book(now, window_s)
        self._starts = starts
        return start

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """The file, locked. Opened anew each time: a clean-up of the folder may have removed it."""
        if fcntl is None:
            raise OSError(0, "no file locks here")
        file = self._open_file()
        try:
            self._lock_file(file)
            yield file
        finally:
            os.close(file)

    def _open_file(self) -> int:
        folder = self._find_folder()
        path = folder / self._file
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        for _ in range(3):
            try:
                # A link would have us write where another user wants it.
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    raise OSError(0, "something else stands in its place")
                # Not with O_CREAT: Linux refuses that for another user's file in a folder that all may write.
                file = os.open(path, flags)
            except FileNotFoundError:
                _make_folder(folder)
                try:
                    file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
                except FileExistsError:
                    continue
                os.fchmod(file, 0o666)
            found = os.fstat(file)
            if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
                return file
            os.close(file)
            raise OSError(0, "something else stands in its place")
        raise OSError(0, "its file comes and goes")

    def _find_folder(self) -> Path:
        if self._parent is None:
            import tempfile

            found = Path(tempfile.gettempdir())
            # The library's last resort, which other processes do not share.
            if found == Path.cwd() and found not in _TEMP_FOLDERS:
                raise OSError(0, "there is none")
            self._parent = found
        return self._parent / FOLDER

    def _lock_file(self, file: int) -> None:
        until = time.monotonic() + LOCK_WITHIN_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise OSError(0, "another process holds its lock") from None
                time.sleep(0.0005)


def _make_folder(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        # As the temp folder itself: all users may add files, none may take another's away.
        folder.chmod(0o1777)


def _read(file: int, now: float) -> list[float]:
    """The starts in the file; none where it holds something else."""
    try:
        starts = sorted(float(one) for one in os.pread(file, _SIZE, 0).split())
    except ValueError:
        return []
    return [one for one in starts if abs(one - now) < LONGEST_QUEUE_S]
