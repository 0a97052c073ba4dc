"""Who may come in, and how often: logins, app tokens, throttling, permission."""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections import deque

from dev.simulators.base import Request
from dev.simulators.socrata.bodies import Refusal
from dev.simulators.socrata.dataset import Dataset
from dev.simulators.socrata.switches import Switches


class Gate:
    """Checks every request before it is looked at."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._lock = threading.Lock()
        self._recent: dict[bool, deque[float]] = {True: deque(), False: deque()}

    def sign_in(self, request: Request) -> str:
        """The user of a request, "" for nobody. Raises: Refusal (401, 403, 429)."""
        token = request.header("X-App-Token") or request.query.get("$$app_token", "")
        if token and token not in self._switches.app_tokens:
            raise Refusal("Invalid app_token specified", "permission_denied", 403)
        self._throttle(bool(token))
        header = request.header("Authorization")
        if not header:
            return ""
        scheme, _, encoded = header.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        if scheme.lower() != "basic" or not user or self._switches.logins.get(user) != password:
            raise Refusal("Invalid username or password", "authentication_required", 401)
        return user

    def check_reader(self, dataset: Dataset, user: str) -> None:
        """Raises: Refusal where the dataset is private and nobody is signed in."""
        if dataset.private and not user:
            raise _not_signed_in()

    def check_writer(self, dataset: Dataset, user: str) -> None:
        """Raises: Refusal where this user may not write to this dataset."""
        if not user:
            raise _not_signed_in()
        if user in self._switches.viewers:
            raise Refusal("You do not have permission to update this dataset", "permission_denied", 403)
        if dataset.synced:
            raise Refusal("Cannot update a synced dataset manually", "permission_denied", 403)

    def _throttle(self, has_token: bool) -> None:
        limit = self._switches.requests_per_s
        if not has_token and self._switches.requests_per_s_without_token is not None:
            limit = self._switches.requests_per_s_without_token
        if limit is None:
            return
        with self._lock:
            now = time.monotonic()
            recent = self._recent[has_token]
            while recent and recent[0] <= now - 1:
                recent.popleft()
            if len(recent) >= limit:
                raise Refusal("Throttled: too many requests", "too_many_requests", 429)
            recent.append(now)


def _not_signed_in() -> Refusal:
    return Refusal("You must be logged in to access this resource", "authentication_required", 403)
