"""Scripts by Docker's API. Needs apache-airflow-providers-docker; imported only where it was chosen."""

from __future__ import annotations

import re
from typing import Any

from airflow.providers.docker.exceptions import (
    DockerContainerFailedException,
    DockerContainerFailedSkipException,
)
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.log import mask_secret

from record_services_dags.commands import read_env_file
from record_services_dags.operators import EXIT_PARTIAL, settle
from services.utils.env import VARIABLES
from services.utils.errors import ConfigError

_SECRETS = {variable.name for variable in VARIABLES if variable.secret}


class ScriptDockerOperator(DockerOperator):
    """Runs a script in a container that Docker's API starts.

    The variables are read on the worker, when the task runs, and given as `private_environment`: they are in no DAG, no
    rendered field and no log.
    """

    ui_color = "#e8f0ea"

    def __init__(self, *, variables_file: str, shard: str = "", shards: int = 0, **kwargs: Any) -> None:
        given = {"mount_tmp_dir": False, "auto_remove": "force", "skip_on_exit_code": EXIT_PARTIAL, **kwargs}
        super().__init__(**given)
        self.variables_file = variables_file
        self.shard, self.shards = shard, shards

    def execute(self, context: Context) -> Any:
        """Run it to its end; what ScriptOperator gives too."""
        try:
            variables = read_env_file(self.variables_file)
        except ConfigError as error:
            raise AirflowFailException(str(error)) from None
        for name in _SECRETS & variables.keys():
            mask_secret(variables[name])
        self._private_environment: dict[str, str] = variables
        try:
            code, last = 0, super().execute(context)
        except DockerContainerFailedSkipException as refused:
            code, last = EXIT_PARTIAL, _find_last(refused.logs)
        except DockerContainerFailedException as failed:
            found = re.search(r"'StatusCode': (\d+)", str(failed))
            code, last = int(found[1]) if found else 1, _find_last(failed.logs)
        return settle(context, code, str(last or ""), self.shards)


def _find_last(lines: Any) -> str:
    return lines[-1] if lines else ""
