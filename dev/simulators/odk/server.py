"""The simulator of ODK Central: HTTP on one side, what tests do to it on the other."""

from __future__ import annotations

import re
import ssl
from typing import Any

from dev.simulators.base import Answer, Request, Simulator
from dev.simulators.odk import submission_calls
from dev.simulators.odk.audit_calls import answer_audits
from dev.simulators.odk.calls import Call, answer_text, check_format, hash_body, split_target
from dev.simulators.odk.central import Central
from dev.simulators.odk.clock import Clock
from dev.simulators.odk.entities import answer_datasets
from dev.simulators.odk.feed import Feed
from dev.simulators.odk.files_host import FilesHost
from dev.simulators.odk.form_calls import answer_form, answer_forms, answer_projects
from dev.simulators.odk.metadata import write_metadata
from dev.simulators.odk.openrosa import answer_submission
from dev.simulators.odk.people import ADMIN, COLLECTOR, VIEWER
from dev.simulators.odk.people_calls import answer_app_users, answer_assignment, answer_users
from dev.simulators.odk.problems import Problem, internal_error, not_found, not_signed_in
from dev.simulators.odk.rows import encode_component
from dev.simulators.odk.schema import Schema
from dev.simulators.odk.signing import answer_sessions, find_actor
from dev.simulators.odk.store import Form
from dev.simulators.odk.switches import Switches

_KEY = re.compile(r"(?P<name>[^()]+)(?:\((?P<key>.*)\))?")

# Other ids exist, and cannot be reached by a key.
_PLAIN_KEY = re.compile(r"'[ -.0-~]*'")


class OdkServer(Simulator):
    """The HTTP side: who asks, where it leads, what is answered."""

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

    def start(self) -> None:
        """Serve, the second host too."""
        super().start()
        self.files_host.start()

    def stop(self) -> None:
        """Close both ports."""
        super().stop()
        self.files_host.stop()

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
            feed = self._feeds[key] = Feed(form, schema, base, self.switches, draft)
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
