"""Destinations that do next to nothing with what they get, so that a publish is measured and not its receiver.

They remember keys, because a publish looks afterwards whether everything has arrived. Sign-in and the
descriptions of dataset and layer are the simulators' own.
"""

from __future__ import annotations

import re

from dev.simulators.agol import AgolSimulator
from dev.simulators.base import Answer, Request
from dev.simulators.socrata import SocrataSimulator

_KEY = re.compile(rb'"id":"([0-9a-f]{24})"')
# A form may escape what it need not.
_KEY_IN_FORM = re.compile(rb'(?:"|%22)id(?:"|%22)(?::|%3A)(?:"|%22)([0-9a-f]{24})')
_AFTER = re.compile(r"OBJECTID > (\d+)")
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class SocrataSink(SocrataSimulator):
    """Takes every row of a dataset and keeps its key."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[bytes] = set()

    def answer(self, request: Request) -> Answer:
        """Rows are counted; keys and their number can be read."""
        if not request.path.startswith("/resource/"):
            return super().answer(request)
        if request.method in ("POST", "PUT"):
            found = _KEY.findall(request.body)
            before = len(self.keys)
            self.keys.update(found)
            created = len(self.keys) - before
            return Answer.json(
                {
                    "Errors": 0,
                    "Rows Created": created,
                    "Rows Updated": len(found) - created,
                    "Rows Deleted": 0,
                }
            )
        fresh = {**_JSON, "X-SODA2-Data-Out-Of-Date": "false"}
        if "count" in request.query.get("$select", ""):
            return Answer(200, b'[{"count":"%d"}]' % len(self.keys), fresh)
        start = int(request.query.get("$offset", 0))
        page = sorted(self.keys)[start : start + int(request.query.get("$limit", 1000))]
        return Answer(200, b"[" + b",".join(b'{"id":"%s"}' % key for key in page) + b"]", fresh)


class AgolSink(AgolSimulator):
    """Takes every feature of a layer and keeps its key; object ids count from 1."""

    page = 2000

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[bytes] = []

    def answer(self, request: Request) -> Answer:
        """Features are counted; keys can be read, page by page."""
        if request.path.endswith("/applyEdits"):
            found = _KEY_IN_FORM.findall(request.body)
            first = len(self.keys) + 1
            self.keys += found
            results = [{"objectId": first + place, "success": True} for place in range(len(found))]
            return Answer.json({"addResults": results})
        if not request.path.endswith("/query"):
            return super().answer(request)
        form = request.form()
        if form.get("returnCountOnly") == "true":
            return Answer.json({"count": len(self.keys)})
        after = _AFTER.search(form.get("where", ""))
        start = int(after[1]) if after else 0
        size = int(form.get("resultRecordCount") or self.page)
        features = [
            {"attributes": {"OBJECTID": start + place, "id": key.decode()}}
            for place, key in enumerate(self.keys[start : start + size], 1)
        ]
        more = start + size < len(self.keys)
        return Answer.json({"features": features, "exceededTransferLimit": more})
