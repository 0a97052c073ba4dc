"""What an operator's own hook may look like: it is called for each task that failed for good."""

import os
from pathlib import Path
from typing import Any


def note(context: dict[str, Any]) -> None:
    """Write down which task failed, and why."""
    with Path(os.environ["NOTED"]).open("a", encoding="utf-8") as notes:
        notes.write(f"{context['ti'].dag_id} {context['ti'].task_id}: {context['exception']}\n")
