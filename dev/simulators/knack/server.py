"""The Knack simulator: paths, headers, pages, limits and faults.

    city = build_city(seed=1)
    with KnackSimulator(city.metadata, city.records, api_key="key", rate_limit=None) as knack:
        knack.edit_record("object_9", record_id, {"field_41": "New title"})
        ... requests to knack.url ...

Faults of its own, beside those of the base: "empty-page" (200, no records, the right totals), "short-page"
(half of the page's records, the right totals), "short-body" (JSON cut off, with a length that fits).
"""

from __future__ import annotations

import email.parser
import email.policy
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from dev.simulators.base import Answer, Fault, Request, Simulator
from dev.simulators.knack.apps import App, Container
from dev.simulators.knack.limits import Limits
from dev.simulators.knack.selecting import Selector
from dev.simulators.knack.store import Store, reshape
from dev.simulators.knack.switches import Refusal, Switches
from dev.simulators.knack.tables import encode
from dev.simulators.knack.values import Setting, build_asset

MAX_ROWS = 1000
DEFAULT_ROWS = 25

_HEX_ID = re.compile(r"[0-9a-f]{24}")
_OBJECT_RECORDS = re.compile(r"/v1/objects/(?P<container>[^/]+)/records(?:/(?P<id>[^/]*))?")
_VIEW_RECORDS = re.compile(
    r"/v1/(?:pages|scenes)/(?P<scene>[^/]+)/views/(?P<container>[^/]+)/records(?:/(?P<id>[^/]*))?"
)
_APPLICATION = re.compile(r"/v1/applications/(?P<app>[^/]+)(?P<rest>/.*)?")
_UPLOAD = re.compile(r"/assets/(file|image)/upload")
_DOWNLOAD = re.compile(r"/download/asset/([^/]+)/(?:thumb_14/)?[^/]+")
_FIELDS = re.compile(r"/v1/objects/([^/]+)/fields")


