"""What tests do to the simulated Central: make forms, send, edit and delete submissions, turn its clock."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from dev.simulators.odk.clock import read_moment
from dev.simulators.odk.dataset import load_dataset, read_dataset
from dev.simulators.odk.instances import (
    SUBMISSION_FILE,
    Instance,
    Node,
    build_nodes,
    list_files,
    print_value,
)
from dev.simulators.odk.people import Actor
from dev.simulators.odk.problems import not_found
from dev.simulators.odk.schema import FieldSpec, build_schema
from dev.simulators.odk.server import OdkServer
from dev.simulators.odk.store import File, Form, Submission, make_file
from dev.simulators.odk.xforms import read_definition, write_definition

# What a test may give as an attachment: its bytes, or bytes and content type.
Content = bytes | tuple[bytes, str]
_KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".csv": "text/csv"}


class OdkSimulator(OdkServer):
    """An ODK Central in this process.

        with OdkSimulator() as odk:
            project = odk.create_project("Trees")
            odk.create_form(project, "trees", [("species", "string"), ("photo", "image"), ("branch", "repeat"),
                                               ("branch/length", "decimal")])
            odk.add_submission(project, "trees", {"species": "oak", "photo": "a.jpg", "branch": [{"length": 2.5}]},
                               attachments={"a.jpg": b"..."})
            ... requests to odk.url, signed in as odk.user, odk.password (administrator),
                or as odk.viewer, odk.viewer_password ...

    `clock` is the server's: `clock.set(...)` stops it, `clock.advance(60)` turns it on. Keyword arguments beyond the
    base's are those of `Switches`; `switches` holds them for changing.
    """

    @classmethod
    def from_dataset(
        cls, source: Path | str | Mapping[str, Any], project: str = "Rental Research", **arguments: Any
    ) -> Self:
        """A simulator with one project that holds the forms of a recorded dataset (a file, also .gz, or its content).

        Attachments that existed have small pictures as contents.
        """
        simulator = cls(**arguments)
        project_id = simulator.create_project(project)
        load_dataset(simulator.central, read_dataset(source), project_id)
        return simulator

    # For tests: forms

    def create_project(self, name: str = "Survey", project_id: int | None = None) -> int:
        """A new project. Returns: its id."""
        with self.lock:
            return self.central.add_project(name, project_id).id

    def create_form(
        self,
        project: int,
        form_id: str,
        fields: Sequence[FieldSpec] = (),
        *,
        xml: str | None = None,
        title: str = "",
        version: str = "1",
        publish: bool = True,
        key: str | None = None,
    ) -> None:
        """A new form.

        fields: in form order, each ("group/name", type), a bare "name" (a text), or an entry of `/fields`. Types are
        Central's (string, int, decimal, date, dateTime, time, boolean, geopoint, geotrace, geoshape, binary,
        structure, repeat), or group, select_multiple, image. Groups that only stand in paths need no entry.
        xml: an XForm instead. publish: False leaves it a draft. key: the public key of an encrypted form.
        """
        definition = (
            read_definition(xml)
            if xml is not None
            else write_definition(form_id, version, title or form_id, build_schema(fields), key)
        )
        with self.lock:
            self.central.add_form(project, definition, publish)

    def publish_version(
        self,
        project: int,
        form_id: str,
        fields: Sequence[FieldSpec] = (),
        *,
        version: str = "",
        xml: str | None = None,
        title: str = "",
    ) -> None:
        """Publish a new version: every row of the feed takes its shape at once. version "": one more than before."""
        with self.lock:
            form = self.form(project, form_id)
            if xml is not None:
                definition = read_definition(xml)
            else:
                before = form.current or form.draft
                definition = write_definition(
                    form_id,
                    version or str(len(form.versions) + 1),
                    title or (before.definition.title if before else form_id),
                    build_schema(fields),
                )
            self.central.set_draft(form, definition)
            self.central.publish_draft(form)

    def close_form(self, project: int, form_id: str, state: str = "closed") -> None:
        """Set a form's state: open, closing or closed."""
        with self.lock:
            form = self.form(project, form_id)
            form.state, form.updated_at = state, self.clock.now()

    def delete_form(self, project: int, form_id: str) -> None:
        """Delete a form: 404 from now on."""
        with self.lock:
            self.form(project, form_id).deleted_at = self.clock.now()

    def form(self, project: int, form_id: str) -> Form:
        """A form as the server holds it. Raises: Problem 404.1."""
        return self.central.find_form(project, form_id)

    # For tests: submissions

    def add_submission(
        self,
        project: int,
        form_id: str,
        values: Mapping[str, Any],
        attachments: Mapping[str, Content] | None = None,
        expected: Iterable[str] | None = None,
        *,
        instance_id: str | None = None,
        submitter: str = "",
        device_id: str | None = None,
        version: str | None = None,
        at: datetime | str | None = None,
        visible: bool = True,
    ) -> str:
        """A new submission.

        values: groups as dicts, repeats as lists of dicts, places as GeoJSON or text, select-multiples as lists
        or text. Without `meta.instanceID` (a key with None counts as given: then the id is a bare uuid) one is made,
        or `instance_id` is it.
        attachments: contents by file name. expected: file names instead of those that stand in binary fields.
        submitter: an e-mail (the administrator). version: of the form (the current). at: the submission date.
        In an encrypted form the files end with `.enc`, and `submission.xml.enc` is the rest: until it is given or put,
        the row says `missingEncryptedFormData`.
        visible: False keeps it unseen until `show`, as an upload whose transaction is still under way.
        Returns: its id.
        """
        with self.lock:
            form = self.form(project, form_id)
            instance = self._build_instance(form, values, version, instance_id)
            submission = self.central.submit(
                form,
                instance,
                _make_files(attachments),
                submitter=self._actor(submitter),
                device_id=device_id,
                user_agent="simulator/1",
                created_at=None if at is None else read_moment(at),
                expected=expected,
                visible=visible,
            )
            return submission.instance_id

    def show(self, project: int, form_id: str, instance_id: str) -> None:
        """Let a submission be seen that was added with visible=False; its time stamp stays the earlier one."""
        with self.lock:
            form = self.form(project, form_id)
            form.by_id[instance_id].visible = True
            form.revision += 1

    def edit_submission(
        self,
        project: int,
        form_id: str,
        instance_id: str,
        values: Mapping[str, Any],
        attachments: Mapping[str, Content] | None = None,
        expected: Iterable[str] | None = None,
        *,
        submitter: str = "",
        version: str | None = None,
    ) -> str:
        """Replace a submission's content by new values (all of them).

        Every version has an id of its own: a `meta.instanceID` that an earlier one has is replaced.
        Returns: the new version's instance id.
        """
        with self.lock:
            form, submission = self._find(project, form_id, instance_id)
            meta = dict(values.get("meta") or {})
            if meta.get("instanceID") in [one.instance_id for one in submission.versions]:
                del meta["instanceID"]
            instance = self._build_instance(form, {**values, "meta": meta}, version, None)
            self.central.edit(
                form,
                submission,
                instance,
                _make_files(attachments),
                submitter=self._actor(submitter),
                user_agent="simulator/1",
                expected=expected,
            )
            return submission.current.instance_id

    def review(self, project: int, form_id: str, instance_id: str, state: str | None) -> None:
        """Set the review state: hasIssues, edited, rejected, approved or None (received)."""
        with self.lock:
            form, submission = self._find(project, form_id, instance_id)
            self.central.review(form, submission, state)

    def delete(self, project: int, form_id: str, instance_id: str) -> None:
        """Delete a submission softly."""
        with self.lock:
            self.central.delete(*self._find(project, form_id, instance_id))

    def restore(self, project: int, form_id: str, instance_id: str) -> None:
        """Restore a deleted submission."""
        with self.lock:
            self.central.restore(self.form(project, form_id), instance_id)

    def purge(self, project: int, form_id: str, instance_id: str) -> None:
        """Remove a submission, deleted or not, for good."""
        with self.lock:
            self.central.purge(self.form(project, form_id), instance_id)

    def put_attachment(
        self, project: int, form_id: str, instance_id: str, name: str, content: bytes, content_type: str = ""
    ) -> None:
        """Upload or replace an attachment's content. Raises: Problem 404.1 where the file is not expected."""
        with self.lock:
            form, submission = self._find(project, form_id, instance_id)
            file = make_file(content, content_type or _guess_kind(name))
            if not self.central.put_file(form, submission, name, file):
                raise not_found()

    def remove_attachment(self, project: int, form_id: str, instance_id: str, name: str) -> None:
        """Take an attachment's content away; it stays expected."""
        with self.lock:
            form, submission = self._find(project, form_id, instance_id)
            if not self.central.put_file(form, submission, name, None):
                raise not_found()

    def expire_sessions(self) -> None:
        """Make every token invalid, as after 24 hours."""
        with self.lock:
            self.central.people.end_sessions()

    def _find(self, project: int, form_id: str, instance_id: str) -> tuple[Form, Submission]:
        form = self.form(project, form_id)
        return form, self.central.find_submission(form, instance_id)

    def _actor(self, email: str) -> Actor | None:
        if not email:
            return self.central.admin
        actor = self.central.people.find(email)
        if actor is None:
            raise ValueError(f"no user {email}")
        return actor

    def _build_instance(
        self, form: Form, values: Mapping[str, Any], version: str | None, instance_id: str | None
    ) -> Instance:
        shown = form.current or form.draft
        if shown is None:
            raise ValueError(f"form {form.form_id} has no version at all")
        found = shown if version is None else form.find_version(version)
        if found is None:
            raise ValueError(f"form {form.form_id} has no version {version!r}")
        meta = dict(values.get("meta") or {})
        if instance_id is not None or "instanceID" not in meta:
            meta["instanceID"] = instance_id or f"uuid:{uuid.uuid4()}"
        nodes = build_nodes({**values, "meta": meta}, found.schema)
        if form.key_id is None:
            return Instance(form.form_id, found.definition.version, nodes)
        # What is filled in travels as files; the XML that Central sees is an envelope.
        envelope: list[Node] = [("meta", [("instanceID", print_value(meta["instanceID"]))])]
        files = [f"{name}.enc" for name in list_files(nodes, found.schema)]
        return Instance(
            form.form_id, found.definition.version, envelope, encrypted=True, files=[*files, SUBMISSION_FILE]
        )


def _make_files(attachments: Mapping[str, Content] | None) -> dict[str, File]:
    files: dict[str, File] = {}
    for name, content in (attachments or {}).items():
        if isinstance(content, tuple):
            files[name] = make_file(*content)
        else:
            files[name] = make_file(content, _guess_kind(name))
    return files


def _guess_kind(name: str) -> str:
    return next((kind for end, kind in _KINDS.items() if name.lower().endswith(end)), "")
