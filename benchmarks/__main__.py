"""Run benchmarks: `python -m benchmarks [NAME ...] [--records N]`."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys

QUESTIONS = (
    "load",
    "memory",
    "format",
    "incremental",
    "publish",
    "reading",
    "writing",
    "growth",
    "replace",
    "odk",
)


def main(arguments: list[str] | None = None) -> int:
    """Run those that are named, or all; 0 if what they require held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and size, measured.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUESTIONS)}; default: all")
    parser.add_argument("--records", type=int, default=50_000, help="how many records (default 50000)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each thing is timed (default 3)")
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.names) - set(QUESTIONS)):
        parser.error(f"there is no {', '.join(unknown)}; there is: {', '.join(QUESTIONS)}")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    failed = []
    for name in args.names or QUESTIONS:
        question = importlib.import_module(f"benchmarks.{name}.question")
        print(f"== {name}: {(question.__doc__ or '').splitlines()[0]}")
        print(f"{os.cpu_count()} cores, load before: {os.getloadavg()[0]:.1f}\n", flush=True)
        if not question.run(args.records, args.repeats):
            failed.append(name)
        print(flush=True)
    if failed:
        print(f"Out of bounds: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
