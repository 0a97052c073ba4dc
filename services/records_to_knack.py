"""Copy a Knack container's records from the store to an object of another Knack app: only what differs there.

python services/records_to_knack.py -a traffic-operations -c object_31 -e prod -dest work-register --since-last
"""
# PYTHON_ARGCOMPLETE_OK

import argparse

from services.utils import cli, containers, env, fieldmaps, knack, runs
from services.utils.errors import ConfigError
from services.utils.postgrest import PostgREST
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Read documents, shape them by the field map, create and change what differs; nothing is deleted."""
    folder, app_dest = cli.config_folder(), args.extra["app_name_dest"]
    config = containers.read_config(folder)
    container = containers.find_container(config, args.app_name, args.container, args.env)
    container.require("dest_apps", "be copied to another Knack app")
    if app_dest not in container.dest_apps:
        raise ConfigError(
            f"{container.where} has no app {app_dest!r} in dest_apps; there is: {', '.join(container.dest_apps)}. "
            "Nothing was sent."
        )
    object_key = container.dest_apps[app_dest]
    maps = fieldmaps.read_field_maps(folder, container, app_dest)
    settings = env.load(["knack_copy", "store"])
    place = settings.knack_copy
    if (place.source_app_id, container.id) == (place.app_id, object_key):
        raise ConfigError(
            f"{container.where} would be copied onto itself: KNACK_APP_ID_DEST. Nothing was sent."
        )
    store = Store(PostgREST(settings.store), "knack", place.source_app_id, container.id)
    with runs.record_run(store.postgrest, args, f"knack:{place.app_id}/{object_key}", container=store) as run:
        source = knack.open_app(store.require_metadata())
        copy = knack.open_copy(place, object_key, maps, source, container.id)
        documents = run.watch(store.read(since=run.since_text))
        run.counts = knack.copy_records(documents, copy, dry_run=args.dry_run, on_reject=run.reject)
    return run.summary()


def make_parser() -> argparse.ArgumentParser:
    """The shared flags, and the other app."""
    parser = cli.make_parser("records_to_knack", __doc__, writes="media")
    parser.add_argument(
        "-dest",
        "--app-name-dest",
        required=True,
        metavar="APP2",
        help="the app to copy to, as dest_apps names it",
    )
    return parser


if __name__ == "__main__":
    cli.run_script("records_to_knack", make_parser(), main)