class KnackSimulator(Simulator):
    """One Knack app on 127.0.0.1.

    Args:
        metadata: the whole document, with its "application" key.
        records: {object key: records in `both` format, dicts or the encoded bytes to serve}. Views are
            worked out; a list under a view's key is refused.
        app_id: default the metadata's own. api_key: what a client must send; "knack" reaches public views.
        clock: the present, aware; for the modified date, relative date filters and the plan's reset.
        rate_limit: requests in any second, None for no limit. plan_limit: calls a day.
        users: {email: password} of those who may log in.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        records: Mapping[str, Iterable[dict[str, Any] | bytes]],
        *,
        seed: int = 0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        app_id: str | None = None,
        api_key: str = "knack-api-key",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        switches: Switches | None = None,
        rate_limit: int | None = 10,
        plan_limit: int = 25_000,
        users: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(seed, port, tls)
        self.app = App(metadata)
        self.app_id = app_id or self.app.id
        self.api_key = api_key
        self.clock = clock
        self.switches = switches or Switches()
        self.limits = Limits(rate_limit, plan_limit, lambda: self.clock())
        self.users = dict(users or {})
        self.tokens: set[str] = set()
        self.assets: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._metadata = encode(metadata)
        setting = Setting(self.app_id, self.app.timezone, self.url)
        self.store = Store(self.app, setting, lambda: self.clock(), seed)
        setting.find_identifier = self.store.find_identifier
        setting.find_asset = lambda asset_id: self.assets[asset_id][0] if asset_id in self.assets else None
        self.selector = Selector(self.store, self.switches, seed)
        for key, held in records.items():
            if key not in self.app.objects:
                raise ValueError(
                    f"{key} is no object of the app: records are held by objects, views show them"
                )
            self.store.load(key, held)

    # For tests and the demo

    def records(self, container: str) -> list[dict[str, Any]]:
        """Everything that a container shows, in `both` format and in its own order, withheld ones too."""
        return [msgspec.json.decode(body) for body in self.record_bytes(container).values()]

    def record_bytes(self, container: str) -> dict[str, bytes]:
        """{record id: the bytes served for it}."""
        with self.lock:
            asked = self.app.containers[container]
            ghosts = self.store.tables[asked.object_key].ghosts
            ids = self.selector.select(asked)
            return {one: self.store.show(asked, one) for one in ids if one not in ghosts}

    def record(self, container: str, record_id: str) -> dict[str, Any]:
        """One record as a container shows it; KeyError if it does not."""
        body = self.record_bytes(container)[record_id]
        return msgspec.json.decode(body, type=dict[str, Any])

    def add_record(self, object_key: str, values: Mapping[str, Any], touch: bool = True) -> str:
        """Add a record; gives its id (`values["id"]`, or a new one).

        Args:
            values: {field key: value as a client would write it, or as Python has it: datetime (naive is the
                app's wall clock), date, time, list of record ids}. With a `_raw` key beside it a value is
                taken as the ready display form. Computed fields may be given too.
            touch: stamp the object's modified date with `clock()`, unless it is among the values.
        """
        with self.lock:
            return self.store.create(object_key, values, touch, trusted=True)

    def edit_record(
        self, object_key: str, record_id: str, values: Mapping[str, Any], touch: bool = True
    ) -> None:
        """Change fields of a record, as `add_record`. A new identifier reaches connected records, undated."""
        with self.lock:
            self.store.edit(object_key, record_id, values, touch, trusted=True)

    def delete_record(self, object_key: str, record_id: str, leave_ghost: bool = False) -> None:
        """Delete a record. leave_ghost: totals and positions go on counting it."""
        with self.lock:
            self.store.delete(object_key, record_id, leave_ghost)

    def withhold(self, container: str, count: int, page: int = 1, rows_per_page: int = MAX_ROWS) -> list[str]:
        """Let `count` records of a page never come, though they live and are counted; gives their ids.

        Which ones is drawn from the seed. `release` ends it.
        """
        with self.lock:
            asked = self.app.containers[container]
            ids = self.selector.select(asked)[(page - 1) * rows_per_page : page * rows_per_page]
            chosen = self.faults.random.sample(ids, count)
            self.store.tables[asked.object_key].hidden.update(chosen)
            return chosen

    def release(self, container: str) -> None:
        """Let all withheld records of a container's object come again."""
        with self.lock:
            table = self.store.tables[self.app.containers[container].object_key]
            table.hidden &= table.ghosts

    def snapshot(self) -> dict[str, dict[str, bytes]]:
        """All records as they are, for `restore`."""
        with self.lock:
            return self.store.snapshot()

    def restore(self, kept: Mapping[str, Mapping[str, bytes]]) -> None:
        """Have a snapshot's records again and no others; none is withheld."""
        with self.lock:
            self.store.restore(kept)

    def replace_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Change the app as its builder would; records stay as they are, also where a new field is missing."""
        with self.lock:
            self.app = App(metadata)
            self.store.use_app(self.app)
            self._metadata = encode(metadata)

    # Answers

    def answer(self, request: Request) -> Answer:
        """Carry a request out under the simulator's lock; every answer carries the limits' headers."""
        with self.lock:
            try:
                answer = self._answer(request)
            except Refusal as refusal:
                if refusal.errors is not None:
                    answer = Answer.json({"errors": refusal.errors}, refusal.status)
                else:
                    answer = Answer.text(refusal.text, refusal.status)
            answer.headers.update(self.limits.headers())
            return answer

    def own_fault(self, fault: Fault, request: Request) -> Answer | None:
        """Pages that look whole and are not."""
        if fault.kind not in ("empty-page", "short-page", "short-body"):
            return None
        answer = self.answer(request)
        if answer.status != 200:
            return answer
        if fault.kind == "short-body":
            answer.body = answer.body[: len(answer.body) * 2 // 3]
            return answer
        page = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
        if "records" in page:
            held = msgspec.json.decode(page["records"], type=list[msgspec.Raw])
            kept = held[: len(held) // 2] if fault.kind == "short-page" else []
            answer.body = encode({**page, "records": kept})
        return answer

    def _answer(self, request: Request) -> Answer:
        path = request.path.rstrip("/")
        inside = _APPLICATION.fullmatch(path)
        records = _OBJECT_RECORDS.fullmatch(path)
        seen = _VIEW_RECORDS.fullmatch(path)
        counts = True
        if inside and not inside["rest"]:
            counts = self.switches.metadata_calls_count
        elif seen and not request.header("Authorization"):
            counts = self.switches.view_calls_count
        if not self.limits.take(counts):
            raise Refusal(429, "Rate limit exceeded")
        if inside:
            return self._answer_application(request, inside["app"], inside["rest"] or "")
        if records or seen:
            return self._answer_records(request, records or seen)  # type: ignore[arg-type]
        if path == "/v1/objects" and request.method == "GET":
            self._check_headers(request, None)
            named = [{"key": one.key, "name": one.name} for one in self.app.objects.values()]
            return Answer.json({"objects": named})
        asked = _FIELDS.fullmatch(path)
        if asked and asked[1] in self.app.objects and request.method == "GET":
            self._check_headers(request, None)
            fields = [
                {"key": f["key"], "label": f["name"], "type": f["type"], "required": bool(f.get("required"))}
                for f in self.app.objects[asked[1]].fields.values()
            ]
            return Answer.json({"fields": fields})
        raise Refusal(404, f"Cannot {request.method} {request.path}")

    def _answer_application(self, request: Request, app_id: str, rest: str) -> Answer:
        if not _HEX_ID.fullmatch(app_id):
            raise Refusal(400, "Malformed App ID.")
        if app_id != self.app_id:
            raise Refusal(404, "Application not found")
        if not rest and request.method == "GET":
            return Answer(200, self._metadata, {"Content-Type": "application/json; charset=utf-8"})
        upload, download = _UPLOAD.fullmatch(rest), _DOWNLOAD.fullmatch(rest)
        if upload and request.method == "POST":
            self._check_headers(request, None)
            return self._keep_asset(request, upload[1])
        if download and request.method == "GET" and download[1] in self.assets:
            return Answer(200, self.assets[download[1]][1], {"Content-Type": "application/octet-stream"})
        if rest == "/session" and request.method == "POST":
            return self._log_in(request)
        raise Refusal(404, f"Cannot {request.method} {request.path}")

    def _keep_asset(self, request: Request, kind: str) -> Answer:
        head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
        parts = message.iter_parts() if message.is_multipart() else iter(())
        for part in parts:
            if part.get_param("name", header="Content-Disposition") == "files":
                content = part.get_payload(decode=True)
                name = part.get_filename() or "file"
                break
        else:
            raise Refusal(400, "No files were uploaded")
        assert isinstance(content, bytes)
        asset_id = f"{self.faults.random.getrandbits(96):024x}"
        raw = build_asset(kind, asset_id, name, len(content), "", self.store.setting)
        self.assets[asset_id] = raw, content
        return Answer.json({"id": asset_id, "type": kind, "filename": name, "public_url": raw["url"]})

    def _log_in(self, request: Request) -> Answer:
        given = self._read_body(request)
        address = str(given.get("email", ""))
        if address not in self.users or self.users[address] != given.get("password"):
            raise Refusal(400, "", [{"field": "email", "message": "Email or password incorrect."}])
        token = f"{self.faults.random.getrandbits(128):032x}"
        self.tokens.add(token)
        return Answer.json({"session": {"user": {"token": token}}})

    def _check_headers(self, request: Request, view: Container | None) -> None:
        app_id, key = request.header("X-Knack-Application-Id"), request.header("X-Knack-REST-API-Key")
        if not app_id:
            raise Refusal(401, "Invalid API Request")
        if not _HEX_ID.fullmatch(app_id):
            raise Refusal(400, "Malformed App ID.")
        if app_id != self.app_id:
            raise Refusal(401, "Invalid API Request")
        if key == self.api_key:
            return
        if view is None and key in ("", "knack"):
            raise Refusal(401, "Unauthorized Object Access")
        # A view asked without a key still wants the header, with the word "knack" in it.
        if key != "knack":
            raise Refusal(401, "Invalid API key" if key else "Invalid API Request")
        assert view is not None
        token = request.header("Authorization")
        if token not in self.tokens if token else not view.public:
            raise Refusal(403, "Invalid or Expired Token")

    def _answer_records(self, request: Request, asked: re.Match[str]) -> Answer:
        container = self.app.containers.get(asked["container"])
        scene = asked.groupdict().get("scene", "")
        if container is not None and container.scene != scene:
            container = None
        self._check_headers(request, container if scene and container else None)
        if container is None:
            raise Refusal(404, f"{'View' if scene else 'Object'} not found")
        record_id, method = asked["id"] or "", request.method
        if method == "GET":
            return self._show_one(container, record_id) if record_id else self._show_page(container, request)
        touch = self.switches.api_writes_touch
        if method == "POST" and not record_id:
            values = self._read_body(request)
            record_id = self.store.create(container.object_key, values, touch, trusted=False)
        elif method == "PUT" and record_id:
            values = self._read_body(request)
            self._check_shown(container, record_id)
            self.store.edit(container.object_key, record_id, values, touch, trusted=False)
        elif method == "DELETE" and record_id:
            self._check_shown(container, record_id)
            self.store.delete(container.object_key, record_id)
            return _answer_json(b'{"delete":true}')
        else:
            raise Refusal(404, f"Cannot {method} {request.path}")
        return _answer_json(self.store.show(container, record_id))

    def _read_body(self, request: Request) -> dict[str, Any]:
        if "json" not in request.header("Content-Type"):
            raise Refusal(400, "Invalid content type: application/json is needed")
        try:
            given = request.json()
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise Refusal(400, "Invalid JSON")
        return given

    def _check_shown(self, container: Container, record_id: str) -> None:
        lives = self.store.tables[container.object_key].lives(record_id)
        if not lives or (container.scene and record_id not in self.selector.select(container)):
            raise Refusal(404, "Record not found")

    def _show_one(self, container: Container, record_id: str) -> Answer:
        self._check_shown(container, record_id)
        return _answer_json(self.store.show(container, record_id))

    def _show_page(self, container: Container, request: Request) -> Answer:
        rows, page = _read_count(request, "rows_per_page", DEFAULT_ROWS), _read_count(request, "page", 1)
        most = self.switches.max_rows
        if rows > most:
            if self.switches.over_max_rows == "refuse":
                raise Refusal(400, f"rows_per_page may be {most} at most")
            rows = most
        by = request.query.get("sort_field", "")
        sort = self.selector.check_sort(container, by, request.query.get("sort_order", "asc")) if by else ()
        ids = self.selector.select(container, request.query.get("filters", ""), sort)
        total = len(ids) + self.switches.overstate_total
        pages = -(-total // rows) or self.switches.pages_of_nothing
        hidden = self.store.tables[container.object_key].hidden
        shown = [
            self.store.show(container, one)
            for one in ids[(page - 1) * rows : page * rows]
            if one not in hidden
        ]
        shape = request.query.get("format", "both")
        if shape in ("raw", "html"):
            shown = [reshape(body, shape) for body in shown]
        current = f'"{page}"' if self.switches.current_page_as == "string" else str(page)
        head = f'{{"total_pages":{pages},"current_page":{current},"total_records":{total},"records":['
        return _answer_json(head.encode() + b",".join(shown) + b"]}")


def _answer_json(body: bytes) -> Answer:
    return Answer(200, body, {"Content-Type": "application/json; charset=utf-8"})


def _read_count(request: Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else default
