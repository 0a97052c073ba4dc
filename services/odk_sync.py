"""Keep one ODK form in step: metadata, records, media and views, once or every S seconds.

python services/odk_sync.py -a green-town -c household_trees -e prod --interval 60
"""
# PYTHON_ARGCOMPLETE_OK

import argparse
import logging

from services.utils import cli, containers, env, steps

log = logging.getLogger(__name__)


def main(args: cli.Args) -> cli.Summary:
    """Run the steps in turn; a step that fails is said, and the next round tries again."""
    config = containers.read_config(cli.config_folder())
    container = containers.find_container(config, args.app_name, args.container, args.env, ("odk",))
    systems = ["odk", "store", "s3"] if container.copies_media else ["odk", "store"]
    env.load(systems)
    flags = ["-a", args.app_name, "-c", args.container, "-e", args.env]
    plan = [("metadata_to_postgrest", flags), ("records_to_postgrest", [*flags, "--since-last"])]
    if container.copies_media:
        plan.append(("attachments_to_s3", [*flags, "--since-last"]))
    summary = cli.Summary()
    interval_s = args.extra["interval"]
    stop = steps.StopAfterStep()
    with stop.listening():
        for number in steps.tick(interval_s, stop) if interval_s else [1]:
            log.info("round %d of %s begins", number, container.where)
            summary = steps.run_round(plan, stop)
            log.info("round %d of %s: %s", number, container.where, cli.describe_outcome(args, summary))
    if stop.is_wished:
        summary.status = "stopped"
    return summary


def make_parser() -> argparse.ArgumentParser:
    """The shared flags, and the interval."""
    parser = cli.make_parser("odk_sync", __doc__)
    parser.add_argument(
        "--interval",
        type=cli.parse_lifetime,
        default=env.get("SYNC_INTERVAL") or None,
        metavar="S",
        help="seconds between the beginnings of two rounds (also 5m, 1h); default: SYNC_INTERVAL, else once",
    )
    return parser


if __name__ == "__main__":
    cli.run_script("odk_sync", make_parser(), main)
