"""What Tab offers in a shell: flags, and the apps and containers of the configuration (argcomplete)."""

from __future__ import annotations

import argparse
from typing import Any

from services.utils import containers
from services.utils.cli import config_folder
from services.utils.errors import ServiceError


def offer(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end."""
    import argcomplete

    for action in parser._actions:
        completer = {"app_name": complete_app, "container": complete_container}.get(action.dest)
        if completer is not None:
            action.completer = completer  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)


def complete_app(**_: Any) -> list[str]:
    """The configured apps."""
    return sorted(app for held in _read().values() for app in held)


def complete_container(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The containers of the app that was named, or of all."""
    app = getattr(parsed_args, "app_name", "")
    return sorted(
        container
        for held in _read().values()
        for name, listed in held.items()
        if app in ("", None, name)
        for container in listed
    )


def _read() -> dict[str, dict[str, dict[str, Any]]]:
    try:
        return containers.read_config(config_folder())
    except ServiceError:
        return {}
