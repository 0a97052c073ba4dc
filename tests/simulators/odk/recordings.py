"""The recorded exchanges with a real Central: reading them, and telling an answer of the simulator from theirs."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

DATA = Path(__file__).parents[2] / "data" / "odk"
BASE_URL = "http://127.0.0.1:8383"

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# Numbers and names that a server draws for itself.
_OWN_IDS = {"acteeId", "submissionId", "submissionDefId", "newBlobId", "oldBlobId"}
_TOLERANCE = timedelta(seconds=3)


@dataclass
class Exchange:
    """One recorded request and its answer."""

    file: str
    index: int
    name: str
    method: str
    target: str
    headers: dict[str, str]
    body: Any
    answer: dict[str, Any]

    @property
    def status(self) -> int:
        return self.answer["status"]

    @property
    def at(self) -> datetime | None:
        """When it was answered, by the server's clock, in whole seconds."""
        date = self.answer["headers"].get("Date")
        return None if date is None else parsedate_to_datetime(date)


def read_recordings() -> dict[str, list[Exchange]]:
    """All recordings by file name ("05_auth"), in the order they were made."""
    found: dict[str, list[Exchange]] = {}
    for path in sorted((DATA / "recordings").glob("*.json.gz")):
        name = path.name.removesuffix(".json.gz")
        content = json.loads(gzip.decompress(path.read_bytes()))
        found[name] = [_read(name, index, one) for index, one in enumerate(content["exchanges"])]
    return found


def _read(file: str, index: int, content: dict[str, Any]) -> Exchange:
    request = content["request"]
    target = request.get("raw_target")
    if target is None:
        query = urlencode([tuple(pair) for pair in request["query"]])
        target = request["path"] + (f"?{query}" if query else "")
    if target.endswith("..."):
        target = _restore_long_filter(target, content["name"])
    body = next((request[key] for key in ("body_json", "body_text", "body") if key in request), None)
    return Exchange(
        file, index, content["name"], request["method"], target, request["headers"], body, content["response"]
    )


def _restore_long_filter(target: str, name: str) -> str:
    """The whole of a filter that the recording shows the beginning of."""
    count = int(re.findall(r"\((\d+) ids", name)[0])
    names = ["x", *(f"uuid:{number:036d}" for number in range(count))]
    words = " or ".join(f"__id eq '{one}'" for one in names)
    return target.split("?")[0] + "?$filter=" + quote(words, safe="")


@dataclass
class Answered:
    """What the simulator said."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Difference:
    """Where an answer is not the recorded one."""

    place: str
    recorded: Any
    answered: Any

    def __str__(self) -> str:
        return f"{self.place}: recorded {str(self.recorded)[:300]!r}, answered {str(self.answered)[:300]!r}"


@dataclass
class Tags:
    """Recorded feed ETags and the simulator's: which is which must hold both ways."""

    known: dict[str, str] = field(default_factory=dict)

    def translate(self, recorded: str) -> str:
        return self.known.get(recorded, recorded)


def compare(recorded: Exchange, answered: Answered) -> list[Difference]:
    """What differs in status, content type, place and body; times within seconds, tokens and own ids aside."""
    wanted = recorded.answer
    found: list[Difference] = []
    if answered.status != recorded.status:
        found.append(Difference("status", recorded.status, f"{answered.status} {answered.body[:300]!r}"))
        return found
    for name in ("Content-Type", "Content-Disposition", "Location", "OData-Version", "X-OpenRosa-Version"):
        one, two = wanted["headers"].get(name), answered.headers.get(name)
        if name == "Location" and one is not None:
            one, two = _strip_signature(one), _strip_signature(two or "")
        if one != two and not (name == "OData-Version" and recorded.status >= 300):
            found.append(Difference(name, one, two))
    found.extend(_compare_body(wanted, recorded.method, answered.body))
    return found


def _compare_body(wanted: dict[str, Any], method: str, body: bytes) -> list[Difference]:
    if "body_json" in wanted:
        try:
            content = json.loads(body)
        except ValueError:
            return [Difference("body", wanted["body_json"], body)]
        total = wanted.get("truncated_value_total", wanted.get("truncated_list_total"))
        if total is not None:
            rows = content["value"] if isinstance(content, dict) else content
            if len(rows) != total:
                return [Difference("number of rows", total, len(rows))]
            shown = wanted["body_json"]
            del rows[len(shown["value"] if isinstance(shown, dict) else shown) :]
        return _compare_json("$", wanted["body_json"], content)
    if "body_text" in wanted:
        one, two = _strip_signature(wanted["body_text"]), _strip_signature(body.decode())
        return [] if one == two else [_first_difference(one, two)]
    if "body_base64" in wanted:
        content = base64.b64decode(wanted["body_base64"])
        return [] if content == body else [Difference("bytes", len(content), len(body))]
    if "zip_entries" in wanted:
        return [Difference("zip", sorted(wanted["zip_entries"]), len(body))]
    return [] if not body or method == "HEAD" else [Difference("body", "none", body)]


def _compare_json(place: str, one: Any, two: Any) -> list[Difference]:
    if isinstance(one, dict) and isinstance(two, dict):
        if list(one) != list(two):
            return [Difference(f"{place} keys", list(one), list(two))]
        found = []
        # A phone's number follows from how many actors there are, and a draft makes one too.
        own = {*_OWN_IDS, "id"} if one.get("type") == "field_key" else _OWN_IDS
        for key in one:
            if key in own:
                if (one[key] is None) is not (two[key] is None):
                    found.append(Difference(f"{place}.{key}", one[key], two[key]))
            else:
                found.extend(_compare_json(f"{place}.{key}", one[key], two[key]))
        return found
    if isinstance(one, list) and isinstance(two, list):
        if len(one) != len(two):
            return [Difference(f"{place} length", len(one), len(two))]
        return [d for i, (a, b) in enumerate(zip(one, two)) for d in _compare_json(f"{place}[{i}]", a, b)]
    if isinstance(one, str) and isinstance(two, str):
        if one.startswith("<redacted"):
            return [] if len(two) == 64 else [Difference(place, one, two)]
        if _TIME.fullmatch(one) and _TIME.fullmatch(two):
            apart = abs(datetime.fromisoformat(one) - datetime.fromisoformat(two))
            return [] if apart <= _TOLERANCE else [Difference(place, one, two)]
    return [] if one == two and type(one) is type(two) else [Difference(place, one, two)]


def _strip_signature(text: str) -> str:
    """A signed link without what is drawn or timed: host, blob, credential, date, signature."""
    text = re.sub(r"http://127\.0\.0\.1:\d+/odk-bucket/blob-\d+-[0-9a-f]{40}", "<blob>", text)
    return re.sub(r"(X-Amz-(?:Credential|Date|Signature))=[^&\s]*", r"\1=", text)


def _first_difference(one: str, two: str) -> Difference:
    at = next((i for i, (a, b) in enumerate(zip(one, two)) if a != b), min(len(one), len(two)))
    return Difference(f"text at {at}", one[max(0, at - 60) : at + 80], two[max(0, at - 60) : at + 80])
