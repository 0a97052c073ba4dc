"""The flags that commands share: one parser, and how their values are read."""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
from typing import Any, NoReturn

from services import __version__
from services.utils.errors import ConfigError
from services.utils.records import Part

MOST_SHARDS = 1000
_LATEST_YEAR = 9998
_LONGEST_S = 36_525 * 86_400


class _Version(argparse.Action):
    """Says which version this is."""

    def __init__(self, **given: Any) -> None:
        super().__init__(nargs=0, **{**given, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        sys.stdout.write(f"record-services {__version__}\n")
        sys.exit(0)


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

    Raises: argparse.ArgumentTypeError where it is not ISO-8601, or out of all time.
    """
    from dateutil import parser as dates

    try:
        when = dates.isoparse(text.strip())
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an ISO-8601 time such as 2024-05-01 or 2024-05-01T13:30:00-05:00"
        ) from error
    if not 1000 <= when.year <= _LATEST_YEAR:
        # A day's overlap or a time zone would lead out of what a date can be.
        raise argparse.ArgumentTypeError(f"{text!r} is not between the years 1000 and {_LATEST_YEAR}")
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)


def parse_lifetime(text: str) -> int:
    """Seconds from 3600, 60m, 12h or 90d.

    Raises: argparse.ArgumentTypeError for anything else, for 0, and for more than a hundred years.
    """
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    seconds = int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST_S:
        more = " (a hundred years at most)" if seconds > 0 else ""
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time such as 3600, 60m, 12h or 90d{more}")
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
