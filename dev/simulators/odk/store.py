"""What the server holds: projects, forms and their versions, submissions and theirs, files."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from dev.simulators.odk.clock import print_moment
from dev.simulators.odk.instances import Instance, list_files
from dev.simulators.odk.people import Actor
from dev.simulators.odk.rows import Row, render_row
from dev.simulators.odk.schema import Schema
from dev.simulators.odk.xforms import Definition

_events = itertools.count(1)
_definitions = itertools.count(1)


@dataclass(frozen=True)
class File:
    """An attachment's content, as it was uploaded."""

    content: bytes
    content_type: str
    md5: str
    sha1: str
    number: int


_files = itertools.count(1)


def make_file(content: bytes, content_type: str = "") -> File:
    """A file; no content type is `application/octet-stream`, a text's gets its charset."""
    kind = content_type or "application/octet-stream"
    if kind.startswith("text/") and "charset" not in kind:
        kind += "; charset=utf-8"
    return File(
        content, kind, hashlib.md5(content).hexdigest(), hashlib.sha1(content).hexdigest(), next(_files)
    )


@dataclass
class SubmissionVersion:
    """A submission as it was at first, or after an edit. files: the expected names, each with its content or None."""

    instance: Instance
    instance_id: str
    submitter: Actor | None
    device_id: str | None
    user_agent: str | None
    created_at: datetime
    files: dict[str, File | None]
    number: int = field(default_factory=lambda: next(_definitions))

    @property
    def instance_name(self) -> str | None:
        """meta/instanceName"""
        return self.instance.text_of("meta", "instanceName")


class Submission:
    """A submission; its id is that of the first version. What the filter reads are attributes here."""

    def __init__(
        self, number: int, first: SubmissionVersion, form_version: str, visible: bool = True
    ) -> None:
        self.number = number
        self.instance_id = first.instance_id
        self.versions = [first]
        self.form_version = form_version
        self.submitter = first.submitter
        self.submitter_id = None if first.submitter is None else first.submitter.id
        self.device_id = first.device_id
        self.user_agent = first.user_agent
        self.created_at = first.created_at
        self.updated_at: datetime | None = None
        self.deleted_at: datetime | None = None
        self.review_state: str | None = None
        # False while its transaction is under way: stamped already, shown nowhere.
        self.visible = visible
        # Edits that are only known by their number (a loaded dataset).
        self.edits_before = 0
        self.comments: list[dict[str, Any]] = []
        self.event = next(_events)
        self._rendered: dict[tuple[int, bool, bool], bytes] = {}

    @property
    def current(self) -> SubmissionVersion:
        """The version that the feed shows."""
        return self.versions[-1]

    @property
    def order(self) -> tuple[datetime, int]:
        """Where it stands, oldest first."""
        return self.created_at, self.number

    def touch(self, event: bool = True) -> None:
        """Forget rendered rows; event: change the feed's ETag too."""
        self._rendered.clear()
        if event:
            self.event = next(_events)

    def system(self) -> Row:
        """`__system`"""
        current = self.current
        status = None
        if current.instance.encrypted:
            whole = all(current.files.get(name) is not None for name in current.instance.files[-1:])
            status = "notDecrypted" if whole else "missingEncryptedFormData"
        return {
            "submissionDate": print_moment(self.created_at),
            "updatedAt": print_moment(self.updated_at),
            "submitterId": None if self.submitter is None else str(self.submitter.id),
            "submitterName": None if self.submitter is None else self.submitter.name,
            "attachmentsPresent": sum(found is not None for found in current.files.values()),
            "attachmentsExpected": len(current.files),
            "status": status,
            "reviewState": self.review_state,
            "deviceId": self.device_id,
            "edits": self.edits_before + len(self.versions) - 1,
            "formVersion": self.form_version,
            "deletedAt": print_moment(self.deleted_at),
        }

    def render(self, schema: Schema, expand: bool, wkt: bool) -> Row:
        """Its row of the root table."""
        if self.current.instance.encrypted:
            return {"__id": self.instance_id, "__system": self.system()}
        return render_row(self.instance_id, self.current.instance.nodes, schema, self.system(), expand, wkt)

    def render_json(self, schema: Schema, expand: bool, wkt: bool) -> bytes:
        """The same as JSON, kept until something changes."""
        key = (id(schema), expand, wkt)
        found = self._rendered.get(key)
        if found is None:
            found = self._rendered[key] = msgspec.json.encode(self.render(schema, expand, wkt))
        return found


@dataclass
class FormVersion:
    """A form's definition, once uploaded."""

    definition: Definition
    created_at: datetime
    published_at: datetime | None = None

    @property
    def schema(self) -> Schema:
        """Its fields."""
        return self.definition.schema


