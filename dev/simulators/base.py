"""What every simulator shares: an HTTP server on 127.0.0.1 in a thread, a request log, faults to order.

    with KnackSimulator(seed=1) as knack:
        knack.faults.add("503", path=r"/records", times=2)
        ... requests to knack.url ...
        assert knack.requests[-1].status == 200

Run on its own (`python -m dev.simulators`) a simulator also answers under `/_sim/`: see `__main__.py`.
"""

from __future__ import annotations

import abc
import contextlib
import json
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Request:
    """A request as the simulator got it. `query` keeps the last value of a repeated name; `target` is what came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    target: str = ""

    def header(self, name: str) -> str:
        """A header's value, whatever the case of its name; "" where it is absent."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), "")

    def form(self) -> dict[str, str]:
        """Fields of an url-encoded body, laid over those of the query."""
        return {**self.query, **dict(parse_qsl(self.body.decode(), keep_blank_values=True))}

    def json(self) -> Any:
        """The body as JSON; raises ValueError where it is none."""
        return json.loads(self.body)


@dataclass
class Answer:
    """What the simulator says: a status, headers and body bytes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> Answer:
        """An answer of JSON; header names are given with underscores for dashes."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(
            status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8", **named}
        )

    @classmethod
    def text(
        cls, text: str, status: int = 200, kind: str = "text/html; charset=utf-8", **headers: str
    ) -> Answer:
        """An answer of plain words, labelled as HTML unless told otherwise."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, text.encode(), {"Content-Type": kind, **named})


@dataclass
class Fault:
    """One order of trouble. Kinds:

    "<status>"       answer with this status instead of carrying the request out ("503", "429", "504")
    "after-<status>" carry it out, then answer with this status ("after-504": done, but told otherwise)
    "reset"          close the connection without carrying it out
    "after-reset"    carry it out, then close the connection
    "cut"            carry it out, answer with half of the body
    "silence"        carry it out, send half of the body, nothing for `seconds`, then close
    "html"           answer 200 with an HTML page, without carrying it out
    "after-html"     carry it out, answer 200 with an HTML page
    "slow"           wait `seconds` first, then answer as usual
    "hang"           carry it out, answer nothing for `seconds`, then close
    anything else    the simulator's own (`own_fault`)
    """

    kind: str
    method: str = ""
    path: str = ""
    body: str = ""
    after: int = 0
    times: int | None = 1
    share: float = 1.0
    seconds: float = 1.0
    headers: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    fired: int = 0


class Faults:
    """The faults on order, drawn from a seed so that a run can be repeated."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self._orders: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: str, **order: Any) -> Fault:
        """Order a fault.

        method, path, body: regular expressions that the request must match ("" matches all).
        after: how many matching requests pass first. times: how many it hits (None: all).
        share: 0 to 1, the part of matching requests that it hits.
        """
        fault = Fault(kind, **order)
        with self._lock:
            self._orders.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._orders.clear()

    def draw(self, request: Request) -> Fault | None:
        """The fault that hits this request, or None."""
        with self._lock:
            for fault in self._orders:
                if fault.times is not None and fault.fired >= fault.times:
                    continue
                if fault.method and not re.fullmatch(fault.method, request.method):
                    continue
                if fault.path and not re.search(fault.path, request.path):
                    continue
                if fault.body and not re.search(fault.body.encode(), request.body):
                    continue
                fault.seen += 1
                if fault.seen <= fault.after or self.random.random() >= fault.share:
                    continue
                fault.fired += 1
                return fault
        return None


