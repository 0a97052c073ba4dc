"""The command `python -m dev.stack`; see the package's description."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from dev import stack
from dev.stack.lifecycle import DEFAULT_FOLDER
from services.utils.errors import ServiceError

log = logging.getLogger("stack")


def run_up(folder: Path, args: argparse.Namespace) -> int:
    """Start the stack, or say that it runs."""
    found, ran = stack.bring_up(folder)
    log.info(
        "The stack in %s %s: PostgREST at %s, %s on port %d.",
        found.folder,
        "was up already and is up to date" if ran else "is up",
        found.url,
        found.postgres.version,
        found.database_port,
    )
    variables = shlex.quote(str(found.folder / ".env"))
    log.info("Its variables, for a shell: set -a; . %s; set +a", variables)
    return 0


def run_down(folder: Path, args: argparse.Namespace) -> int:
    """Stop the stack."""
    ran = stack.take_down(folder, remove=args.remove)
    log.info("The stack in %s %s.", folder, "is down" if ran else "was not up")
    if args.remove:
        log.info("Its data are removed.")
    return 0


def run_status(folder: Path, args: argparse.Namespace) -> int:
    """Say whether the stack runs; exit code 1 if it does not, or not wholly."""
    found = stack.read_stack(folder)
    if found is not None and found.is_running():
        sys.stdout.write(f"up\nurl {found.url}\ndatabase port {found.database_port}\nfolder {found.folder}\n")
        return 0
    database = found is not None and found.is_database_running()
    sys.stdout.write("half up: PostgreSQL only\n" if database else "down\n")
    return 1


def run_env(folder: Path, args: argparse.Namespace) -> int:
    """Print the variables as an .env file; exit code 1 if the stack is not up."""
    found = stack.read_stack(folder)
    if found is None or not found.is_running():
        log.error("The stack in %s is not up. Start it with: python -m dev.stack up", folder)
        return 1
    sys.stdout.write(stack.format_env(found.env(args.role)))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed or not up, 2 wrong flags or a missing part."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.stack", description="The local PostgreSQL + PostgREST."
    )
    commands = parser.add_subparsers(required=True, metavar="up|down|status|env")
    for name, command, text in (
        ("up", run_up, "start it in the background, or reuse it"),
        ("down", run_down, "stop it; the data stay"),
        ("status", run_status, "whether it runs"),
        ("env", run_env, "print its variables"),
    ):
        parsed = commands.add_parser(name, help=text, description=text)
        parsed.set_defaults(command=command)
        parsed.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="where it lives (.stack)")
        if name == "down":
            parsed.add_argument("--remove", action="store_true", help="delete its data too")
        if name == "env":
            parsed.add_argument("--role", default="api_user", help="the role to act in (api_user)")
    args = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        return int(args.command(args.folder, args))
    except ServiceError as error:
        log.error("%s", error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
