"""Load an app's metadata (its containers and fields) into the store.

python services/metadata_to_postgrest.py -a data-tracker -e prod
"""

from services.utils import cli, containers, env, knack, runs, store
from services.utils.postgrest import PostgREST


def main(args: cli.Args) -> cli.Summary:
    """Fetch the app's metadata and keep it as it came."""
    containers.find_app(containers.read_config(cli.config_folder()), args.app_name, args.container)
    settings = env.load(["knack", "store"])
    postgrest = PostgREST(settings.store)
    app_id = settings.knack.app_id
    with runs.record_run(postgrest, args, f"store:knack_metadata/{app_id}") as run:
        source = knack.Knack(settings.knack.url, app_id, settings.knack.api_key)
        metadata = source.fetch_metadata()
        knack.open_app(store.decode_metadata(metadata))
        run.counts.read = 1
        outcome = store.load_metadata(postgrest, app_id, metadata, dry_run=args.dry_run)
        setattr(run.counts, outcome, 1)
    return run.summary()


if __name__ == "__main__":
    parser = cli.make_parser("metadata_to_postgrest", __doc__, container="optional", writes="metadata")
    cli.run_script("metadata_to_postgrest", parser, main)