@dataclass(frozen=True)
class Seen:
    """One line of the request log. status 0: the connection was closed without an answer."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    request_bytes: int
    answer_bytes: int
    fault: str


class Simulator(abc.ABC):
    """A server for one outside system. Subclasses give `answer`; state is theirs, under `self.lock`.

    tls: a server's context makes `url` https; plain HTTP is answered on the same port all the same.
    """

    def __init__(self, seed: int = 0, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.seed = seed
        self.faults = Faults(seed)
        self.requests: list[Seen] = []
        self.lock = threading.RLock()
        self._count_under_way = 0
        self._idle = threading.Condition()
        # Called with each request before it is answered: tests kill a process or count rows here.
        # What it raises closes the connection with nothing carried out.
        self.on_request: Callable[[Request], None] | None = None
        # Called with each request after it was carried out (or refused), before the answer is sent.
        self.on_answer: Callable[[Request], None] | None = None
        self._server = _Server(("127.0.0.1", port), _handler_of(self))
        self._server.tls = tls
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve in a thread, until `stop`."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; requests under way are dropped."""
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a request as under way for as long as the block lasts."""
        with self._idle:
            self._count_under_way += 1
        try:
            yield
        finally:
            with self._idle:
                self._count_under_way -= 1
                self._idle.notify_all()

    def wait_until_idle(self, deadline_s: float = 30.0) -> None:
        """Wait until no request is under way any more, also of clients that have gone.

        Raises: TimeoutError.
        """
        with self._idle:
            if not self._idle.wait_for(lambda: self._count_under_way == 0, deadline_s):
                raise TimeoutError(
                    f"{self._count_under_way} requests are still under way after {deadline_s:.0f} s"
                )

    @abc.abstractmethod
    def answer(self, request: Request) -> Answer:
        """Carry the request out and say what the real system would say."""

    def own_fault(self, fault: Fault, request: Request) -> Answer | None:
        """A fault of a kind that only this system knows; None if it is not known either."""
        return None

    def count(self, method: str = "", path: str = "") -> int:
        """How many logged requests match the regular expressions."""
        return sum(
            1
            for seen in list(self.requests)
            if (not method or re.fullmatch(method, seen.method)) and (not path or re.search(path, seen.path))
        )

    def handle(self, request: Request) -> tuple[Answer | None, Fault | None, int | None]:
        """Answer with the fault that is due, if any.

        Returns: (answer, fault, bytes to send): no answer closes the connection, fewer bytes than the
        body has cut it.
        """
        if self.on_request is not None:
            self.on_request(request)
        fault = self.faults.draw(request)
        if fault is None:
            return self.answer(request), None, None
        kind = fault.kind
        if kind == "slow":
            time.sleep(fault.seconds)
            return self.answer(request), fault, None
        if kind == "reset":
            return None, fault, None
        if kind == "html":
            return Answer.text(_HTML), fault, None
        if kind.isdigit():
            return self._status_answer(int(kind), fault), fault, None
        own = self.own_fault(fault, request)
        if own is not None:
            return own, fault, None
        answer = self.answer(request)
        if kind in ("cut", "silence"):
            return answer, fault, len(answer.body) // 2
        if kind == "hang":
            time.sleep(fault.seconds)
            return None, fault, None
        if kind == "after-reset":
            return None, fault, None
        if kind == "after-html":
            return Answer.text(_HTML), fault, None
        if kind.startswith("after-") and kind[6:].isdigit():
            return self._status_answer(int(kind[6:]), fault), fault, None
        raise ValueError(f"unknown fault {kind!r}")

    def _status_answer(self, status: int, fault: Fault) -> Answer:
        text = "Rate limit exceeded" if status == 429 else _HTML
        return Answer.text(text, status, **fault.headers)


_HTML = "<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>"


_TLS_HANDSHAKE = b"\x16"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in its own thread; a TLS client is known by its first byte."""
        if self.tls is None or request.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE:
            super().finish_request(request, client_address)
            return
        wrapped = self.tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(wrapped, client_address)
        finally:
            self.shutdown_request(wrapped)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to report."""


def _handler_of(simulator: Simulator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def log_message(self, format: str, *args: Any) -> None:
            """The request log is `simulator.requests`."""

        def handle_expect_100(self) -> bool:
            """Say at once that the body may come: what is buffered is not said."""
            go_on = super().handle_expect_100()
            self.wfile.flush()
            return go_on

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = self._read_chunks()
            else:
                body = self.rfile.read(length) if length else b""
            request = Request(
                self.command,
                unquote(parts.path),
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                dict(self.headers.items()),
                body,
                self.path,
            )
            with simulator.under_way():
                answer, fault, sent = simulator.handle(request)
                if simulator.on_answer is not None:
                    simulator.on_answer(request)
            simulator.requests.append(
                Seen(
                    request.method,
                    request.path,
                    request.query,
                    answer.status if answer is not None else 0,
                    len(body),
                    len(answer.body) if answer is not None else 0,
                    fault.kind if fault is not None else "",
                )
            )
            if answer is None:
                self._hang_up()
                return
            if "Date" in answer.headers:
                # A simulator with a clock of its own.
                self.send_response_only(answer.status)
            else:
                self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            chunked = answer.headers.get("Transfer-Encoding") == "chunked"
            if not chunked:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                part = answer.body if sent is None else answer.body[:sent]
                if chunked:
                    self._write_chunks(part, whole=sent is None)
                else:
                    self.wfile.write(part)
            self.wfile.flush()
            if fault is not None and fault.kind == "silence":
                time.sleep(fault.seconds)
            if sent is not None:
                self._hang_up()

        def _write_chunks(self, body: bytes, whole: bool) -> None:
            for start in range(0, len(body), 65536):
                piece = body[start : start + 65536]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if whole:
                self.wfile.write(b"0\r\n\r\n")

        def _read_chunks(self) -> bytes:
            body = b""
            while True:
                size = int(self.rfile.readline().strip() or b"0", 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return body

        def _hang_up(self) -> None:
            self.close_connection = True
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve

    return Handler
