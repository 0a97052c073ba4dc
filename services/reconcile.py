"""Compare a container's source, store and destinations, record by record; with --repair bring what differs.

python services/reconcile.py -a traffic-operations -c object_31 -e prod
python services/reconcile.py -a traffic-operations -c object_31 -e prod --only socrata --repair
"""
# PYTHON_ARGCOMPLETE_OK

import argparse
import sys

from services.utils import cli, containers, env, reconciling, sources
from services.utils.postgrest import PostgREST
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Print what each place holds and how it differs; exit 3 where anything does."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env, containers.SYSTEMS)
    chosen = reconciling.choose_places(config, container, args.extra["only"] or [])
    settings = env.load(reconciling.list_systems(container, chosen))
    place = sources.find_place(container, settings)
    store = Store(PostgREST(settings.store), place.system, place.app_id, place.container_id)
    places = [kind(container, settings, store, args) for kind in chosen]
    summary = cli.Summary()
    for report in reconciling.reconcile(places, args, shown=args.extra["ids"], mend=args.extra["repair"]):
        sys.stdout.write("\n".join(report.lines()) + "\n\n")
        summary.counts = report.repaired
        summary.more = report.numbers()
        summary.status = "differs" if report.differs else "ok"
        summary.told = report.describe(container.where, args.script)
    if report.failed:
        raise report.fail(summary)
    return summary


def make_parser() -> argparse.ArgumentParser:
    """The shared flags, and those of comparing."""
    parser = cli.make_parser("reconcile", __doc__, writes="repairs")
    parser.add_argument("--repair", action="store_true", help="bring what differs, then compare again")
    parser.add_argument(
        "--only",
        action="append",
        choices=("store", "socrata", "agol"),
        help="only this place; may be given more than once (default: all that are configured)",
    )
    parser.add_argument(
        "--ids",
        type=cli.parse_count,
        default=5,
        metavar="N",
        help="list up to N ids of each kind (default 5)",
    )
    return parser


if __name__ == "__main__":
    cli.run_script("reconcile", make_parser(), main)
