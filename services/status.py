"""Show how every container stands: last runs, failures, refused records.

python services/status.py
python services/status.py -a traffic-operations -c object_31 --rejects
"""
# PYTHON_ARGCOMPLETE_OK

import argparse
import datetime as dt
import sys

from services.utils import cli, env, ledger
from services.utils.postgrest import PostgREST
from services.utils.records import Counts

COLUMNS = ("app/container", "env", "script", "state", "started", "last ok", "moved", "refused", "destination")


def main(args: cli.Args) -> cli.Summary:
    """Print a line for each script and container, with its error below; the summary counts lines."""
    store = PostgREST(env.load(["store"]).store)
    standings = ledger.read_standings(
        store, app=args.app_name, container=args.container, env=args.extra["only_env"] or ""
    )
    rows = [describe(one) for one in standings]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows)]
    for row, one in zip([COLUMNS, *rows], [None, *standings]):
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n")
        if one is not None and one.error:
            sys.stdout.write(f"    {one.error}\n")
        if one is not None and args.extra["rejects"] and one.open_rejects:
            for reject in ledger.read_open_rejects(store, one.destination):
                sys.stdout.write(f"    refused {reject.record_id}: {reject.reason}\n")
    return cli.Summary(
        counts=Counts(read=len(standings), rejected=sum(one.open_rejects for one in standings))
    )


def describe(one: ledger.Standing) -> tuple[str, ...]:
    """One standing as the table's cells."""
    return (
        "/".join(filter(None, [one.app, one.container])),
        one.env or "",
        one.script,
        one.state,
        tell_time(one.started_at),
        tell_time(one.last_ok_at),
        f"{one.inserted + one.updated + one.deleted} of {one.read}",
        str(one.open_rejects),
        one.destination,
    )


def tell_time(when: dt.datetime | None) -> str:
    """A time in UTC, to the second; "never" for None."""
    return when.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ") if when else "never"


def make_parser() -> argparse.ArgumentParser:
    """All flags are optional: each narrows the table."""
    parser = cli.make_parser("status", __doc__, container="none")
    parser.add_argument("-a", "--app-name", default="", help="only this app")
    parser.add_argument("-c", "--container", default="", help="only this container")
    parser.add_argument("-e", "--env", dest="only_env", choices=("prod", "dev"), help="only this environment")
    parser.add_argument("--rejects", action="store_true", help="list the records that are refused, and why")
    return parser


if __name__ == "__main__":
    cli.run_script("status", make_parser(), main)
