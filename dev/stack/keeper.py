"""Waits until the process that owns a stack has ended, and stops the stack if that one did not.

python -m dev.stack.keeper FOLDER OWNER      (started by dev.stack.run, with a pipe as its input)
"""

from __future__ import annotations

import sys
from pathlib import Path

from dev.stack.lifecycle import end_orphan


def main() -> None:
    """Wait for the end of the input; "done" there means that all is stopped already."""
    if sys.stdin.buffer.read() != b"done":
        end_orphan(Path(sys.argv[1]), sys.argv[2])


if __name__ == "__main__":
    main()
