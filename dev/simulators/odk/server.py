"""The simulator of ODK Central: HTTP on one side, what tests do to it on the other."""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from dev.simulators.base import Answer, Request, Simulator
from dev.simulators.odk import submission_calls
from dev.simulators.odk.audit_calls import answer_audits
from dev.simulators.odk.calls import Call, answer_text, check_format, hash_body, split_target
from dev.simulators.odk.central import Central
from dev.simulators.odk.clock import Clock, read_moment
from dev.simulators.odk.dataset import load_dataset, read_dataset
from dev.simulators.odk.entities import answer_datasets
from dev.simulators.odk.feed import Feed
from dev.simulators.odk.files_host import FilesHost
from dev.simulators.odk.form_calls import answer_form, answer_forms, answer_projects
from dev.simulators.odk.instances import Instance, build_nodes
from dev.simulators.odk.metadata import write_metadata
from dev.simulators.odk.openrosa import answer_submission
from dev.simulators.odk.people import ADMIN, COLLECTOR, VIEWER, Actor
from dev.simulators.odk.people_calls import answer_app_users, answer_assignment, answer_users
from dev.simulators.odk.problems import Problem, internal_error, not_found, not_signed_in
from dev.simulators.odk.rows import encode_component
from dev.simulators.odk.schema import FieldSpec, Schema, build_schema
from dev.simulators.odk.signing import answer_sessions, find_actor
from dev.simulators.odk.store import File, Form, Submission, make_file
from dev.simulators.odk.switches import Switches
from dev.simulators.odk.xforms import Definition, read_definition, write_definition

_KEY = re.compile(r"(?P<name>[^()]+)(?:\((?P<key>.*)\))?")

# Other ids exist, and cannot be reached by a key.
_PLAIN_KEY = re.compile(r"'[ -.0-~]*'")

# What a test may give as an attachment: its bytes, or bytes and content type.
Content = bytes | tuple[bytes, str]
_KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".csv": "text/csv"}


