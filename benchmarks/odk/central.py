"""A simulated Central with one form of many submissions, in a process of its own.

Started by `question.py`. Each line of stdin is an order, each line of stdout its answer, as JSON:

    (start)      -> how to reach it, as variables for the scripts
    add          -> ten more submissions
    requests     -> how many requests it has had
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from dev.simulators.odk import OdkSimulator

FORM = "trees"
_FIELDS = [
    ("UUID", "string"),
    ("visit/note", "string"),
    ("place", "geopoint"),
    ("person", "repeat"),
    ("person/name", "string"),
    ("person/age", "int"),
    ("person/document", "repeat"),
    ("person/document/kind", "string"),
    ("person/document/number", "string"),
]


def main(submissions: int) -> None:
    """Serve until stdin ends."""
    with OdkSimulator() as odk:
        project = odk.create_project("Survey")
        odk.create_form(project, FORM, _FIELDS)
        # Of the days before: each incremental run reads its last ten minutes again.
        odk.clock.set(datetime.now(UTC) - timedelta(days=2))
        add_submissions(odk, project, range(submissions))
        odk.clock.run()
        answer(
            {
                "ODK_BASE_URL": odk.url,
                "ODATA_USER": odk.user,
                "ODATA_PASS": odk.password,
                "ODK_PROJECT_ID": str(project),
            }
        )
        for line in sys.stdin:
            if line.strip() == "add":
                add_submissions(odk, project, range(submissions, submissions + 10))
                submissions += 10
            answer({"Central": len(odk.requests)})


def add_submissions(odk: OdkSimulator, project: int, numbers: Iterable[int]) -> None:
    """Submit households with these numbers."""
    for number in numbers:
        odk.add_submission(project, FORM, make_values(number))


def make_values(number: int) -> dict[str, Any]:
    """A household of three people with two documents each."""
    documents = [{"kind": "passport", "number": f"{number:08d}"}, {"kind": "permit", "number": "none"}]
    people = [{"name": f"Person {place}", "age": 20 + place, "document": documents} for place in range(3)]
    values = {"UUID": f"household {number}", "place": "43.25 76.92 750 4.5", "person": people}
    return {**values, "visit": {"note": "What was seen and said at the door, in some words. " * 4}}


def answer(value: Any) -> None:
    """One line to whoever started us."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
