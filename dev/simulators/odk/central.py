"""The server's state and what can be done to it, whether over HTTP or by a test."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from dev.simulators.odk.audits import Entry
from dev.simulators.odk.clock import Clock, cut_to_ms, print_moment
from dev.simulators.odk.instances import Instance, find_text
from dev.simulators.odk.people import ADMIN, COLLECTOR, NOBODY, VIEWER, Actor, People
from dev.simulators.odk.problems import Problem, not_found, unexpected_value
from dev.simulators.odk.store import File, Form, FormVersion, Project, Submission, SubmissionVersion
from dev.simulators.odk.xforms import Definition

REVIEW_STATES = ("hasIssues", "edited", "rejected", "approved")


class Central:
    """Projects, people, and every operation on them. Times come from the clock unless they are given."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.people = People(clock)
        self.projects: dict[int, Project] = {}
        self.audits: list[Entry] = []
        # What draws ids for submissions without one, and for entities.
        self.make_id: Callable[[], str] = lambda: str(uuid.uuid4())
        self._form_numbers = itertools.count(1)
        self._submission_numbers = itertools.count(1)
        self.admin = self.people.add(*ADMIN, site_admin=True)
        self.viewer = self.people.add(*VIEWER)
        self.collector = self.people.add(*COLLECTOR)
        self.nobody = self.people.add(*NOBODY)

    def log(
        self,
        action: str,
        actor: Actor | None,
        form: Form | None = None,
        submission: Submission | None = None,
        **details: Any,
    ) -> None:
        """Write a line of the audit log."""
        self.audits.append(
            Entry(
                action,
                None if actor is None else actor.id,
                self.clock.now(),
                None if form is None else form.actee,
                details,
                None if submission is None else submission.number,
            )
        )

    def forget_people(self) -> None:
        """Leave the first administrator alone, as on a fresh server."""
        self.people.keep_only(self.admin)

    # Projects and forms

    def add_project(self, name: str, project_id: int | None = None) -> Project:
        """A new project; the usual viewer and collector have their roles in it."""
        number = project_id or max(self.projects, default=0) + 1
        project = Project(number, name, self.clock.now())
        self.projects[number] = project
        self.viewer.roles[number] = "viewer"
        self.collector.roles[number] = "formfill"
        self.log("project.create", self.admin)
        return project

    def find_project(self, project_id: int) -> Project:
        """A project. Raises: Problem 404.1."""
        project = self.projects.get(project_id)
        if project is None:
            raise not_found()
        return project

    def find_form(self, project_id: int, form_id: str) -> Form:
        """A form that is not deleted. Raises: Problem 404.1."""
        form = self.find_project(project_id).forms.get(form_id)
        if form is None or form.deleted_at is not None:
            raise not_found()
        return form

    def add_form(
        self, project_id: int, definition: Definition, publish: bool, actor: Actor | None = None
    ) -> Form:
        """A new form, published or as a draft only. Raises: Problem 409.3 where the id is taken."""
        project = self.find_project(project_id)
        if definition.form_id in project.forms:
            raise _duplicate(["projectId", "xmlFormId"], [str(project_id), definition.form_id], "forms")
        now = self.clock.now()
        form = Form(next(self._form_numbers), project_id, definition.form_id, now, actor or self.admin)
        if definition.key is not None:
            form.key_id = 1
        project.forms[definition.form_id] = form
        form.open_draft(FormVersion(definition, now))
        if publish:
            form.publish(now)
        self.log("form.create", actor, form)
        return form

    def set_draft(self, form: Form, definition: Definition) -> None:
        """Upload a draft. Raises: Problem 400.17 for a changed type, 400.8 for another form's id."""
        if definition.form_id != form.form_id:
            raise unexpected_value("Xml form id", definition.form_id, "did not match the form ID in the URL")
        known: dict[str, str] = {}
        for version in form.versions:
            known.update({field.path: field.type for field in version.schema.fields})
        for path, before in known.items():
            now = definition.schema.by_path.get(path)
            if now is None or now.type == before:
                continue
            # Any value may become a text; nothing else may change.
            if now.type == "string" and before not in ("repeat", "structure"):
                continue
            raise Problem(
                400.17,
                f"The form you have uploaded attempts to change the type of the field at {path}. In a previous "
                f'version, it had the type "{before}". Please either return that field to its previous type, or '
                "rename the field so it lives at a new path.",
                {"path": path, "type": before},
            )
        form.open_draft(FormVersion(definition, self.clock.now()))
        form.updated_at = self.clock.now()

    def publish_draft(self, form: Form) -> None:
        """Publish the draft. Raises: Problem 404.1 without one, 409.6 for a version that existed."""
        if form.draft is None:
            raise not_found()
        version = form.draft.definition.version
        if form.find_version(version) is not None:
            raise Problem(
                409.6,
                f"You tried to publish the form '{form.form_id}' with version '{version}', but a published form "
                "has already existed in this project with those identifiers.",
                {"xmlFormId": form.form_id, "version": version},
            )
        now = self.clock.now()
        form.publish(now)
        form.updated_at = now
        self.log("form.update.publish", self.admin, form)

    # Submissions

    def find_submission(self, form: Form, instance_id: str, draft: bool = False) -> Submission:
        """A submission that is not deleted. Raises: Problem 404.1."""
        one = (form.draft_by_id if draft else form.by_id).get(instance_id)
        if one is None or one.deleted_at is not None or not one.visible:
            raise not_found()
        return one

    def submit(
        self,
        form: Form,
        instance: Instance,
        files: Mapping[str, File] | None = None,
        *,
        submitter: Actor | None = None,
        device_id: str | None = None,
        user_agent: str | None = None,
        created_at: datetime | None = None,
        expected: Iterable[str] | None = None,
        visible: bool = True,
        draft: bool = False,
    ) -> Submission:
        """Take a new submission in. Raises: Problem 409.3 for an id that exists, deleted or not."""
        instance_id = instance.instance_id or self.make_id()
        known = form.draft_by_id if draft else form.by_id
        if instance_id in known:
            raise duplicate_submission(form, instance_id, draft)
        names = list(form.files_of(instance) if expected is None else expected)
        given = dict(files or {})
        first = SubmissionVersion(
            instance,
            instance_id,
            submitter,
            device_id,
            user_agent,
            cut_to_ms(created_at) if created_at is not None else self.clock.now(),
            {name: given.get(name) for name in sorted(names)},
        )
        submission = Submission(next(self._submission_numbers), first, instance.version, visible)
        if draft:
            known[instance_id] = submission
        else:
            form.add(submission)
        self.log(
            "submission.create",
            submitter,
            form,
            submission,
            **_name_of(submission),
            **_version_of(submission),
        )
        return submission

    def edit(
        self,
        form: Form,
        submission: Submission,
        instance: Instance,
        files: Mapping[str, File] | None = None,
        *,
        submitter: Actor | None = None,
        device_id: str | None = None,
        user_agent: str | None = None,
        expected: Iterable[str] | None = None,
    ) -> None:
        """Add a version. Contents of names that stay are kept."""
        before = submission.current.files
        names = list(form.files_of(instance) if expected is None else expected)
        given = dict(files or {})
        now = self.clock.now()
        submission.versions.append(
            SubmissionVersion(
                instance,
                instance.instance_id or submission.instance_id,
                submitter,
                device_id,
                user_agent,
                now,
                {name: given.get(name) or before.get(name) for name in sorted(names)},
            )
        )
        submission.updated_at = now
        submission.review_state = "edited"
        self._changed(form, submission)
        details = {"instanceId": submission.current.instance_id, "submissionId": submission.number}
        self.log(
            "submission.update.version", submitter, form, submission, **details, **_version_of(submission)
        )

    def review(
        self, form: Form, submission: Submission, state: str | None, actor: Actor | None = None
    ) -> None:
        """Set the review state; the time moves even where the state stays."""
        submission.review_state = state
        submission.updated_at = self.clock.now()
        self._changed(form, submission)
        self.log(
            "submission.update",
            actor or self.admin,
            form,
            submission,
            reviewState=state,
            submissionId=submission.number,
            **_version_of(submission),
        )

    def delete(self, form: Form, submission: Submission, actor: Actor | None = None) -> None:
        """Delete softly."""
        submission.deleted_at = self.clock.now()
        self._changed(form, submission)
        self.log("submission.delete", actor or self.admin, form, submission, **_name_of(submission))

    def restore(self, form: Form, instance_id: str, actor: Actor | None = None) -> None:
        """Undo a soft delete; nothing but deletedAt shows it. Raises: Problem 404.1 where it is not deleted."""
        submission = form.by_id.get(instance_id)
        if submission is None or submission.deleted_at is None:
            raise not_found()
        submission.deleted_at = None
        self._changed(form, submission)
        self.log("submission.restore", actor or self.admin, form, submission, **_name_of(submission))

    def purge(self, form: Form, instance_id: str) -> None:
        """Remove for good."""
        submission = form.by_id.get(instance_id)
        if submission is None:
            raise not_found()
        form.purge(submission)
        self.log("submission.purge", None, submissions_deleted=1)

    def put_file(
        self, form: Form, submission: Submission, name: str, file: File | None, actor: Actor | None = None
    ) -> bool:
        """Store an attachment's content, or (None) take it away. Nothing but attachmentsPresent shows it.

        Returns: False where this file is not expected.
        """
        files = submission.current.files
        if name not in files:
            return False
        before, files[name] = files[name], file
        submission.touch(event=False)
        form.revision += 1
        details: dict[str, Any] = {"name": name}
        if file is not None:
            details["newBlobId"] = file.number
        details["oldBlobId"] = None if before is None else before.number
        details["instanceId"] = submission.current.instance_id
        self.log(
            "submission.attachment.update",
            actor or self.admin,
            form,
            submission,
            **details,
            **_version_of(submission),
        )
        return True

    def _changed(self, form: Form, submission: Submission) -> None:
        submission.touch()
        form.revision += 1


