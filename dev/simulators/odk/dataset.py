"""Loading recorded forms: fields, rows as the feed gave them, attachment lists."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dev.simulators.odk.central import Central
from dev.simulators.odk.clock import read_moment
from dev.simulators.odk.instances import Instance, build_nodes
from dev.simulators.odk.pictures import draw_picture
from dev.simulators.odk.schema import Schema, build_schema
from dev.simulators.odk.store import File, Form, Submission, make_file
from dev.simulators.odk.xforms import write_definition


def read_dataset(source: Path | str | Mapping[str, Any]) -> Mapping[str, Any]:
    """A dataset from a file (also .gz), or as it is."""
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    content = path.read_bytes()
    found: Mapping[str, Any] = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    return found


def load_dataset(central: Central, dataset: Mapping[str, Any], project_id: int) -> None:
    """Load every form of a dataset into a project, with its rows, oldest first."""
    for form_id, content in dataset["forms"].items():
        rows = [*content["rows"], *content["deleted_rows"]]
        schema = build_schema(content["fields"])
        names = list(dict.fromkeys(sorted(row["__system"]["formVersion"] for row in rows)))
        for index, name in enumerate(names):
            definition = write_definition(form_id, name, content.get("title", form_id), schema)
            if index == 0:
                form = central.add_form(project_id, definition, publish=True)
            else:
                central.set_draft(form, definition)
                central.publish_draft(form)
        attachments = content.get("attachments", {})
        # The feed is newest first, also within one millisecond.
        rows.reverse()
        for row in sorted(rows, key=lambda row: str(row["__system"]["submissionDate"])):
            load_row(central, form, row, attachments.get(row["__id"]), schema)


def load_row(
    central: Central,
    form: Form,
    row: Mapping[str, Any],
    attachments: Iterable[Mapping[str, Any]] | None,
    schema: Schema,
) -> Submission:
    """A submission from its expanded row. Contents of attachments that exist are drawn anew."""
    system = row["__system"]
    instance = Instance(form.form_id, system["formVersion"], build_nodes(row, schema))
    if attachments is None:
        # Which ones exist is not known, only how many.
        names = form.files_of(instance)
        attachments = [
            {"name": name, "exists": index < system["attachmentsPresent"]} for index, name in enumerate(names)
        ]
    listed = list(attachments)
    files: dict[str, File] = {
        one["name"]: make_file(*draw_picture(one["name"])) for one in listed if one["exists"]
    }
    submission = central.submit(
        form,
        instance,
        files,
        submitter=central.people.actors.get(int(system["submitterId"])) if system["submitterId"] else None,
        device_id=system["deviceId"],
        created_at=read_moment(system["submissionDate"]),
        expected=[one["name"] for one in listed],
    )
    # After an edit meta.instanceID is that of the last version; the submission keeps its first.
    del form.by_id[submission.instance_id]
    submission.instance_id = row["__id"]
    form.by_id[submission.instance_id] = submission
    submission.edits_before = system["edits"]
    submission.review_state = system["reviewState"]
    submission.updated_at = _read_time(system["updatedAt"])
    submission.deleted_at = _read_time(system["deletedAt"])
    return submission


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else read_moment(text)
