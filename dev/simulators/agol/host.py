"""The services host: feature services, their layers' operations, jobs, rate limit."""

from __future__ import annotations

import heapq
import itertools
import random
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dev.simulators.agol.answers import format_json, format_page, refuse_code
from dev.simulators.agol.editing import (
    ADMIN_EDITS,
    EDITS,
    EditCall,
    append_features,
    define,
    edit_layer,
    read_targets,
)
from dev.simulators.agol.jobs import Job, Work
from dev.simulators.agol.layer import Layer
from dev.simulators.agol.query import query_layer
from dev.simulators.agol.refusals import Refusal, refuse_edit
from dev.simulators.agol.switches import Switches
from dev.simulators.base import Answer, Request

ORGANIZATION = "simorg"
ADDRESS = re.compile(
    rf"/{ORGANIZATION}/arcgis/rest(?P<admin>/admin)?/services/(?P<name>[^/]+)/FeatureServer"
    r"(?:/(?P<layer>\d+))?(?P<operation>(?:/[\w-]+)*)/?"
)


@dataclass
class Service:
    """An item and its feature service. public: queries need no token. may_edit: the account's right."""

    service_id: str
    name: str
    public: bool = False
    may_edit: bool = True
    is_view: bool = False
    layers: dict[int, Layer] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it is on its host."""
        return f"/{ORGANIZATION}/arcgis/rest/services/{self.name}/FeatureServer"

    def describe(self) -> dict[str, Any]:
        """The service's JSON."""
        layers = sorted(self.layers.values(), key=lambda layer: layer.layer_id)
        return {
            "currentVersion": 11.4,
            "serviceItemId": self.service_id,
            "hasVersionedData": False,
            "maxRecordCount": 2000,
            "capabilities": "Create,Delete,Query,Update,Editing",
            "syncEnabled": False,
            "isView": self.is_view,
            "layers": [{"id": x.layer_id, "name": x.name} for x in layers if not x.is_table],
            "tables": [{"id": x.layer_id, "name": x.name} for x in layers if x.is_table],
            "xssPreventionInfo": {
                "xssPreventionEnabled": True,
                "xssPreventionRule": "InputOnly",
                "xssInputRule": "rejectInvalid",
            },
        }


class Host:
    """All services. Callers hold the simulator's lock, and call `settle` before they look at anything."""

    def __init__(self, url: Callable[[], str], switches: Switches, chance: random.Random) -> None:
        self._url = url
        self.switches = switches
        self.services: dict[str, Service] = {}
        self.jobs: dict[str, Job] = {}
        self.edits: list[EditCall] = []
        self._chance = chance
        self._due: list[tuple[float, int, Callable[[], Any]]] = []
        self._serial = itertools.count()
        self._recent: list[float] = []

    def schedule(self, seconds: float, step: Callable[[], Any]) -> None:
        """Have something done so many seconds from now."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._serial), step))

    def settle(self) -> None:
        """Do what was due by now, in its order."""
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def forget(self) -> None:
        """Let nothing happen any more that was still to come."""
        self._due.clear()
        self.jobs.clear()

    def check_rate(self) -> Answer | None:
        """The answer to a request that is one too many, else None."""
        if self.switches.rate_limit is None:
            return None
        most, seconds = self.switches.rate_limit
        now = time.monotonic()
        self._recent = [at for at in self._recent if at > now - seconds]
        if len(self._recent) < most:
            self._recent.append(now)
            return None
        wait_s = self._recent[0] + seconds - now
        body = refuse_code(429, wait_s).body()
        if self.switches.rate_limit_status == 429:
            return Answer.json(body, 429, Retry_After=str(max(1, -int(-wait_s // 1))))
        return format_json(body)

    def answer(
        self,
        found: re.Match[str],
        request: Request,
        form: dict[str, str],
        check_token: Callable[[], None],
    ) -> Answer:
        """Answer a request to an `ADDRESS`; raises Refusal."""
        service = next((s for s in self.services.values() if s.name == found["name"]), None)
        operation = found["operation"].strip("/")
        if service is None or not service.public or operation not in ("", "query"):
            check_token()
        if service is None or (found["layer"] is None and operation):
            raise Refusal(400, "Invalid URL", "Invalid URL")
        if found["layer"] is None:
            return format_json(service.describe())
        layer = service.layers.get(int(found["layer"]))
        if layer is None:
            raise Refusal(400, "", f"The requested layer (layerId: {found['layer']}) was not found.")
        if operation == "":
            return format_json(
                {
                    **layer.describe(),
                    "serviceItemId": service.service_id,
                    "isView": service.is_view,
                    "supportsTruncate": layer.supports_truncate and not service.is_view,
                }
            )
        if request.path in self.jobs:
            return format_json(self.jobs[request.path].describe())
        if operation == "query":
            return format_json(query_layer(layer, form, self._chance))
        if operation not in (ADMIN_EDITS if found["admin"] else EDITS):
            raise Refusal(400, "Invalid URL", "Invalid URL")
        if request.method != "POST":
            raise Refusal(405, "Method Not Allowed", f"{operation} takes POST.")
        limit = self.switches.max_body_bytes
        if limit is not None and len(request.body) > limit:
            return format_page("Not Found", self.switches.too_long_status)
        if not service.may_edit:
            raise refuse_code(403)
        call = EditCall(operation, service.service_id, layer.layer_id, len(request.body))
        self.edits.append(call)
        try:
            return format_json(self._edit(service, layer, request.path, form, call))
        except Refusal as refusal:
            call.code = refusal.code
            raise

    def _edit(
        self, service: Service, layer: Layer, path: str, form: dict[str, str], call: EditCall
    ) -> dict[str, Any]:
        is_async = form.get("async", "").lower() == "true"
        if call.operation == "addToDefinition":
            return define(layer, form)
        if call.operation == "truncate":
            if not layer.supports_truncate or service.is_view:
                raise refuse_edit("'truncate' is not supported by the layer")
            if is_async:
                return self._start_job(layer, path, lambda share: _truncate(layer, share))
            _truncate(layer, 1.0)
            return {"success": True}
        if call.operation == "append":
            if not layer.supports_append:
                raise refuse_edit("'append' is not supported by the layer")
            return self._start_job(
                layer, path, lambda share: append_features(layer, form, call) if share == 1 else 0
            )
        if call.operation == "deleteFeatures" and is_async:
            targets = read_targets(layer, form)
            call.deletes = len(targets)
            return self._start_job(layer, path, lambda share: _delete(layer, targets, share))
        return edit_layer(layer, call.operation, form, call)

    def _start_job(self, layer: Layer, path: str, work: Work) -> dict[str, Any]:
        job = Job(f"{path.rstrip('/')}/jobs/{uuid.uuid4()}", layer.name)
        self.jobs[job.path] = job
        switches = self.switches
        for seconds, step in job.plan(work, switches.job_end, switches.job_share, switches.job_seconds):
            self.schedule(seconds, step)
        return {"statusUrl": self._url() + job.path}


def _truncate(layer: Layer, share: float) -> int:
    if share < 1:
        return 0
    count = len(layer.rows)
    layer.truncate()
    return count


def _delete(layer: Layer, targets: list[int], share: float) -> int:
    """Delete a share of the targets: the first of those that are still there."""
    there = [object_id for object_id in targets if object_id in layer.rows]
    part = there[: round(len(targets) * share)]
    layer.apply(deletes=part)
    return len(part)
