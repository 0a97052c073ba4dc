"""Publish a container's records from the store to its Socrata dataset.

python services/records_to_socrata.py -a data-tracker -c object_31 -e prod --since-last
"""

from services.utils import cli, containers, env, knack, runs, socrata
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Read documents, shape them as rows, bring the dataset in step."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env)
    resource = container.require("socrata_resource_id", "publish to Socrata")
    settings = env.load(["knack_app", "store", "socrata"])
    store = Store(PostgREST(settings.store), "knack", settings.knack.app_id, container.id)
    portal = settings.socrata
    with runs.record_run(store.postgrest, args, f"socrata:{portal.host}/{resource}") as run:
        client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token)
        dataset = socrata.open_dataset(client, resource)
        app = knack.open_app(store.require_metadata())
        places = knack.find_addresses(
            app,
            container.id,
            socrata.geo_columns(dataset),
            fields=container.fields,
            exclude_fields=container.exclude_fields,
        )
        formatter = knack.compile_formatter(
            app,
            container.id,
            location_fields=[*container.location_fields, *places],
            fields=container.fields,
            exclude_fields=container.exclude_fields,
        )
        exclusive = not (container.siblings or container.no_replace_socrata)
        documents = store.read(since=run.since_text, deleted=not exclusive)
        documents = store.skip_alive_elsewhere(documents, container.siblings)
        run.counts = socrata.publish(
            knack.format_rows(run.watch(documents), formatter, on_reject=run.reject),
            dataset,
            replace=run.is_full,
            exclusive=exclusive,
            guard=DeleteGuard(args.max_delete_pct, args.allow_empty),
            dry_run=args.dry_run,
            on_reject=run.reject,
        )
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("records_to_socrata", __doc__, writes="documents")
    cli.run_script("records_to_socrata", parser, main)
