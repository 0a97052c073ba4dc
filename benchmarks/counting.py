"""A proxy that passes requests on to a server without a log of its own, and counts them."""

from __future__ import annotations

import requests

from dev.simulators.base import Answer, Request, Simulator

_HOP = {"connection", "content-length", "host", "transfer-encoding", "content-encoding", "accept-encoding"}


class CountingProxy(Simulator):
    """Stands before `target`; `requests` is the log."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self._target = target
        self._session = requests.Session()

    def answer(self, request: Request) -> Answer:
        """What the target says."""
        said = self._session.request(
            request.method,
            self._target + request.path,
            params=request.query,
            data=request.body,
            headers={name: text for name, text in request.headers.items() if name.lower() not in _HOP},
            timeout=300,
        )
        kept = {name: text for name, text in said.headers.items() if name.lower() not in _HOP}
        return Answer(said.status_code, said.content, kept)
