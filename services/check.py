"""Say all that is wrong with the configuration, and with --online what the systems say of it; changes nothing.

python services/check.py
python services/check.py -a traffic-operations -c object_31 -e prod --online
"""
# PYTHON_ARGCOMPLETE_OK

import argparse
import sys
from functools import partial

from services.utils import checking, cli, containers, env


def main(args: cli.Args) -> cli.Summary:
    """Check the chosen containers and print a line for each finding; the summary counts them."""
    report = checking.Report()
    folder = cli.config_folder()
    config = containers.read_config(folder, partial(report.add_error, "configuration"))
    chosen = checking.choose_containers(config, args.app_name, args.container, args.env, report)
    checking.check_offline(config, chosen, report, folder)
    if args.extra["online"]:
        checking.check_online(chosen, report)
    for line in report.lines([container.where for container in chosen]):
        sys.stdout.write(f"{line}\n")
    return report.summarize(len(chosen))


def make_parser() -> argparse.ArgumentParser:
    """All flags are optional: --online widens what is checked, the others narrow it."""
    parser = cli.make_parser("check", __doc__, container="none")
    parser.add_argument("-a", "--app-name", default="", help="only this app")
    parser.add_argument("-c", "--container", default="", help="only this container")
    parser.add_argument(
        "-e",
        "--env",
        choices=("prod", "dev"),
        default="dev" if env.get("SERVICES_ENV") == "dev" else "prod",
        help="with the settings of this environment; default SERVICES_ENV, else prod",
    )
    parser.add_argument("--online", action="store_true", help="ask the systems too; nothing is written")
    return parser


if __name__ == "__main__":
    cli.run_script("check", make_parser(), main)
