"""Publish a container's records from the store to its ArcGIS Online layer or table.

python services/records_to_agol.py -a traffic-operations -c object_31 -e prod --since-last
"""
# PYTHON_ARGCOMPLETE_OK

from functools import partial

from services.utils import agol, cli, containers, drift, env, masking, runs, sources
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Read documents, shape them as features, bring the layer in step."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env, containers.SYSTEMS)
    service = container.require("service_id", "publish to ArcGIS Online")
    layer_id = container.require("layer_id", "publish to ArcGIS Online")
    settings = env.load([f"{container.system}_app", "store", "agol", *container.secrets])
    place = sources.find_place(container, settings)
    store = Store(PostgREST(settings.store), place.system, place.app_id, place.container_id)
    with runs.record_run(
        store.postgrest, args, f"agol:{service}/{container.item_type}/{layer_id}", container=store
    ) as run:
        rows = sources.open_rows(container, store)
        login = settings.agol
        portal = agol.connect(login.url, login.username, login.password, login.client)
        layer = agol.open_layer(portal, service, layer_id, container.item_type)
        remember = drift.watch_columns(
            container,
            store.postgrest,
            run,
            rows.fields,
            lambda names: agol.match_fields(layer, names),
            [field.name for field in layer.fields],
            accept=args.extra["accept_drift"],
        )
        plain = partial(agol.count_other_ids, layer, masking.START)
        masking.refuse_plain(container, run.is_full, plain, layer.where)
        documents = store.read(since=run.since_text)
        run.counts = agol.publish(
            rows.format(run.watch(documents), on_reject=run.reject),
            layer,
            key_field=container.upsert_matching_field,
            location_field=rows.name_places(layer.place),
            replace=run.is_full,
            guard=DeleteGuard(args.max_delete_pct, args.allow_empty),
            dry_run=args.dry_run,
            on_reject=run.reject,
            parts=rows.parts,
        )
        remember()
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("records_to_agol", __doc__, writes="documents", publishes=True)
    cli.run_script("records_to_agol", parser, main)
