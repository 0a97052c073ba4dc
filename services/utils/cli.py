"""What every command shares: flags, log lines, stopping cleanly, exit codes, the summary line.

A script gives its `main(args) -> Summary` and is started by `run_script`, which alone decides how a
process ends: 0 done, 1 failed or stopped, 2 wrong flags or configuration, 3 some records refused or differ.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from services import __version__
from services.utils import env, logs, session
from services.utils.errors import ConfigError, ServiceError, Stopped
from services.utils.records import Counts, Part

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_PARTIAL = 0, 1, 2, 3
MOST_SHARDS = 1000
# Schedulers that say stop kill after 10 s or more; the run has to be closed in that time.
STOP_PATIENCE_S = 3.0


@dataclass(frozen=True)
class Args:
    """The flags of a run. date: aware, or None. env: "prod" or "dev" ("" where the script takes none).

    part: of a full load that several processes share; None for a run on its own.
    """

    script: str
    app_name: str = ""
    container: str = ""
    env: str = ""
    date: dt.datetime | None = None
    since_last: bool = False
    dry_run: bool = False
    max_delete_pct: float = 25.0
    allow_empty: bool = False
    # How often something is due, as in `schedule`; "" where nobody said.
    full_every: str = ""
    every: str = ""
    part: Part | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Summary:
    """What the last line of stdout says of a run."""

    status: str = "ok"
    since: dt.datetime | None = None
    watermark: str | None = None
    counts: Counts = field(default_factory=Counts)
    # What only one script has.
    more: dict[str, Any] = field(default_factory=dict)
    # What was done, where counts of records do not say it.
    told: str = ""


class _Version(argparse.Action):
    """Says which version this is."""

    def __init__(self, **given: Any) -> None:
        super().__init__(nargs=0, **{**given, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        sys.stdout.write(f"record-services {__version__}\n")
        sys.exit(EXIT_OK)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which version it is."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.add_argument("--version", action=_Version, help="which version this is, and nothing else")

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. Nothing was sent. Run with --help for the flags.")


def make_parser(
    script: str,
    description: str,
    *,
    container: str = "required",
    writes: str = "",
    shards: bool = False,
    publishes: bool = False,
) -> Parser:
    """A parser with the shared flags.

    container: "required", "optional", "none", or "named" (there is another way to say what to work on: the app is
    optional too). writes: "", "documents" (from a source: adds -d, --since-last and the removal flags), "media"
    (the same without those flags: nothing is removed), "repairs" (the removal flags alone), "backups" (those and
    --dry-run) or "metadata" (adds --dry-run alone). shards: several processes may share a full load (with
    "documents"). publishes: adds --accept-drift.
    """
    summary, _, example = (description or "").partition("\n")
    parser = Parser(
        prog=f"{script}.py",
        description=summary,
        epilog=example.strip("\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if container != "none":
        named = container == "named"
        parser.add_argument(
            "-a",
            "--app-name",
            required=not named,
            default="",
            help="the app, as the configuration names it",
        )
        parser.add_argument(
            "-c",
            "--container",
            required=container == "required",
            default="",
            help="the object, view or form to work on",
        )
        parser.add_argument(
            "-e", "--env", choices=("prod", "dev"), help="default: SERVICES_ENV; dev uses the dev overrides"
        )
    if writes in ("documents", "media"):
        when = parser.add_mutually_exclusive_group()
        when.add_argument(
            "-d",
            "--date",
            type=parse_date,
            help="only records changed at or after this time (ISO-8601; no zone means UTC)",
        )
        when.add_argument(
            "--since-last", action="store_true", help="only records changed since the last successful run"
        )
        parser.add_argument(
            "--full-every",
            type=parse_when,
            default="",
            metavar="WHEN",
            help="with --since-last: everything, where no full run has ended since one was due "
            '(1d, @weekly, "30 3 * * 0")',
        )
    if writes == "metadata":
        parser.add_argument(
            "--every",
            type=parse_when,
            default="",
            metavar="WHEN",
            help='do nothing if it was done since it was last due (1h, @daily, "0 6 * * *")',
        )
    if shards:
        when.add_argument(
            "--shard",
            dest="part",
            type=_parse_shard,
            metavar="I/N",
            help="load one part of everything (pages I, I+N, ...; I from 1 to N); nothing is removed before --finish",
        )
        when.add_argument(
            "--finish",
            dest="part",
            type=_parse_shards,
            metavar="N",
            help="when all N shards have come: remove what none of them saw, move the watermark",
        )
        parser.add_argument(
            "--round",
            default="",
            metavar="NAME",
            help="with --shard and --finish: only those of the same name belong together "
            "(default: those of the last 12 hours)",
        )
        parser.add_argument(
            "--due",
            action="store_true",
            help="load nothing; only say whether --full-every finds a full run due (`due` in the last line: 1 or 0)",
        )
    if writes in ("documents", "repairs", "backups"):
        parser.add_argument(
            "--max-delete-pct",
            type=_parse_pct,
            default=25.0,
            metavar="N",
            help="stop, with nothing changed, if more than N %% would be removed (default 25)",
        )
        parser.add_argument("--allow-empty", action="store_true", help="an empty source is meant to be empty")
    if publishes:
        parser.add_argument(
            "--accept-drift",
            action="store_true",
            help="columns that are not filled as they were are meant so: publish, and speak of them no more",
        )
    if writes and writes != "repairs":
        parser.add_argument("--dry-run", action="store_true", help="do all the work but write nothing")
    return parser


def parse_date(text: str) -> dt.datetime:
    """An aware time from ISO-8601 text; no zone means UTC.

    Raises: argparse.ArgumentTypeError where it is not ISO-8601.
    """
    from dateutil import parser as dates

    try:
        when = dates.isoparse(text.strip())
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an ISO-8601 time such as 2024-05-01 or 2024-05-01T13:30:00-05:00"
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)


def parse_lifetime(text: str) -> int:
    """Seconds from 3600, 60m, 12h or 90d.

    Raises: argparse.ArgumentTypeError for anything else, and for 0.
    """
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    seconds = int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found else 0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time such as 3600, 60m, 12h or 90d")
    return seconds


def parse_when(text: str) -> str:
    """How often something is due, as a container's `schedule` says it; "" is never.

    Raises: argparse.ArgumentTypeError where it is no length of time and no cron expression.
    """
    from services.utils.schedules import parse_schedule

    try:
        parse_schedule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {error}") from error
    return text


def parse_count(text: str) -> int:
    """A whole number, 0 or more. Raises: argparse.ArgumentTypeError for anything else."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def parse_positive(text: str) -> int:
    """A whole number, 1 or more. Raises: argparse.ArgumentTypeError for anything else."""
    if parse_count(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def _parse_pct(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return value


def _parse_shard(text: str) -> Part:
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text.strip(), re.ASCII)
    number, shards = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= shards <= MOST_SHARDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no shard such as 1/4 or 4/4: I/N with I from 1 to N, N up to {MOST_SHARDS}"
        )
    return Part(shards, number)


