"""Imports the DAGs as Airflow's DAG processor does, for each JSON object of variables on stdin, and says what came.

Runs in Airflow's own environment. A line of JSON for each: {"errors": [...], "dags": {id: ...}}.
"""

import json
import os
import sys

from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

FIELDS = ("pool", "pool_slots", "retries", "retry_exponential_backoff", "trigger_rule")


def describe(dag):
    """What tests look at, and all that Airflow would store of the DAG."""
    stored = DagSerialization.to_dict(dag)
    return {
        "timetable": stored["dag"]["timetable"]["__var"],
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "tasks": {
            task.task_id: {
                "mapped": task.is_mapped,
                "after": sorted(task.upstream_task_ids),
                "command": getattr(task, "bash_command", None) or getattr(task, "command", None),
                "timeout_s": task.execution_timeout and task.execution_timeout.total_seconds(),
                **{name: getattr(task, name) for name in FIELDS},
            }
            for task in dag.tasks
        },
        "stored": json.dumps(stored),
    }


for line in sys.stdin:
    before = dict(os.environ)
    os.environ.update(json.loads(line))
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    found = {dag_id: describe(dag) for dag_id, dag in bag.dags.items()}
    answer = {"errors": list(bag.import_errors.values()), "dags": found}
    sys.stdout.write("\n" + json.dumps(answer, default=str) + "\n")
    sys.stdout.flush()
    os.environ.clear()
    os.environ.update(before)