def _name_of(submission: Submission) -> dict[str, Any]:
    return {"instanceId": submission.instance_id, "submissionId": submission.number}


def _version_of(submission: Submission) -> dict[str, Any]:
    return {"submissionDefId": submission.current.number}


def duplicate_submission(form: Form, instance_id: str, draft: bool = False) -> Problem:
    """409.3"""
    return _duplicate(
        ["formId", "instanceId", "draft"],
        [str(form.number), instance_id, "t" if draft else "f"],
        "submissions",
    )


def _duplicate(fields: list[str], values: list[str], table: str) -> Problem:
    return Problem(
        409.3,
        f"A resource already exists with {','.join(fields)} value(s) of {','.join(values)}.",
        {"fields": fields, "values": values, "table": table},
    )


def version_json(version: SubmissionVersion, current: bool) -> dict[str, Any]:
    """A submission's version, as REST shows it."""
    return {
        "submitterId": None if version.submitter is None else version.submitter.id,
        "createdAt": print_moment(version.created_at),
        "instanceName": version.instance_name,
        "instanceId": version.instance_id,
        "current": current,
        "deviceId": version.device_id,
        "userAgent": version.user_agent,
    }


def submission_json(submission: Submission, full: bool = True) -> dict[str, Any]:
    """A submission's metadata, as REST shows it; full: with what a new one does not have yet."""
    shown: dict[str, Any] = {
        "instanceId": submission.instance_id,
        "submitterId": submission.submitter_id,
        "deviceId": submission.device_id,
        "createdAt": print_moment(submission.created_at),
        "updatedAt": print_moment(submission.updated_at),
        "reviewState": submission.review_state,
        "userAgent": submission.user_agent,
        "deletedAt": print_moment(submission.deleted_at),
        "currentVersion": version_json(submission.current, True),
    }
    if not full:
        del shown["reviewState"], shown["deletedAt"]
    return shown


def find_deprecated_id(instance: Instance) -> str | None:
    """meta/deprecatedID: which version an edit was made from."""
    return find_text(instance.nodes, ("meta", "deprecatedID"))
