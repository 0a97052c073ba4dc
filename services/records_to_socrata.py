"""Publish a container's records from the store to its Socrata dataset.

python services/records_to_socrata.py -a traffic-operations -c object_31 -e prod --since-last
"""
# PYTHON_ARGCOMPLETE_OK

import datetime as dt
from functools import partial

from services.utils import cli, containers, drift, env, masking, runs, socrata, sources
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Read documents, shape them as rows, bring the dataset in step."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env, containers.SYSTEMS)
    resource = container.require("socrata_resource_id", "publish to Socrata")
    settings = env.load([f"{container.system}_app", "store", "socrata", *container.secrets])
    place = sources.find_place(container, settings)
    store = Store(PostgREST(settings.store), place.system, place.app_id, place.container_id)
    portal = settings.socrata
    with runs.record_run(store.postgrest, args, f"socrata:{portal.host}/{resource}", container=store) as run:
        client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token)
        dataset = socrata.open_dataset(client, resource)
        rows = sources.open_rows(container, store, socrata.geo_columns(dataset))
        remember = drift.watch_columns(
            container,
            store.postgrest,
            run,
            rows.fields,
            lambda names: socrata.match_columns(names, dataset.columns),
            dataset.columns,
            accept=args.extra["accept_drift"],
        )
        plain = partial(socrata.count_other_keys, dataset, masking.START)
        masking.refuse_plain(container, run.is_full, plain, str(dataset))
        documents = store.read(since=run.since_text, deleted=not container.is_alone_in_dataset)
        documents = store.skip_alive_elsewhere(documents, container.siblings)
        run.counts = socrata.publish(
            rows.format(run.watch(documents), on_reject=run.reject),
            dataset,
            replace=run.is_full,
            exclusive=container.is_alone_in_dataset,
            guard=DeleteGuard(args.max_delete_pct, args.allow_empty),
            dry_run=args.dry_run,
            on_reject=run.reject,
            parts=rows.parts,
            stamp=socrata.build_stamp(
                dataset, container.append_timestamps_socrata, dt.datetime.now(rows.zone)
            ),
        )
        remember()
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("records_to_socrata", __doc__, writes="documents", publishes=True)
    cli.run_script("records_to_socrata", parser, main)
