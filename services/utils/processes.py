"""Which process of which machine a run is, so that another one can tell that it has ended."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def name_host() -> str:
    """This machine, and on Linux its boot and the process namespace: names alone may be shared."""
    try:
        space = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        space = boot = ""
    return f"{platform.node()} {boot} {space}".strip()


def name_process(number: int) -> str:
    """A process' number and, on Linux, when it began: numbers come round."""
    return " ".join([str(number), *_read_stat(number)[19:20]])


def _read_stat(number: int) -> list[str]:
    """What Linux says of a process, its state first; empty where it says nothing."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_gone(process: str) -> bool:
    """Whether a process of this machine has ended."""
    number = int(process.split()[0])
    if number == os.getpid():
        # Its number is ours now; or it is ourselves, and the answer to our first try was lost.
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # A zombie has ended; only its parent has not asked how.
    return _read_stat(number)[:1] == ["Z"] or name_process(number) != process
