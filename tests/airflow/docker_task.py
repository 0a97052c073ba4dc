"""Runs tasks of a DAG as a worker does, rendered and all, for each JSON [dag, task] on stdin; says how each ended.

Runs in Airflow's own environment. A line of JSON for each: {"state": ..., "words": ..., "xcom": ..., "shown": ...}.
"""

import json
import os
import sys

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])


class Pushed(dict):
    """What a task gives on, of a task instance."""

    def xcom_push(self, key, value):
        """Keep it."""
        self[key] = value


for line in sys.stdin:
    dag_id, task_id = json.loads(line)
    task = bag.dags[dag_id].get_task(task_id)
    ti = Pushed()
    context = {"ti": ti, "params": {"full": False}, "task": task, "run_id": "manual__1"}
    task.render_template_fields(context)
    shown = {name: str(getattr(task, name)) for name in task.template_fields}
    state, words = "success", ""
    try:
        ti["return_value"] = task.execute(context)
    except AirflowSkipException as error:
        state, words = "skipped", str(error)
    except AirflowFailException as error:
        state, words = "failed for good", str(error)
    except AirflowException as error:
        state, words = "failed", str(error)
    sys.stdout.write(
        "\n" + json.dumps({"state": state, "words": words, "xcom": dict(ti), "shown": shown}) + "\n"
    )
    sys.stdout.flush()
