"""Load a container's records into the store: all of them, or what changed.

python services/records_to_postgrest.py -a traffic-operations -c object_31 -e prod --since-last
"""
# PYTHON_ARGCOMPLETE_OK

from services.utils import cli, containers, due, env, runs, sources
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Fetch the container's records and keep them as documents."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env, containers.SYSTEMS)
    sources.refuse_repeat(config, container)
    sources.refuse_shards(container, args.part)
    settings = env.load([container.system, "store"])
    place = sources.find_place(container, settings)
    store = Store(PostgREST(settings.store), place.system, place.app_id, place.container_id)
    guard = DeleteGuard(args.max_delete_pct, args.allow_empty)
    destination = f"store:{place.system}/{place.app_id}/{place.container_id}"
    if args.extra["due"]:
        found = due.is_due(store.postgrest, args, destination, args.full_every, whole=True)
        return cli.Summary(more={"due": int(found)})
    with runs.record_run(store.postgrest, args, destination, container=store) as run:
        sources.load_records(
            container, settings, store, run, guard, follow=args.since_last, dry_run=args.dry_run
        )
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("records_to_postgrest", __doc__, writes="documents", shards=True)
    cli.run_script("records_to_postgrest", parser, main)
