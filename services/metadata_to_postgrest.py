"""Load an app's metadata (its containers and fields) into the store.

python services/metadata_to_postgrest.py -a traffic-operations -e prod
"""
# PYTHON_ARGCOMPLETE_OK

from services.utils import cli, containers, due, env, runs, sources
from services.utils.postgrest import PostgREST


def main(args: cli.Args) -> cli.Summary:
    """Fetch the app's metadata and keep it as it came."""
    config = containers.read_config(cli.config_folder())
    system = containers.find_app(config, args.app_name, args.container, containers.SYSTEMS)
    settings = env.load([system, "store"])
    postgrest = PostgREST(settings.store)
    destination = sources.name_metadata(config, args, system, settings)
    if args.every and not due.is_due(postgrest, args, destination, args.every):
        return cli.Summary()
    with runs.record_run(postgrest, args, destination) as run:
        sources.load_metadata(config, args, system, settings, postgrest, run)
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("metadata_to_postgrest", __doc__, container="optional", writes="metadata")
    cli.run_script("metadata_to_postgrest", parser, main)
