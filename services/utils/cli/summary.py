"""How a run ended: its exit code, the line for people, the last line of stdout for programs."""

from __future__ import annotations

import datetime as dt
import json
import sys
from dataclasses import dataclass, field
from typing import Any

from services.utils.cli.args import Args
from services.utils.records import Counts

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_PARTIAL = 0, 1, 2, 3


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


def print_summary(args: Args, summary: Summary, seconds: float) -> None:
    """Write the summary line to stdout."""
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
