"""Run one command and write what it took: a small process, so that the figures are the command's alone.

    python -S -E benchmarks/timed.py FIGURES COMMAND ...

Linux counts into a child's peak memory what its parent held when it was started. So the parent must be
small, and this file imports next to nothing.
"""

import os
import sys
import time


def main(figures: str, command: list[str]) -> int:
    """The command's exit code; FIGURES gets "seconds cpu_seconds peak_bytes"."""
    started = time.monotonic()
    number = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(number, 0)
    seconds = time.monotonic() - started
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with open(figures, "w", encoding="ascii") as out:
        out.write(f"{seconds} {usage.ru_utime + usage.ru_stime} {peak}")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
