"""How a script's end shows in Airflow: its exit code as a state, its last line as the XCom.

0   success
1   failed, and tried again
2   failed, not tried again: wrong flags or configuration stay wrong
3   skipped, in words of its own: all was done but for some records that were refused. What comes after runs; the
    task `outcome` then fails, and with it the DAG's run
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

EXIT_CONFIG, EXIT_PARTIAL = 2, 3


class ScriptOperator(BashOperator):
    """Runs a script by a shell command.

    shard: "2/4" for the second of four. shards: the script says whether a full load is due; it gives the list of
    its shards, empty where none is.
    """

    ui_color = "#e8f0ea"

    def __init__(self, *, shard: str = "", shards: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard, self.shards = shard, shards

    def execute(self, context: Context) -> Any:
        """Run it to its end; its summary, or the shards there are."""
        done = self.subprocess_hook.run_command(
            command=["bash", "-c", str(self.bash_command)], env=self.get_env(context), cwd=self.cwd
        )
        return settle(context, done.exit_code, done.output, self.shards)


class OutcomeOperator(BaseOperator):
    """The last task of a DAG: fails where a step refused records, so that the run is no plain success."""

    ui_color = "#f2efe4"

    def __init__(self, *, steps: Sequence[str], rejects: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = list(steps)
        self.rejects = rejects

    def execute(self, context: Context) -> dict[str, int]:
        """{step: how many records it refused}, where none did: empty."""
        refused = {}
        for step in self.steps:
            found = context["ti"].xcom_pull(task_ids=step)
            summaries = found if isinstance(found, list) else [found]
            count = sum(
                one["rejected"] for one in summaries if isinstance(one, dict) and one["status"] == "partial"
            )
            if count:
                refused[step] = count
        if refused:
            told = ", ".join(f"{step} {count}" for step, count in refused.items())
            raise AirflowFailException(
                f"Done, but records were refused: {told}. The rest was delivered. Which, and why: {self.rejects}"
            )
        return refused


def settle(context: Context, code: int, last_line: str, shards: int = 0) -> Any:
    """A script's summary where it did its work; with `shards`, what there is to share (see ScriptOperator).

    Raises: AirflowSkipException, AirflowFailException or AirflowException as the exit code says; the summary is in the
        XCom then too.
    """
    summary = parse_summary(last_line)
    if code == 0 and shards:
        due = context["params"]["full"] or bool(summary and summary.get("due"))
        return [f"{number}/{shards}" for number in range(1, shards + 1)] if due else []
    if code == 0:
        return summary
    if summary is not None:
        context["ti"].xcom_push("return_value", summary)
    if code == EXIT_PARTIAL:
        count = summary["rejected"] if summary else "some"
        raise AirflowSkipException(f"Done, but {count} records were refused (exit 3). What comes after runs.")
    if code == EXIT_CONFIG:
        raise AirflowFailException(
            "Wrong flags, variables or configuration (exit 2): the lines above say which. Nothing was sent, and "
            "trying again would not help."
        )
    raise AirflowException(f"The script failed (exit {code}): the lines above say why.")


def parse_summary(line: str) -> dict[str, Any] | None:
    """The summary in a script's last line; None where it has none."""
    try:
        summary = json.loads(line)
    except ValueError:
        return None
    return summary if isinstance(summary, dict) and {"status", "rejected"} <= summary.keys() else None
