"""The command of a step, as a shell takes it. No value of a secret stands in it, only the file that holds them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from record_services_dags.plan import Step
from record_services_dags.settings import ROOT, Settings
from services.utils.containers import Container
from services.utils.errors import ConfigError

_WITH_ENV = Path(__file__).with_name("with_env.sh")


def build_shell(settings: Settings, container: Container, step: Step) -> str:
    """The command for a BashOperator: `docker run`, or this machine's Python; a template of Airflow's."""
    script = f"services/{step.script}.py"
    env_file = name_env_file(settings, container, step)
    if settings.runner == "local":
        words = [settings.python, str(ROOT / script)]
        if env_file:
            words = ["bash", str(_WITH_ENV), env_file, *words]
    else:
        words = ["docker", "run", "--rm", "--env-file", env_file, *settings.docker_flags]
        words += [settings.image, script]
    # exec: a signal reaches the script, or docker's client, and nothing waits in between.
    return f"exec {quote(words)} {build_flags(step)}"


def build_flags(step: Step) -> str:
    """A step's flags, as a template: the usual ones are left out of a run that was triggered with {"full": true}."""
    flags, usual = quote(step.flags), quote(step.usual)
    if step.id == "load_shard":
        return f"{flags} --shard {{{{ task.shard }}}} --round {{{{ run_id }}}}"
    if step.id == "load" and step.shards:
        finish = f"--finish {step.shards} --round "
        return f"{flags} {{{{ {finish!r} ~ run_id if ti.xcom_pull(task_ids='shards') else {usual!r} }}}}"
    return f"{flags} {{{{ '' if params.full else {usual!r} }}}}" if usual else flags


def name_env_file(settings: Settings, container: Container, step: Step) -> str:
    """Where this step's variables are; "" where the process has them already.

    Raises: ConfigError if a container would start without any.
    """
    if settings.runner != "local" and not settings.env_file:
        raise ConfigError(
            f"RECORD_SERVICES_ENV_FILE is not set, and RECORD_SERVICES_RUNNER is {settings.runner!r}: scripts would "
            "start without variables. No DAG was built. Set it to the path of an env file."
        )
    return settings.env_file.format(
        app=container.app, container=container.id, script=step.script, dest=step.dest
    )


def quote(words: Iterable[str]) -> str:
    """Words as a shell takes them.

    Raises: ConfigError for one that Airflow would take for a template.
    """
    words = list(words)
    for word in words:
        if "{{" in word or "{%" in word or "{#" in word:
            raise ConfigError(f"{word!r} would be a template in Airflow. No DAG was built. Rename it.")
    return shlex.join(words)


def read_env_file(path: str) -> dict[str, str]:
    """An env file as docker reads it: NAME=value a line, nothing quoted, nothing expanded.

    Raises: ConfigError if it cannot be read, or a line has no value; the line is numbered, not shown.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"The env file {path} cannot be read: {reason}. Nothing was sent.") from error
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or not name.isidentifier():
            raise ConfigError(f"The env file {path}, line {number}: expected NAME=value. Nothing was sent.")
        found[name] = value
    return found