class OdkSimulator(Simulator):
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

    def __init__(
        self, seed: int = 0, port: int = 0, tls: ssl.SSLContext | None = None, **switches: Any
    ) -> None:
        super().__init__(seed, port, tls)
        self.switches = Switches(**switches)
        self.clock = Clock()
        self.central = Central(self.clock)
        self.user, self.password = ADMIN
        self.viewer, self.viewer_password = VIEWER
        self.collector, self.collector_password = COLLECTOR
        self.files_host = FilesHost()
        self._feeds: dict[tuple[int, int, str], Feed] = {}

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

    def start(self) -> None:
        """Serve, the second host too."""
        super().start()
        self.files_host.start()

    def stop(self) -> None:
        """Close both ports."""
        super().stop()
        self.files_host.stop()

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
        """Replace a submission's content by new values (all of them). Returns: the new version's instance id."""
        with self.lock:
            form, submission = self._find(project, form_id, instance_id)
            instance = self._build_instance(form, values, version, None)
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
        return Instance(form.form_id, found.definition.version, nodes)

    # HTTP

    def answer(self, request: Request) -> Answer:
        """Carry a request out."""
        with self.lock:
            answer = self._answer(request)
        headers = answer.headers
        reading = request.method in ("GET", "HEAD")
        headers.setdefault("Cache-Control", "private, no-cache" if reading else "no-store")
        headers.setdefault("Vary", "Accept-Encoding, Origin" if reading else "*")
        headers.setdefault("Date", self.clock.http_date())
        streamed = "Transfer-Encoding" in headers
        if answer.body and "ETag" not in headers and not streamed and answer.status != 307:
            headers["ETag"] = hash_body(answer.body)
        if reading and answer.status == 200 and "ETag" in headers:
            wanted = request.header("If-None-Match")
            if wanted and _weak(headers["ETag"]) in [_weak(part.strip()) for part in wanted.split(",")]:
                headers.pop("Transfer-Encoding", None)
                headers.pop("Content-Type", None)
                return Answer(304, b"", headers)
        return answer

    def _answer(self, request: Request) -> Answer:
        head = len(request.target) + sum(len(k) + len(v) + 4 for k, v in request.headers.items())
        if head > self.switches.max_head_bytes:
            return Answer(431, b"", {"Connection": "close"})
        segments, raw, pairs = split_target(request.target)
        odata = len(segments) > 4 and segments[3] == "forms" and _is_feed(segments)
        try:
            if segments[0] != "v1":
                raise _wrong_version(segments[0])
            if self.switches.database_down:
                raise internal_error()
            actor = find_actor(request, self.central.people, self._is_secure(request))
            call = Call(
                self.central, request, actor, segments, raw, pairs, self.switches.public_url or self.url
            )
            return self._route(call)
        except Problem as problem:
            if odata and raw[-1] == "$metadata":
                answer = problem.to_xml()
            elif segments[-1] == "submission" or segments[-1] == "formList":
                answer = problem.to_openrosa()
            else:
                answer = problem.to_json()
            return answer

    def _is_secure(self, request: Request) -> bool:
        if not self.switches.secure_only or self.url.startswith("https"):
            return True
        return request.header("X-Forwarded-Proto") == "https"

    def _route(self, call: Call) -> Answer:
        segments = call.segments
        if call.request.method == "OPTIONS":
            raise not_found()
        if segments[1:2] == ["sessions"]:
            return answer_sessions(call)
        if segments[1:2] == ["users"]:
            return answer_users(call)
        if segments[1:] == ["audits"]:
            return answer_audits(call)
        if segments[1:2] != ["projects"]:
            raise not_found()
        if call.actor is None:
            raise not_signed_in()
        if len(segments) <= 3:
            return answer_projects(call)
        return self._route_in_project(call)

    def _route_in_project(self, call: Call) -> Answer:
        segments = call.segments
        if segments[3] in _IN_PROJECT:
            return _IN_PROJECT[segments[3]](call)
        if segments[3] != "forms":
            raise not_found()
        if len(segments) == 4:
            return answer_forms(call)
        if _is_feed(segments):
            return self._answer_feed(call)
        if segments[5:6] == ["submissions"]:
            form = call.form(segments[2], segments[4])
            return submission_calls.answer_submissions(
                call, form, segments[6:], self.files_host, self.switches
            )
        return answer_form(call)

    def _answer_feed(self, call: Call) -> Answer:
        if call.method != "GET":
            raise not_found()
        segments = call.segments
        draft = segments[4:6][-1] == "draft.svc"
        form_id = segments[4] if draft else segments[4].removesuffix(".svc")
        rest = segments[6:] if draft else segments[5:]
        form = call.form(segments[2], form_id)
        version = form.draft if draft else form.current
        if version is None:
            raise not_found()
        call.need("submission.list", form.project_id)
        version_wanted = call.request.header("OData-MaxVersion")
        if version_wanted and version_wanted < "4":
            raise not_found()
        if call.raw[-1] == "$metadata":
            check_format(call, "application/xml", "atom")
            answer = answer_text(write_metadata(form_id, version.schema), "application/xml")
            answer.headers["OData-Version"] = "4.0"
            return answer
        check_format(call, "application/json", "json")
        base = f"{call.base_url}/v1/projects/{form.project_id}/forms/" + "/".join(
            encode_component(part) for part in ([form_id, "draft.svc"] if draft else [form_id + ".svc"])
        )
        feed = self._feed(form, version.schema, base, draft)
        if rest in ([], [""]):
            return feed.service_document("/" if rest else "")
        path = [_KEY.fullmatch(part) for part in rest]
        first = path[0]
        if first is None:
            raise not_found()
        if first["key"] is None:
            if len(rest) > 1:
                raise not_found()
            return feed.read_table(rest[0], call.pairs).to_answer()
        if first["name"] != "Submissions" or not _PLAIN_KEY.fullmatch(first["key"]):
            raise not_found()
        keys = [(m["name"], _unquote_key(m["key"])) for m in path if m is not None]
        return feed.read_single(_unquote_key(first["key"]) or "", keys[1:], call.pairs).to_answer()

    def _feed(self, form: Form, schema: Schema, base: str, draft: bool) -> Feed:
        key = (form.number, id(schema), base)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(form, schema, base, draft)
        return feed


_IN_PROJECT = {
    "submission": answer_submission,
    "datasets": answer_datasets,
    "app-users": answer_app_users,
    "assignments": answer_assignment,
}


def _is_feed(segments: list[str]) -> bool:
    return segments[4].endswith(".svc") or segments[5:6] == ["draft.svc"]


def _unquote_key(key: str | None) -> str | None:
    if key is None or len(key) < 2 or key[0] != "'" or key[-1] != "'":
        return None
    return key[1:-1].replace("''", "'")


def _weak(etag: str) -> str:
    return etag.removeprefix("W/")


def _wrong_version(first: str) -> Problem:
    found = re.fullmatch(r"v(\d+)", first)
    if found is None:
        return Problem(404.2, "Expected an API version (eg /v1) at the start of the request URL.")
    return Problem(404.3, f"Unexpected an API version (accepts: 1) (got: {found[1]}).", {"got": found[1]})


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


__all__ = ["Definition", "OdkSimulator"]
