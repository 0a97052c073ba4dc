"""Show how every container stands: freshness, last runs, failures, refused records.

python services/status.py
python services/status.py -a traffic-operations -c object_31 --rejects
python services/status.py --html status.html
"""
# PYTHON_ARGCOMPLETE_OK

import argparse
import datetime as dt
import logging
import sys
from pathlib import Path

from services.utils import cli, containers, env, status
from services.utils.errors import ConfigError
from services.utils.postgrest import PostgREST

log = logging.getLogger(__name__)


def main(args: cli.Args) -> cli.Summary:
    """Print a table or a JSON document, or write a page; the summary says how many containers need somebody."""
    page: Path | None = args.extra["html"]
    if page is not None:
        page = status.check_path(page)
    store = PostgREST(env.load(["store"]).store)
    config, note = None, ""
    try:
        config = containers.read_config(cli.config_folder())
    except ConfigError as error:
        note = str(error)
        log.warning("schedules are not known: %s", note)
    wanted = status.Wanted(
        args.app_name, args.container, args.extra["only_env"] or "", env.get("SERVICES_ENV") or "prod"
    )
    all_rejects = args.extra["rejects"]
    report = status.gather(
        store, config, note, wanted, dt.datetime.now(dt.UTC), all_rejects=all_rejects, draw=page is not None
    )
    if page is not None:
        status.write_page(report, page)
        log.info("wrote %s", page)
    elif not args.extra["json"]:
        sys.stdout.writelines(f"{line}\n" for line in status.build_table(report, rejects=all_rejects))
    return status.summarise(report, whole=args.extra["json"])


def make_parser() -> argparse.ArgumentParser:
    """All flags are optional: each narrows what is shown, or says how."""
    parser = cli.make_parser("status", __doc__, container="none")
    parser.add_argument("-a", "--app-name", default="", help="only this app")
    parser.add_argument("-c", "--container", default="", help="only this container")
    parser.add_argument("-e", "--env", dest="only_env", choices=("prod", "dev"), help="only this environment")
    parser.add_argument("--rejects", action="store_true", help="list all records that are refused, and why")
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON with everything, instead of a table"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write one web page that needs nothing else"
    )
    return parser


if __name__ == "__main__":
    cli.run_script("status", make_parser(), main)
