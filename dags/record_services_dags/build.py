"""Steps as Airflow's tasks, one DAG a container."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from airflow.sdk import DAG, Param
from airflow.sdk.module_loading import import_string

from record_services_dags import commands, plan
from record_services_dags.operators import OutcomeOperator, ScriptOperator
from record_services_dags.settings import Settings, read_settings
from services.utils.containers import Container, read_config
from services.utils.errors import ConfigError

# Nothing is caught up with: any day before the first run does.
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
LONGEST_RETRY_DELAY = dt.timedelta(minutes=30)


def build_dags(apps: Iterable[str] | None = None) -> dict[str, DAG]:
    """{dag id: DAG} of every configured container, or of those of some apps.

    Raises: ConfigError if a setting or a container is wrong: one line, and no DAG at all.
    """
    settings = read_settings()
    on_failure = _find_callback(settings.on_failure)
    found = list(plan.list_containers(read_config(settings.config), settings.env, apps))
    plan.refuse_twins(found)
    slots = {pool.name: pool.slots for pool in plan.plan_pools(found)}
    dags = [
        build_dag(settings, container, slots.get(plan.name_source_pool(container), 0), on_failure)
        for container in found
    ]
    return {dag.dag_id: dag for dag in dags}


def build_dag(settings: Settings, container: Container, slots: int = 0, on_failure: Any = None) -> DAG:
    """A container's DAG. slots: of its app's pool."""
    steps = plan.plan_steps(container, slots)
    with DAG(
        plan.name_dag(container),
        dag_display_name=container.where,
        description=container.description or None,
        schedule=plan.plan_schedule(container),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args={
            "retries": settings.retries,
            "retry_delay": dt.timedelta(seconds=settings.retry_after_s),
            "retry_exponential_backoff": 2,
            "max_retry_delay": LONGEST_RETRY_DELAY,
            "execution_timeout": dt.timedelta(seconds=settings.timeout_s),
            "on_failure_callback": on_failure,
        },
        params={"full": Param(False, type="boolean", description="load and publish everything")},
        tags=["record-services", container.system, container.app],
    ) as dag:
        tasks: dict[str, Any] = {}
        for step in steps:
            tasks[step.id] = _build_task(settings, container, step, tasks)
            for before in step.after:
                tasks[before] >> tasks[step.id]
        outcome = OutcomeOperator(
            task_id="outcome",
            steps=list(tasks),
            rejects=f"python services/status.py -a {container.app} -c {container.id} --rejects",
            trigger_rule="none_failed",
            retries=0,
        )
        list(tasks.values()) >> outcome
    return dag


def _build_task(settings: Settings, container: Container, step: plan.Step, tasks: dict[str, Any]) -> Any:
    operator: Any = ScriptOperator
    shared: dict[str, Any] = {
        "task_id": step.id,
        # A step that refused some records counts as skipped: what comes after it runs.
        "trigger_rule": "all_done" if step.whatever_before else "none_failed",
        **({"pool": step.pool, "pool_slots": step.slots} if settings.own_pools and step.pool else {}),
    }
    if settings.runner == "docker-operator":
        # The provider is a package of its own.
        from record_services_dags.docker import ScriptDockerOperator

        operator = ScriptDockerOperator
        shared |= {
            "image": settings.image,
            "command": f"services/{step.script}.py {commands.build_flags(step)}",
            "variables_file": commands.name_env_file(settings, container, step),
            **settings.docker_options,
        }
    else:
        shared["bash_command"] = commands.build_shell(settings, container, step)
    if step.id == "load_shard":
        # One task for each shard of a full load that is due; none where what changed is loaded.
        return operator.partial(**shared, map_index_template="{{ task.shard }}").expand(
            shard=tasks["shards"].output
        )
    return operator(**shared, shards=step.shards if step.id == "shards" else 0)


def _find_callback(dotted: str) -> Any:
    if not dotted:
        return None
    try:
        return import_string(dotted)
    except ImportError as error:
        raise ConfigError(
            f"RECORD_SERVICES_ON_FAILURE is {dotted!r}, which cannot be imported: {error}. No DAG was built."
        ) from error
