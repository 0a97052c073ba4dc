"""Copy the media of an ODK form's submissions to S3, and note each file in the store.

python services/attachments_to_s3.py -a green-town -c household_trees -e prod --since-last
python services/attachments_to_s3.py -a green-town -c household_trees -e prod --link KEY
"""
# PYTHON_ARGCOMPLETE_OK

import argparse
import sys

from services.utils import cli, containers, copying, env, odk, runs, s3, sources
from services.utils.errors import PublishError
from services.utils.postgrest import PostgREST
from services.utils.store import Store


def main(args: cli.Args) -> cli.Summary:
    """Ask Central for every file, bring what is new or another one into the bucket."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env, ("odk",))
    sources.refuse_repeat(config, container)
    container.require("attachments", "copy media to S3")
    if args.extra["link"]:
        bucket = s3.connect(env.load(["s3"]).s3)
        if bucket.find(args.extra["link"]) is None:
            raise PublishError(f"There is no object {args.extra['link']} in {bucket.name}. No link was made.")
        sys.stdout.write(bucket.build_link(args.extra["link"], args.extra["lifetime"]) + "\n")
        return cli.Summary()
    settings = env.load(["odk", "store", "s3"])
    options = copying.read_options(container, settings.s3)
    place = sources.find_form(container, settings.odk)
    postgrest = PostgREST(settings.store, pool=options.workers + 2)
    store = Store(postgrest, "odk", place.app_id, place.form_id)
    bucket = s3.connect(settings.s3)
    destination = f"s3:{bucket.name}/{options.prefix}/{place.form_id}"
    with runs.record_run(postgrest, args, destination, container=store) as run:
        form = odk.open_form(store.require_metadata())
        central = odk.connect(settings.odk, options.workers + 2)
        feed = odk.FormFeed(central, place.project_id, place.form_id)
        copier = copying.Copier(store, form, feed, bucket, options, dry_run=args.dry_run)
        more = copier.copy(run)
    summary = run.summary()
    summary.more = more
    return summary


def make_parser() -> argparse.ArgumentParser:
    """The shared flags, and those of links."""
    parser = cli.make_parser("attachments_to_s3", __doc__, writes="media")
    parser.add_argument("--link", metavar="KEY", help="copy nothing; print a link to this object")
    parser.add_argument(
        "--lifetime",
        type=cli.parse_lifetime,
        default="1h",
        metavar="TIME",
        help="how long the link is good: 3600, 60m, 12h, 7d (default 1h)",
    )
    return parser


if __name__ == "__main__":
    cli.run_script("attachments_to_s3", make_parser(), main)
