"""Knack as a shelf of finished pages: what a load reads costs the reader, not the server.

Pages are rendered once, into files. Answering one is reading a file and writing it to a socket: 3 ms for 7 MB.
Filters are answered as if nothing had changed; a single record that is asked for is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from dev.simulators.base import Answer, Request, Simulator

ROWS = 1000
_RECORDS = re.compile(r"/v1/objects/[^/]+/records(/[0-9a-f]{24})?")
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class PageServer(Simulator):
    """Pages of ROWS records of one object, under `folder`."""

    def __init__(self, metadata: dict[str, Any], records: Iterable[bytes], folder: Path) -> None:
        super().__init__()
        self.app_id: str = metadata["application"]["id"]
        self.api_key = "knack-api-key"
        self._metadata = json.dumps(metadata).encode()
        self._folder = folder
        self.records = 0
        self.pages = 0
        page: list[bytes] = []
        for record in records:
            page.append(record)
            if len(page) == ROWS:
                self._write(page)
                page = []
        if page:
            self._write(page)

    def _write(self, page: list[bytes]) -> None:
        self.pages += 1
        self._path(self.pages).write_bytes(b",".join(page))
        self.records += len(page)

    def _path(self, number: int) -> Path:
        return self._folder / f"page-{number}"

    def edit(self, every: int, fewer: int) -> None:
        """Change all records of every tenth page, say, by a byte, and take the last few records away."""
        for number in range(every, self.pages + 1, every):
            # A space more at the end of each record.
            self._rewrite(number, [record[:-1] + b" }" for record in self._split(number)])
        self._rewrite(self.pages, self._split(self.pages)[:-fewer])
        self.records -= fewer

    def _split(self, number: int) -> list[bytes]:
        body = b"[" + self._path(number).read_bytes() + b"]"
        return [bytes(record) for record in msgspec.json.decode(body, type=list[msgspec.Raw])]

    def _rewrite(self, number: int, records: list[bytes]) -> None:
        self._path(number).write_bytes(b",".join(records))

    def answer(self, request: Request) -> Answer:
        """A page from its file."""
        if request.path.startswith("/v1/applications/"):
            return Answer(200, self._metadata, dict(_JSON))
        found = _RECORDS.fullmatch(request.path)
        if found is None or found[1]:
            return Answer.text("Record not found", 404)
        if "filters" in request.query:
            return Answer(200, self._frame(b"", 1, 0), dict(_JSON))
        number = int(request.query.get("page", "1"))
        if request.query.get("rows_per_page") != str(ROWS):
            return Answer.text(f"pages here have {ROWS} rows", 400)
        body = self._path(number).read_bytes() if number <= self.pages else b""
        return Answer(200, self._frame(body, number, self.records), dict(_JSON))

    def _frame(self, body: bytes, number: int, total: int) -> bytes:
        pages = max(1, -(-total // ROWS))
        totals = b'"total_pages":%d,"current_page":%d,"total_records":%d' % (pages, number, total)
        return b"".join((b"{", totals, b',"records":[', body, b"]}"))
