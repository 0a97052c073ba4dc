"""The server: both hosts on one port, faults, and what tests ask of the state."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from dev.simulators.agol.answers import format_json, format_page, refuse_code
from dev.simulators.agol.editing import EditCall
from dev.simulators.agol.forms import read_form
from dev.simulators.agol.geometry import POINT
from dev.simulators.agol.host import ADDRESS, ORGANIZATION, Host, Service
from dev.simulators.agol.layer import Layer, LayerState
from dev.simulators.agol.portal import SignIn
from dev.simulators.agol.refusals import Refusal
from dev.simulators.agol.switches import Switches
from dev.simulators.agol.watch import Watch
from dev.simulators.base import Answer, Fault, Request, Simulator

_PORTAL = re.compile(r"/sharing(?:/rest)?(?P<rest>/.*)?")
_INFO = f"/{ORGANIZATION}/arcgis/rest/info"


class AgolSimulator(Simulator):
    """ArcGIS Online's portal and services host on one port.

    Faults of its own, beside those of the base:

        "error-<code>"        a JSON error in a 200 body (400, 403, 429, 498, 499, 500, 504), not carried out;
                              429 asks to wait `seconds`
        "after-error-<code>"  carry it out, then answer so
        "late-commit"         answer 504 at once, carry it out `seconds` later
        "half-504"            carry out the first half of the adds or features, answer 504
        "short-results"       carry it out, leave the last entry out of each list of results

    Public state: `switches`, `sign_in` (account and tokens), `services` (by item), `edits` (a line per
    edit request), and the base's `faults` and `requests`.
    """

    def __init__(
        self,
        seed: int = 0,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        *,
        username: str = "publisher",
        password: str = "publisher-password",
        switches: Switches | None = None,
    ) -> None:
        super().__init__(seed, port, tls)
        self.switches = switches or Switches()
        self.sign_in = SignIn(username, password, self.switches)
        self._host = Host(lambda: self.url, self.switches, self.faults.random)
        self.services: dict[str, Service] = self._host.services
        self.edits: list[EditCall] = self._host.edits

    # Setting up, and looking at the truth.

    @property
    def username(self) -> str:
        """Of the account."""
        return self.sign_in.username

    @property
    def password(self) -> str:
        """Of the account."""
        return self.sign_in.password

    def create_layer(
        self,
        service_id: str,
        layer_id: int = 0,
        kind: str = "layer",
        fields: Sequence[Mapping[str, Any]] | Mapping[str, tuple[Any, ...]] = (),
        geometry: str | None = POINT,
        unique_key: str | None = None,
        spatial_reference: int = 102100,
        max_record_count: int = 2000,
        name: str = "",
    ) -> Layer:
        """A new layer or table of an item; the item is made where it is new.

        fields: the service's own field objects, or {name: (type, length, nullable, editable)} with short
        or long types, later parts left out at will. The object id is added.
        """
        with self.lock:
            service = self.services.setdefault(service_id, Service(service_id, f"service_{service_id}"))
            if layer_id in service.layers:
                raise ValueError(f"{service_id} has a layer or table {layer_id} already")
            service.layers[layer_id] = Layer(
                layer_id,
                kind=kind,
                fields=fields,
                geometry=geometry,
                unique_key=unique_key,
                spatial_reference=spatial_reference,
                max_record_count=max_record_count,
                name=name or f"{kind}_{layer_id}",
                switches=self.switches,
            )
            return service.layers[layer_id]

    def layer(self, service_id: str, layer_id: int = 0) -> Layer:
        """A layer's state, with everything done that was due by now."""
        with self.lock:
            self._host.settle()
            return self.services[service_id].layers[layer_id]

    def layer_url(self, service_id: str, layer_id: int = 0) -> str:
        """A layer's address."""
        return f"{self.url}{self.services[service_id].path}/{layer_id}"

    def features(self, service_id: str, layer_id: int = 0, wkid: int | None = None) -> list[dict[str, Any]]:
        """The truth, whatever queries show: see `Layer.features`."""
        with self.lock:
            return self.layer(service_id, layer_id).features(wkid)

    def add_features(
        self, service_id: str, layer_id: int, features: Sequence[Mapping[str, Any]]
    ) -> list[int]:
        """Put features there without a request; gives their object ids. Raises ValueError if one is bad."""
        with self.lock:
            results = self.layer(service_id, layer_id).apply(adds=features, rollback=True)["addResults"]
            bad = [x["error"] for x in results if not x["success"] and x["error"]["code"] != 1003]
            if bad:
                raise ValueError(f"nothing was added: {bad[0]['description']}")
            return [entry["objectId"] for entry in results]

    def duplicates(self, service_id: str, layer_id: int, key_field: str) -> dict[Any, int]:
        """Keys that more than one feature has, as the service compares them, with their number."""
        with self.lock:
            return self.layer(service_id, layer_id).find_duplicates(key_field)

    def snapshot(self, service_id: str, layer_id: int = 0) -> LayerState:
        """The features as they are, for `restore`."""
        with self.lock:
            return self.layer(service_id, layer_id).snapshot()

    def restore(self, service_id: str, layer_id: int, state: LayerState) -> None:
        """Put a snapshot's features back; edits and jobs that were still to come are forgotten, watches end."""
        with self.lock:
            self._host.forget()
            self.layer(service_id, layer_id).restore(state)

    def watch(self, service_id: str, layer_id: int = 0, key_field: str = "id") -> Watch:
        """Note from now on what readers of the layer could see."""
        with self.lock:
            layer = self.layer(service_id, layer_id)
            watch = Watch(layer, layer.by_name[key_field.lower()].name)
            layer.watches.append(watch)
            return watch

    def body_sizes(self) -> list[int]:
        """Bytes of the body of each edit request, in order."""
        return [call.body_bytes for call in self.edits]

    # Answering.

    def answer(self, request: Request) -> Answer:
        """Carry the request out, after everything that was due before it."""
        with self.lock:
            self._host.settle()
            return self._carry_out(request)

    def own_fault(self, fault: Fault, request: Request) -> Answer | None:
        """See the class."""
        kind = fault.kind
        if kind.startswith("after-error-"):
            self.answer(request)
            return format_json(refuse_code(int(kind[12:]), fault.seconds).body())
        if kind.startswith("error-"):
            return format_json(refuse_code(int(kind[6:]), fault.seconds).body())
        if kind == "late-commit":
            with self.lock:
                self._host.schedule(fault.seconds, lambda: self._carry_out(request))
            return format_page("504 Gateway Timeout", 504)
        if kind == "half-504":
            self.answer(_halve(request))
            return format_page("504 Gateway Timeout", 504)
        if kind == "short-results":
            said = msgspec.json.decode(self.answer(request).body)
            return format_json(
                {name: part[:-1] if name.endswith("Results") else part for name, part in said.items()}
            )
        return None

    def _carry_out(self, request: Request) -> Answer:
        length = len(quote(request.path)) + len(urlencode(request.query))
        if request.method == "GET" and length > self.switches.max_get_length:
            return format_page("413 Request Entity Too Large", 413)
        portal = _PORTAL.fullmatch(request.path)
        service = ADDRESS.fullmatch(request.path)
        if portal is None and service is None and request.path != _INFO:
            return format_page("404 Not Found", 404)
        form = read_form(request)
        path = (portal["rest"] or "").rstrip("/") if portal is not None else ""
        try:
            if path == "/oauth2/authorize":
                return self.sign_in.show_authorize(form)
            if path == "/oauth2/signin" and request.method == "POST":
                return self.sign_in.sign_in(form)
            if form.get("f") not in ("json", "pjson"):
                return format_page(request.path)
            if portal is not None:
                return format_json(self._answer_portal(path, request, form))
            if service is None:
                return format_json(self._describe_info())
            return self._host.check_rate() or self._host.answer(
                service, request, form, lambda: self.sign_in.check_token(request, form)
            )
        except Refusal as refusal:
            return format_json(refusal.body())

    def _answer_portal(self, path: str, request: Request, form: dict[str, str]) -> Any:
        if path == "":
            return {"currentVersion": "2025.2"}
        if path == "/info":
            return self._describe_info()
        if path == "/generateToken":
            if request.method != "POST":
                raise Refusal(405, "Method Not Allowed", "generateToken takes POST.")
            # Credentials in the address would end up in logs: only the body's are read.
            return self.sign_in.generate_token({k: v for k, v in form.items() if k not in request.query})
        if path == "/oauth2/token":
            return self.sign_in.answer_oauth_token(form)
        self.sign_in.check_token(request, form)
        if path == "/portals/self":
            return self.sign_in.describe_self()
        if path in ("/community/self", f"/community/users/{self.username}"):
            return self.sign_in.describe_user()
        item = re.fullmatch(r"/content/items/(\w+)(/data)?", path)
        if item is None:
            raise Refusal(400, "Invalid URL", "Invalid URL")
        service = self.services.get(item[1])
        if service is None:
            raise Refusal(400, "Item does not exist or is inaccessible.", messageCode="CONT_0001")
        if item[2]:
            return {}
        return {
            "id": service.service_id,
            "owner": self.username,
            "title": service.name,
            "name": service.name,
            "type": "Feature Service",
            "typeKeywords": ["ArcGIS Server", "Data", "Feature Access", "Feature Service", "Hosted Service"],
            "url": self.url + service.path,
            "access": "public" if service.public else "private",
        }

    def _describe_info(self) -> dict[str, Any]:
        return {
            "owningSystemUrl": self.url,
            "owningTenant": ORGANIZATION,
            "authInfo": {
                "tokenServicesUrl": f"{self.url}/sharing/rest/generateToken",
                "isTokenBasedSecurity": True,
            },
        }


def _halve(request: Request) -> Request:
    """The same request with the first half of its new features."""
    form = read_form(request)
    for name in ("adds", "features"):
        if form.get(name):
            features = msgspec.json.decode(form[name])
            form[name] = msgspec.json.encode(features[: len(features) // 2]).decode()
    headers = {name: text for name, text in request.headers.items() if name.lower() != "content-type"}
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    return Request(request.method, request.path, {}, headers, urlencode(form).encode())
