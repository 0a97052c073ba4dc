"""How the DAGs run scripts: variables of Airflow's own processes, read once a parse.

The same values must be set for scheduler, DAG processor and workers. docs/airflow.md is held to `VARIABLES` by a test.
"""

from __future__ import annotations

import json
import os
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.utils.errors import ConfigError
from services.utils.schedules import find_length_s

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = ("docker", "local", "docker-operator")
# What may stand in the path of the env file: each app has secrets of its own, each script may have fewer rights.
PLACEHOLDERS = ("app", "container", "script", "dest")

VARIABLES: dict[str, str] = {
    "RECORD_SERVICES_RUNNER": "docker",
    "RECORD_SERVICES_ENV_FILE": "",
    "RECORD_SERVICES_IMAGE": "record-services",
    "RECORD_SERVICES_DOCKER_FLAGS": "",
    "RECORD_SERVICES_DOCKER_OPTIONS": "",
    "RECORD_SERVICES_PYTHON": str(ROOT / ".venv" / "bin" / "python"),
    "RECORD_SERVICES_RETRIES": "3",
    "RECORD_SERVICES_RETRY_AFTER": "1m",
    "RECORD_SERVICES_TIMEOUT": "2h",
    "RECORD_SERVICES_POOLS": "own",
    "RECORD_SERVICES_ON_FAILURE": "",
    "SERVICES_ENV": "prod",
    "SERVICES_CONFIG": "",
}


@dataclass(frozen=True)
class Settings:
    """Times in seconds; env_file may hold what `PLACEHOLDERS` names; config is None for services/config."""

    runner: str
    env_file: str
    image: str
    docker_flags: tuple[str, ...]
    docker_options: dict[str, Any] = field(hash=False)
    python: str
    retries: int
    retry_after_s: int
    timeout_s: int
    own_pools: bool
    on_failure: str
    env: str
    config: Path | None


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings, from the environment.

    Raises: ConfigError that names the variable, what it holds and what was expected.
    """
    found = os.environ if environ is None else environ
    values = {name: found.get(name, "").strip() or default for name, default in VARIABLES.items()}

    def refuse(name: str, expected: str) -> ConfigError:
        return ConfigError(f"{name} is {values[name]!r}, expected {expected}. No DAG was built.")

    def read_choice(name: str, *choices: str) -> str:
        if values[name] not in choices:
            raise refuse(name, " or ".join(choices))
        return values[name]

    def read_length(name: str) -> int:
        seconds = find_length_s(values[name])
        if seconds is None:
            raise refuse(name, "a length of time such as 5m, 2h or 1d")
        return seconds

    runner = read_choice("RECORD_SERVICES_RUNNER", *RUNNERS)
    env_file = values["RECORD_SERVICES_ENV_FILE"]
    try:
        named = {name for _, name, _, _ in string.Formatter().parse(env_file) if name is not None}
    except ValueError:
        named = {""}
    if not named <= set(PLACEHOLDERS):
        raise refuse(
            "RECORD_SERVICES_ENV_FILE", "a path; {app}, {container}, {script} and {dest} may stand in it"
        )
    if not values["RECORD_SERVICES_RETRIES"].isdecimal():
        raise refuse("RECORD_SERVICES_RETRIES", "a whole number, 0 or more")
    return Settings(
        runner,
        env_file,
        values["RECORD_SERVICES_IMAGE"],
        _split(values["RECORD_SERVICES_DOCKER_FLAGS"], refuse),
        _read_options(values["RECORD_SERVICES_DOCKER_OPTIONS"], refuse),
        values["RECORD_SERVICES_PYTHON"],
        int(values["RECORD_SERVICES_RETRIES"]),
        read_length("RECORD_SERVICES_RETRY_AFTER"),
        read_length("RECORD_SERVICES_TIMEOUT"),
        read_choice("RECORD_SERVICES_POOLS", "own", "default") == "own",
        values["RECORD_SERVICES_ON_FAILURE"],
        read_choice("SERVICES_ENV", "prod", "dev"),
        Path(os.path.expanduser(values["SERVICES_CONFIG"])) if values["SERVICES_CONFIG"] else None,
    )


def _split(text: str, refuse: Any) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise refuse("RECORD_SERVICES_DOCKER_FLAGS", "words as a shell takes them") from None


def _read_options(text: str, refuse: Any) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise refuse("RECORD_SERVICES_DOCKER_OPTIONS", 'a JSON object such as {"network_mode": "host"}')
    return options
