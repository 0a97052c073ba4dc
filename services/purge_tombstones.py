"""Delete old tombstones that every destination of a container has taken.

python services/purge_tombstones.py -a data-tracker -c object_31 -e prod --older-than 90d
"""

import datetime as dt

from services.utils import cli, containers, env, ledger, runs
from services.utils.errors import StoreError
from services.utils.postgrest import PostgREST
from services.utils.records import Counts
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Find up to when everything was delivered, and delete the tombstones from before."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env)
    settings = env.load(["knack_app", "store"])
    store = Store(PostgREST(settings.store), "knack", settings.knack.app_id, container.id)
    standings = ledger.read_standings(
        store.postgrest, app=args.app_name, container=args.container, env=args.env
    )
    wanted = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=args.extra["older_than"])
    before, behind = ledger.find_purgeable(standings, container.publishers, wanted)
    if before is None:
        raise StoreError(
            f"{container.where} is published by {behind}, which has never delivered everything in {args.env}. "
            "Nothing was deleted. Run it first, or take its destination out of the configuration."
        )
    with runs.record_run(store.postgrest, args, f"store:knack/{settings.knack.app_id}/{container.id}") as run:
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
