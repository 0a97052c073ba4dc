"""Sending the recorded requests to the simulator, in the order they were made."""

from __future__ import annotations

import base64
import http.client
import json
import re
from dataclasses import dataclass, field
from typing import Any

from dev.simulators.odk.people import ADMIN, COLLECTOR, NOBODY, VIEWER
from tests.simulators.odk.history import _FILE, History
from tests.simulators.odk.recordings import Answered, Difference, Exchange, Tags, compare, read_recordings

_PASSWORDS = dict([ADMIN, VIEWER, COLLECTOR, NOBODY])
_ACTORS = {
    "Project Viewer": VIEWER[0],
    "viewer": VIEWER[0],
    "Data Collector": COLLECTOR[0],
    "user without any role": NOBODY[0],
}


@dataclass
class Replay:
    """All exchanges, each with what differed."""

    history: History
    results: dict[str, list[list[Difference]]] = field(default_factory=dict)
    tags: Tags = field(default_factory=Tags)
    tokens: dict[str, str] = field(default_factory=dict)
    last_token: str = ""

    def run(self, recordings: dict[str, list[Exchange]]) -> None:
        """Send everything."""
        for name, exchanges in recordings.items():
            self.results[name] = [self._replay(one) for one in exchanges]

    def _replay(self, exchange: Exchange) -> list[Difference]:
        self.history.advance_to(exchange)
        answered = self._send(exchange)
        found = compare(exchange, answered)
        if exchange.status in (200, 304) and exchange.method in ("GET", "HEAD"):
            found.extend(self._compare_tags(exchange, answered))
        return found

    def _compare_tags(self, exchange: Exchange, answered: Answered) -> list[Difference]:
        """The feed's ETags are drawn by each server: the same must stay the same, another be another."""
        recorded, ours = exchange.answer["headers"].get("ETag", ""), answered.headers.get("ETag", "")
        if "eventhash" not in recorded:
            # A file's is the hash of its bytes.
            return (
                [] if recorded.startswith("W/") or recorded == ours else [Difference("ETag", recorded, ours)]
            )
        known = self.tags.known.setdefault(recorded, ours)
        if known != ours or list(self.tags.known.values()).count(ours) > 1 and "0" * 32 not in ours:
            return [Difference("ETag", recorded, f"{ours}, before {known}")]
        return []

    # One request

    def _send(self, exchange: Exchange) -> Answered:
        simulator = self.history.simulator
        drawn = _find_drawn_id(exchange)
        if drawn is not None:
            simulator.central.make_id = lambda: drawn
        if exchange.file == "25_database_down" and exchange.status == 500:
            simulator.switches.database_down = True
        body, kind = self._body(exchange)
        headers = self._headers(exchange)
        if kind:
            headers["Content-Type"] = kind
        connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
        target = exchange.target.replace("<64 chars>", "a" * 64)
        connection.putrequest(exchange.method, target, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        simulator.switches.database_down = False
        answered = Answered(answer.status, dict(answer.getheaders()), content)
        if exchange.target == "/v1/sessions" and answer.status == 200:
            self.last_token = json.loads(content)["token"]
        if exchange.target.endswith("/app-users") and answer.status == 200:
            self.tokens["phone"] = json.loads(content)["token"]
        return answered

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        headers = dict(exchange.headers)
        name = exchange.name
        if "Authorization" in headers:
            headers["Authorization"] = self._authorization(exchange, headers["Authorization"])
        if "Cookie" in headers:
            headers["Cookie"] = f"session={self._token(ADMIN[0])}"
        if "If-None-Match" in headers:
            headers["If-None-Match"] = self.tags.translate(headers["If-None-Match"])
        if name.startswith("upload without Content-Type"):
            headers.pop("Content-Type", None)
        return headers

    def _authorization(self, exchange: Exchange, recorded: str) -> str:
        scheme = recorded.split()[0]
        name = exchange.name
        if scheme == "Basic":
            password = "nonsense" if "wrong" in name else ADMIN[1]
            return "Basic " + base64.b64encode(f"{ADMIN[0]}:{password}".encode()).decode()
        if "unknown token" in name:
            return f"{scheme} {'a' * 64}"
        if "malformed" in name:
            return f"{scheme} x"
        if name == "expired token":
            people = self.history.simulator.central.people
            session = people.open_session(self.history.simulator.central.admin)
            return f"{scheme} {self._expire(session.token)}"
        if name in ("logout", "token after logout", "current session (dates only)"):
            return f"{scheme} {self.last_token}"
        if name.startswith("app-user"):
            return f"{scheme} {self.tokens['phone']}"
        actor = next((email for start, email in _ACTORS.items() if name.startswith(start + ":")), ADMIN[0])
        if exchange.target == "/v1/projects/1/submission" and exchange.file in (
            "02_create_submissions",
            "26_openrosa_resend",
        ):
            actor = COLLECTOR[0]
        return f"{scheme} {self._token(actor)}"

    def _token(self, email: str) -> str:
        people = self.history.simulator.central.people
        token = self.tokens.get(email, "")
        if people.find_session(token) is None:
            actor = people.find(email)
            assert actor is not None, email
            before = actor.last_login_at
            token = self.tokens[email] = people.open_session(actor).token
            actor.last_login_at = before
        return token

    def _expire(self, token: str) -> str:
        people = self.history.simulator.central.people
        session = people.sessions[token]
        object.__setattr__(session, "expires_at", session.created_at)
        return token

    def _body(self, exchange: Exchange) -> tuple[bytes | None, str]:
        """The bytes to send, and a content type if it is not the recorded one."""
        body, kind = exchange.body, exchange.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            return _write_parts(self.history.multipart_of(exchange))
        if isinstance(body, dict | list):
            return json.dumps(_fill_password(body, exchange.name)).encode(), ""
        if body is None:
            return (b"" if exchange.method in ("POST", "PUT", "PATCH") else None), ""
        size = re.fullmatch(r"<(\d+) bytes>", body)
        if size:
            return self._content(exchange, int(size[1])), ""
        # A key that the recording does not show.
        return body.replace("<public key>", "key").encode(), ""

    def _content(self, exchange: Exchange, size: int) -> bytes:
        """A file's bytes: those that were downloaded later, or as many others."""
        place = _FILE.fullmatch(exchange.target)
        assert place is not None
        from urllib.parse import unquote

        key = unquote(place[1]), unquote(place[2]), size
        return self.history.contents.get(key, exchange.name.encode().ljust(size, b"."))


def _find_drawn_id(exchange: Exchange) -> str | None:
    """The id that the server drew for what was created."""
    body = exchange.answer.get("body_json")
    if exchange.method != "POST" or not isinstance(body, dict):
        return None
    return body.get("uuid") or body.get("instanceId")


def _fill_password(body: Any, name: str) -> Any:
    if isinstance(body, dict) and body.get("password") == "<redacted>":
        known = {email.lower(): password for email, password in _PASSWORDS.items()}
        right = known.get(str(body["email"]).lower(), "no such user")
        return {**body, "password": "nonsense" if name == "wrong password" else right}
    return body


def _write_parts(parts: dict[str, bytes]) -> tuple[bytes, str]:
    boundary = "cf455b09e7e1fb49c54fd1e017b122d2"
    out = b""
    for name, content in parts.items():
        kind = "text/xml" if name == "xml_submission_file" else "image/jpeg"
        out += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        ).encode()
        out += content + b"\r\n"
    return out + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def replay_everything() -> Replay:
    """Go through all recordings once."""
    recordings = read_recordings()
    replay = Replay(History(recordings))
    with replay.history.simulator:
        replay.run(recordings)
    return replay
