"""The wire between the scripts and a real PostgREST: it counts, cuts, delays and loses what passes.

    with PostgrestWire(stack.url) as wire:
        wire.faults.add("after-reset", method="POST", path="/knack")
        ... requests to wire.url, carried out by the real PostgREST ...

Faults of its own, beside those of the base:

    "no-database"   503 with PostgREST's own body: it has lost the database
    "pool-timeout"  504 with PostgREST's own body: no connection came free
    "deadlock"      500 with PostgREST's own body: rolled back by the database (40P01)
    "after-no-database", "after-pool-timeout"
                    the same answers to a request that was carried out all the same
    "late"          the connection is lost at once, the request is carried out `seconds` later
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from urllib.parse import urlsplit

from dev.simulators.base import Answer, Fault, Request, Simulator

_ERRORS = {
    "no-database": (503, "PGRST001", "Database client error. Retrying the connection."),
    "pool-timeout": (504, "PGRST003", "Timed out acquiring connection from connection pool."),
    "deadlock": (500, "40P01", "deadlock detected"),
}
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "server", "host"})
_LIMIT = re.compile(r"(?<=[?&]limit=)\d+")


class PostgrestWire(Simulator):
    """Passes requests on to a PostgREST and its answers back.

    max_rows: as PostgREST's own db-max-rows: no select gives more, whatever limit it asks for. None: no limit.
    """

    def __init__(self, url: str, seed: int = 0, port: int = 0, *, max_rows: int | None = None) -> None:
        super().__init__(seed, port)
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self.max_rows = max_rows
        self._own = threading.local()

    def answer(self, request: Request) -> Answer:
        """What the real PostgREST says."""
        headers = {name: text for name, text in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        target = request.target
        if self.max_rows is not None and request.method == "GET":
            target = _LIMIT.sub(lambda found: str(min(int(found[0]), self.max_rows or 0)), target)
        for last in (False, True):
            kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
            connection = kept or http.client.HTTPConnection(self._host, self._port, timeout=60)
            self._own.connection = connection
            try:
                connection.request(request.method, target, request.body or None, headers)
                said = connection.getresponse()
                body = said.read()
                break
            except (http.client.HTTPException, OSError):
                connection.close()
                self._own.connection = None
                # An idle connection may have been closed by the other side; a new one that fails is news.
                if kept is None or last:
                    return Answer.text("", 502)
        kept_headers = {name: text for name, text in said.getheaders() if name.lower() not in _HOP_BY_HOP}
        return Answer(said.status, body, kept_headers)

    def own_fault(self, fault: Fault, request: Request) -> Answer | None:
        """The faults named in the module's docstring."""
        if fault.kind == "late":
            counted = threading.Event()
            threading.Thread(
                target=self._carry_out_late, args=(request, fault.seconds, counted), daemon=True
            ).start()
            counted.wait()
            raise ConnectionAbortedError("lost on order")
        kind = fault.kind.removeprefix("after-")
        if kind not in _ERRORS:
            return None
        if kind != fault.kind:
            self.answer(request)
        status, code, message = _ERRORS[kind]
        return Answer.json({"code": code, "message": message, "details": None, "hint": None}, status)

    def _carry_out_late(self, request: Request, seconds: float, counted: threading.Event) -> None:
        with self.under_way():
            counted.set()
            time.sleep(seconds)
            self.answer(request)
