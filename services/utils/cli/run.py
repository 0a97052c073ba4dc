"""A command from its start to its exit code: log, flags, signals, the outcome told."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from services.utils import env, logs, session
from services.utils.cli.args import Args, read_args
from services.utils.cli.summary import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_PARTIAL,
    Summary,
    describe_outcome,
    print_summary,
)
from services.utils.errors import ConfigError, ServiceError, Stopped

log = logging.getLogger(__name__)

# Schedulers that say stop kill after 10 s or more; the run has to be closed in that time.
STOP_PATIENCE_S = 3.0


def run_script(
    script: str,
    parser: argparse.ArgumentParser,
    main: Callable[[Args], Summary],
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Run a script's `main` and end the process as its outcome says."""
    started = time.monotonic()
    args = Args(script)
    summary = Summary(status="failed")
    code = EXIT_FAILED
    try:
        logs.set_up()
        args = read_args(script, parser, argv)
        _stop_on_signals()
        _limit_patience()
        summary = main(args)
        code = {"ok": EXIT_OK, "partial": EXIT_PARTIAL, "differs": EXIT_PARTIAL}.get(
            summary.status, EXIT_FAILED
        )
        log.info("%s", summary.told or describe_outcome(args, summary))
    except (ServiceError, Stopped) as error:
        log.error("%s", error)
        code = error.exit_code
        summary.status = "stopped" if isinstance(error, Stopped) else "failed"
        summary = getattr(error, "summary", summary)
    except BrokenPipeError:
        raise
    except Exception as error:
        log.error("%s: an error that the program does not know:\n%s", script, traceback.format_exc().rstrip())
        summary = getattr(error, "summary", summary)
    print_summary(args, summary, time.monotonic() - started)
    sys.exit(code)


def _limit_patience() -> None:
    given = env.get("RETRY_SECONDS")
    if given:
        if not given.isdigit():
            raise ConfigError(f"RETRY_SECONDS is {given!r}, expected a whole number. Nothing was sent.")
        session.limit_patience(float(given))


def _stop_on_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        # A second signal must not break the closing of the run.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # What is under way in other threads is not waited for as long as it would be otherwise.
        session.stop_soon(STOP_PATIENCE_S)
        name = signal.Signals(number).name
        raise Stopped(f"Stopped by {name}. What was written so far is whole; run again to finish.")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
