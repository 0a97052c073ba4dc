"""A request to Central, taken apart, and answers as Express gives them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from dev.simulators.base import Answer, Request
from dev.simulators.odk.central import Central
from dev.simulators.odk.people import Actor
from dev.simulators.odk.problems import Problem, bad_type, forbidden
from dev.simulators.odk.store import File, Form, Project


@dataclass
class Call:
    """One request. segments: the path's parts, decoded; raw: the same as they came; pairs: the query in order."""

    central: Central
    request: Request
    actor: Actor | None
    segments: list[str]
    raw: list[str]
    pairs: list[tuple[str, str]]
    base_url: str

    @property
    def method(self) -> str:
        """GET for HEAD too: only the body is missing there."""
        return "GET" if self.request.method == "HEAD" else self.request.method

    def option(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return dict(self.pairs).get(name, default)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises: Problem 400.1."""
        if not self.request.body or not self.request.header("Content-Type").startswith("application/json"):
            return {}
        try:
            found = json.loads(self.request.body)
        except ValueError:
            found = None
        if not isinstance(found, dict | list):
            raise Problem(
                400.1,
                f"Could not parse the given data ({len(self.request.body)} chars) as json.",
                {"format": "json", "rawLength": len(self.request.body)},
            )
        return found if isinstance(found, dict) else {}

    def need(self, verb: str, project_id: int | None = None) -> None:
        """Raises: Problem 403.1 where the actor may not."""
        if self.actor is None or not self.actor.may(verb, project_id):
            raise forbidden()

    def project(self, text: str) -> Project:
        """The project of a path. Raises: Problem 404.1, 400.11, 400.22."""
        return self.central.find_project(read_id(text))

    def form(self, project: str, form_id: str) -> Form:
        """The form of a path. Raises: Problem."""
        return self.central.find_form(read_id(project), form_id)


def read_id(text: str) -> int:
    """A number in a path. Raises: Problem 400.11, 400.22."""
    if not re.fullmatch(r"-?\d+", text):
        raise bad_type(text, "type integer")
    if abs(int(text)) >= 2**31:
        raise Problem(
            400.22,
            f"Provided value '{text}' is out of range for type 'integer'",
            {"value": text, "type": "integer"},
        )
    return int(text)


def check_format(call: Call, takes: str, short: str) -> None:
    """Raises: Problem 406.1 unless the client takes this kind of answer, by `$format` or else by `Accept`."""
    wanted = call.option("$format")
    if wanted:
        fits = wanted in (takes, short)
    else:
        wanted = call.request.header("Accept")
        kinds = [part.split(";")[0].strip() for part in wanted.split(",")]
        fits = not wanted or any(kind in (takes, "*/*", takes.split("/")[0] + "/*") for kind in kinds)
    if not fits:
        raise Problem(
            406.1,
            f"Requested format not acceptable; this resource allows: {takes},{short}.",
            {"allowed": [takes, short], "got": wanted},
        )


def split_target(target: str) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """A request target as decoded parts, raw parts, and the query's pairs."""
    parts = urlsplit(target)
    raw = parts.path.split("/")[1:]
    return [unquote(part) for part in raw], raw, parse_qsl(parts.query, keep_blank_values=True)


def answer_json(value: Any, status: int = 200) -> Answer:
    """JSON as Central writes it."""
    return Answer(status, msgspec.json.encode(value), {"Content-Type": "application/json; charset=utf-8"})


def answer_text(text: str, kind: str, status: int = 200) -> Answer:
    """Text of some kind."""
    return Answer(status, text.encode(), {"Content-Type": f"{kind}; charset=utf-8"})


def answer_success() -> Answer:
    """`{"success": true}`"""
    return answer_json({"success": True})


def hash_body(body: bytes) -> str:
    """The weak ETag that Express gives a body."""
    digest = base64.b64encode(hashlib.sha1(body).digest()).decode().rstrip("=")
    return f'W/"{len(body):x}-{digest}"'


_INLINE = ("image/", "audio/", "video/", "application/pdf")


def answer_file(name: str, file: File, if_none_match: str) -> Answer:
    """An attachment's content; 304 where the client has it."""
    etag = f'"{file.md5}"'
    if etag in [part.strip() for part in if_none_match.split(",")]:
        return Answer(304, b"", {"ETag": etag})
    return Answer(
        200,
        file.content,
        {
            "ETag": etag,
            "Content-Disposition": write_disposition(name, file),
            "Content-Type": file.content_type,
        },
    )


def write_disposition(name: str, file: File) -> str:
    """`Content-Disposition` with an ASCII and a UTF-8 name."""
    way = "inline" if file.content_type.startswith(_INLINE) else "attachment"
    # What is not ASCII becomes a dash, letters beside one another one dash.
    plain = re.sub(r"[^\x20-\x7e]+", "-", name).replace('"', "")
    # As encodeURIComponent, without what RFC 5987 does not allow.
    return f"{way}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='!~')}"