def _parse_shards(text: str) -> Part:
    found = re.fullmatch(r"\d{1,4}", text.strip(), re.ASCII)
    if not found or not 1 <= int(text) <= MOST_SHARDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of shards, 1 to {MOST_SHARDS}")
    return Part(int(text))


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
        args = _read_args(script, parser, argv)
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
    _print_summary(args, summary, time.monotonic() - started)
    sys.exit(code)


def _read_args(script: str, parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> Args:
    if "_ARGCOMPLETE" in os.environ:
        from services.utils import completion

        completion.offer(parser)
    given = vars(parser.parse_args(argv))
    if "env" in given and not given["env"]:
        given["env"] = env.get("SERVICES_ENV")
        # Without an app, nothing depends on it.
        if given["env"] not in ("prod", "dev") and (given["env"] or given["app_name"]):
            what = f"SERVICES_ENV is {given['env']!r}" if given["env"] else "No environment was given"
            raise ConfigError(f"{what}; give -e prod or -e dev, or set SERVICES_ENV. Nothing was sent.")
    if given.get("full_every") and not given["since_last"]:
        raise ConfigError(
            "--full-every goes with --since-last: without that every run is a full one. Nothing was sent."
        )
    if given.get("due") and not given.get("full_every"):
        raise ConfigError("--due asks what --full-every would do, and that was not given. Nothing was sent.")
    name = str(given.pop("round", "") or "").strip()
    if name:
        if given["part"] is None:
            raise ConfigError(
                "--round names the round of --shard or --finish, and neither was given. Nothing was sent."
            )
        given["part"] = replace(given["part"], round=name)
    known = {key: given.pop(key) for key in list(given) if key in Args.__dataclass_fields__}
    return Args(script, **known, extra=given)


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


def describe_outcome(args: Args, summary: Summary) -> str:
    """What a run did, in one line for people; one that did nothing says so."""
    what = "/".join(filter(None, [args.app_name, args.container])) or "all"
    counts = summary.counts
    moved = counts.inserted + counts.updated + counts.deleted + counts.rejected
    since = f" since {summary.since.isoformat()}" if summary.since else ""
    if moved == 0:
        return f"{args.script} {what}: nothing to do, {counts.read} records read{since}, none needed a change"
    verb = "would be" if args.dry_run else "were"
    return (
        f"{args.script} {what}: of {counts.read} records read{since}, {counts.inserted} {verb} inserted, "
        f"{counts.updated} updated, {counts.unchanged} unchanged; {counts.deleted} deleted, "
        f"{counts.rejected} refused"
    )


def _print_summary(args: Args, summary: Summary, seconds: float) -> None:
    line = {
        "script": args.script,
        "app": args.app_name or None,
        "container": args.container or None,
        "env": args.env or None,
        "status": summary.status,
        "since": summary.since.isoformat() if summary.since else None,
        "watermark": summary.watermark,
        **summary.counts.as_dict(),
        **summary.more,
        "seconds": round(seconds, 3),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def config_folder() -> Path | None:
    """The folder that SERVICES_CONFIG names, or None for services/config."""
    folder = env.get("SERVICES_CONFIG")
    return Path(os.path.expanduser(folder)) if folder else None
