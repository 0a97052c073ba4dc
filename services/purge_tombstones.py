"""Delete old tombstones that every destination of a container has taken.

python services/purge_tombstones.py -a traffic-operations -c object_31 -e prod --older-than 90d
"""
# PYTHON_ARGCOMPLETE_OK

import datetime as dt

from services.utils import cli, containers, env, ledger, runs, sources
from services.utils.postgrest import PostgREST
from services.utils.records import Counts
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Find up to when everything was delivered, and delete the tombstones from before."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env, containers.SYSTEMS)
    sources.refuse_repeat(config, container)
    settings = env.load([f"{container.system}_app", "store"])
    place = sources.find_place(container, settings)
    store = Store(PostgREST(settings.store), place.system, place.app_id, place.container_id)
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=args.extra["older_than"])
    for publisher in sources.list_publishing(config, container):
        standings = ledger.read_standings(
            store.postgrest, app=publisher.app, container=publisher.id, env=args.env
        )
        before = ledger.find_purgeable(standings, publisher, before)
    destination = f"store:{place.system}/{place.app_id}/{place.container_id}"
    with runs.record_run(store.postgrest, args, destination) as run:
        run.moves_watermark = False
        purged = store.purge(before.isoformat(), dry_run=args.dry_run)
        run.counts = Counts(read=purged, deleted=purged)
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("purge_tombstones", __doc__, writes="metadata")
    parser.add_argument(
        "--older-than",
        type=cli.parse_lifetime,
        default="90d",
        metavar="AGE",
        help="only tombstones of this age or more: 12h, 90d (default 90d)",
    )
    cli.run_script("purge_tombstones", parser, main)