@dataclass
class Form:
    """A form: published versions in order, perhaps a draft, submissions."""

    number: int
    project_id: int
    form_id: str
    created_at: datetime
    creator: Actor
    versions: list[FormVersion] = field(default_factory=list)
    draft: FormVersion | None = None
    draft_token: str | None = None
    state: str = "open"
    updated_at: datetime | None = None
    deleted_at: datetime | None = None
    key_id: int | None = None
    actee: str = field(default_factory=lambda: str(uuid.uuid4()))
    # Changes with everything that the feed could show differently.
    revision: int = 0
    by_id: dict[str, Submission] = field(default_factory=dict)
    draft_by_id: dict[str, Submission] = field(default_factory=dict)
    _ordered: list[Submission] = field(default_factory=list)

    @property
    def current(self) -> FormVersion | None:
        """The version that is published now; None for a form that is only a draft."""
        return self.versions[-1] if self.versions else None

    @property
    def title(self) -> str:
        """The title of the current version, or of the draft."""
        shown = self.current or self.draft
        return self.form_id if shown is None else shown.definition.title

    @property
    def submissions(self) -> list[Submission]:
        """All that are not purged, newest first as the feed has them, deleted ones included."""
        return [one for one in reversed(self._ordered) if one.visible]

    def add(self, submission: Submission) -> None:
        """Take a submission in at its place."""
        self.by_id[submission.instance_id] = submission
        bisect.insort(self._ordered, submission, key=lambda one: one.order)
        self.revision += 1

    def purge(self, submission: Submission) -> None:
        """Remove a submission for good."""
        del self.by_id[submission.instance_id]
        self._ordered.remove(submission)
        self.revision += 1

    def find_version(self, name: str) -> FormVersion | None:
        """A published version by its name."""
        return next((one for one in self.versions if one.definition.version == name), None)

    def live(self) -> Iterator[Submission]:
        """Those that are not deleted, newest first."""
        return (one for one in self.submissions if one.deleted_at is None)

    def files_of(self, instance: Instance) -> list[str]:
        """The files that an instance expects, by the form version it was made with."""
        if instance.encrypted:
            return sorted(set(instance.files))
        version = self.find_version(instance.version) or self.current or self.draft
        return [] if version is None else list_files(instance.nodes, version.schema)

    def open_draft(self, version: FormVersion) -> None:
        """Set the draft."""
        self.draft = version
        self.draft_token = secrets.token_urlsafe(48)
        self.draft_by_id.clear()

    def publish(self, moment: datetime) -> None:
        """Make the draft the current version."""
        if self.draft is None:
            return
        self.draft.published_at = moment
        self.versions.append(self.draft)
        self.draft, self.draft_token = None, None
        self.draft_by_id.clear()
        self.revision += 1

    def to_json(self, version: FormVersion | None = None) -> dict[str, Any]:
        """Its details, of the current version unless told otherwise."""
        shown = version or self.current or self.draft
        if shown is None:
            raise ValueError(f"form {self.form_id} has no version at all")
        definition = shown.definition
        content = definition.xml.encode()
        return {
            "projectId": self.project_id,
            "xmlFormId": self.form_id,
            "state": self.state,
            "enketoId": None,
            "enketoOnceId": None,
            "createdAt": print_moment(self.created_at),
            "updatedAt": print_moment(self.updated_at),
            "webformsEnabled": True,
            "keyId": self.key_id,
            "version": definition.version,
            "hash": hashlib.md5(content).hexdigest(),
            "sha": hashlib.sha1(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "draftToken": self.draft_token if shown is self.draft else None,
            "publishedAt": print_moment(shown.published_at),
            "name": definition.title,
        }

    def extended_json(self) -> dict[str, Any]:
        """What `X-Extended-Metadata` adds to the details."""
        live = list(self.live())
        return {
            "submissions": len(live),
            "entityRelated": False,
            "reviewStates": {
                "received": sum(one.review_state is None for one in live),
                "hasIssues": sum(one.review_state == "hasIssues" for one in live),
                "edited": sum(one.review_state == "edited" for one in live),
            },
            "lastSubmission": print_moment(live[0].created_at) if live else None,
            "excelContentType": None,
            "publicLinks": 0,
            "createdBy": self.creator.to_json(),
        }


@dataclass
class Project:
    """A project and its forms by id."""

    id: int
    name: str
    created_at: datetime
    forms: dict[str, Form] = field(default_factory=dict)
    # Datasets of entities, by name.
    entity_lists: dict[str, Any] = field(default_factory=dict)
    key_id: int | None = None

    actee: str = field(default_factory=lambda: str(uuid.uuid4()))

    def to_new_json(self) -> dict[str, Any]:
        """As a new one is shown."""
        shown = self.to_json()
        first = {"id": self.id, "name": self.name, "acteeId": self.actee}
        names = ("createdAt", "updatedAt", "deletedAt", "archived", "keyId", "description")
        return {**first, **{name: shown[name] for name in names}}

    def to_json(self) -> dict[str, Any]:
        """As `GET /v1/projects/1` shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "description": None,
            "archived": None,
            "keyId": self.key_id,
            "createdAt": print_moment(self.created_at),
            "updatedAt": None,
            "deletedAt": None,
        }
