"""Load a container's records into the store: all of them, or what changed.

python services/records_to_postgrest.py -a data-tracker -c object_31 -e prod --since-last
"""

import logging

from services.utils import cli, containers, env, knack, loading, runs
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.store import Store

log = logging.getLogger(__name__)


def main(args: cli.Args) -> cli.Summary:
    """Fetch the container's records and keep them as documents."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env)
    settings = env.load(["knack", "store"])
    app_id = settings.knack.app_id
    store = Store(PostgREST(settings.store), "knack", app_id, container.id)
    client = knack.Knack(settings.knack.url, app_id, settings.knack.api_key)
    guard = DeleteGuard(args.max_delete_pct, args.allow_empty)
    with runs.record_run(store.postgrest, args, f"store:knack/{app_id}/{container.id}") as run:
        since = run.since
        if since and not container.modified_date_field_id:
            log.warning(
                "%s has no modified_date_field_id: reading all of it, removing nothing", container.where
            )
            since = None
        source = knack.open_source(
            client,
            knack.find_app(client, store.read_metadata(), container.id),
            container.id,
            scene_id=container.scene_id,
            modified_field=container.modified_date_field_id,
            since=since,
        )
        if run.is_full:
            loading.load_all(store, source, run, guard, dry_run=args.dry_run)
        else:
            loading.load_changes(store, source, run, dry_run=args.dry_run)
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("records_to_postgrest", __doc__, writes="documents")
    cli.run_script("records_to_postgrest", parser, main)
