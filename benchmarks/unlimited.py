"""Run a script without Knack's limit of ten requests a second, so that the script's own limit shows.

python -m benchmarks.unlimited SCRIPT FLAGS ...
"""

from __future__ import annotations

import runpy
import sys

from services.utils.knack import fetch


def main(words: list[str]) -> None:
    """As if the script had been started by itself."""
    sys.argv = words
    sys.path[0] = words[0].rpartition("/")[0]
    fetch.MARGIN = 1000.0
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
