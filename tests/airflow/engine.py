"""Docker's engine, as far as starting one container goes: the image's entry point is this machine's Python.

What a container would see is what the process sees: the variables it was created with, and none of ours.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Box:
    """A container. stream: the connection that asked for its output."""

    created: dict[str, Any]
    stream: Any = None
    attached: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    code: int = -1


class Engine:
    """The engine's HTTP API on a port of this machine: `url`, and what was asked of it: `boxes`, `removed`."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        self.removed: list[str] = []
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                engine.answer(self)

            do_POST = do_DELETE = do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"tcp://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        """Carry out one request."""
        path = re.sub(r"^/v\d+\.\d+", "", urlsplit(asked.path).path)
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        found = re.fullmatch(r"/containers/(box\d+)(?:/(\w+))?", path)
        if path == "/_ping":
            self.say(asked, 200, b"OK", {"Api-Version": "1.45", "Ostype": "linux"})
        elif path == "/version":
            self.say_json(asked, 200, {"ApiVersion": "1.45", "MinAPIVersion": "1.24", "Version": "26.0.0"})
        elif path == "/images/json":
            self.say_json(asked, 200, [{"Id": "sha256:1", "RepoTags": ["record-services:latest"]}])
        elif path == "/containers/create":
            name = f"box{len(self.boxes) + 1}"
            self.boxes[name] = Box(json.loads(body))
            self.say_json(asked, 201, {"Id": name, "Warnings": []})
        elif found and asked.command == "DELETE":
            self.removed.append(found[1])
            self.say(asked, 204, b"")
        elif found and found[2] == "json":
            self.say_json(asked, 200, {"Id": found[1], "Config": {"Tty": False}})
        elif found and found[2] == "attach":
            self.attach(asked, self.boxes[found[1]])
        elif found and found[2] == "start":
            self.say(asked, 204, b"")
            threading.Thread(target=self.run, args=(self.boxes[found[1]],), daemon=True).start()
        elif found and found[2] == "wait":
            box = self.boxes[found[1]]
            # The client that starts a container after it asked for its end wants the headers first.
            asked.send_response(200)
            asked.send_header("Content-Type", "application/json")
            asked.send_header("Connection", "close")
            asked.end_headers()
            asked.wfile.flush()
            box.ended.wait()
            asked.wfile.write(json.dumps({"Error": None, "StatusCode": box.code}).encode())
            asked.close_connection = True
        else:
            self.say_json(asked, 404, {"message": f"no such thing: {asked.command} {path}"})

    def attach(self, asked: BaseHTTPRequestHandler, box: Box) -> None:
        """Turn the connection into the container's output, until it ends."""
        kind = "application/vnd.docker.multiplexed-stream"
        head = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        asked.wfile.write(head.encode())
        asked.wfile.flush()
        box.stream = asked.wfile
        box.attached.set()
        box.ended.wait()
        asked.close_connection = True

    def run(self, box: Box) -> None:
        """Run the container's command here, with its variables alone."""
        given = box.created
        variables = dict(one.split("=", 1) for one in given.get("Env") or [])
        child = subprocess.Popen(
            [sys.executable, *given["Cmd"]],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        box.attached.wait()
        assert child.stdout is not None
        for line in child.stdout:
            box.stream.write(struct.pack(">BxxxL", 1, len(line)) + line)
            box.stream.flush()
        box.code = child.wait()
        box.ended.set()

    def say_json(self, asked: BaseHTTPRequestHandler, status: int, value: Any) -> None:
        """Answer JSON."""
        self.say(asked, status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def say(
        self, asked: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        """Answer."""
        asked.send_response(status)
        for name, value in (headers or {}).items():
            asked.send_header(name, value)
        if status != 204:
            asked.send_header("Content-Length", str(len(body)))
        asked.end_headers()
        if asked.command != "HEAD":
            asked.wfile.write(body)
