"""What a run was told: its flags, and what the environment says where a flag was not given."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.utils import env
from services.utils.errors import ConfigError
from services.utils.records import Part


@dataclass(frozen=True)
class Args:
    """The flags of a run. date: aware, or None. env: "prod" or "dev" ("" where the script takes none).

    part: of a full load that several processes share; None for a run on its own.
    """

    script: str
    app_name: str = ""
    container: str = ""
    env: str = ""
    date: dt.datetime | None = None
    since_last: bool = False
    dry_run: bool = False
    max_delete_pct: float = 25.0
    allow_empty: bool = False
    # How often something is due, as in `schedule`; "" where nobody said.
    full_every: str = ""
    every: str = ""
    part: Part | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def read_args(script: str, parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> Args:
    """The flags that were given, held to one another.

    Raises: ConfigError.
    """
    if "_ARGCOMPLETE" in os.environ:
        from services.utils import completion

        completion.offer(parser)
    given = vars(parser.parse_args(argv))
    if "env" in given and not given["env"]:
        given["env"] = env.get("SERVICES_ENV")
        # Without an app, nothing depends on it.
        if given["env"] not in ("prod", "dev") and (given["env"] or given["app_name"]):
            what = f"SERVICES_ENV is {given['env']!r}" if given["env"] else "No environment was given"
            raise ConfigError(f"{what}; give -e prod or -e dev, or set SERVICES_ENV. Nothing was sent.")
    if given.get("full_every") and not given["since_last"]:
        raise ConfigError(
            "--full-every goes with --since-last: without that every run is a full one. Nothing was sent."
        )
    if given.get("due") and not given.get("full_every"):
        raise ConfigError("--due asks what --full-every would do, and that was not given. Nothing was sent.")
    name = str(given.pop("round", "") or "").strip()
    if name:
        if given["part"] is None:
            raise ConfigError(
                "--round names the round of --shard or --finish, and neither was given. Nothing was sent."
            )
        given["part"] = replace(given["part"], round=name)
    known = {key: given.pop(key) for key in list(given) if key in Args.__dataclass_fields__}
    return Args(script, **known, extra=given)


def config_folder() -> Path | None:
    """The folder that SERVICES_CONFIG names, or None for services/config."""
    folder = env.get("SERVICES_CONFIG")
    return Path(os.path.expanduser(folder)) if folder else None
