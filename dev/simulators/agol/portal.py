"""Signing in: tokens, the pages of the browser's way, lock-out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dev.simulators.agol.refusals import Refusal
from dev.simulators.agol.switches import Switches
from dev.simulators.base import Answer, Request

LOCKED = "Too many invalid attempts. Please try again later."


@dataclass
class _Token:
    ends: float
    referer: str


class SignIn:
    """One account, its tokens and its refused attempts."""

    def __init__(self, username: str, password: str, switches: Switches) -> None:
        self.username = username
        self.password = password
        self.client_id = "simulator-client"
        self.client_secret = "simulator-client-secret"
        self.switches = switches
        self.refused = 0
        self.issued = 0
        self._tokens: dict[str, _Token] = {}
        self._states: dict[str, tuple[str, str]] = {}

    def expire_tokens(self) -> None:
        """End every token now."""
        self._tokens.clear()

    def unlock(self) -> None:
        """Forget the refused attempts."""
        self.refused = 0

    def generate_token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """`generateToken`; raises Refusal."""
        if not form.get("referer") or form.get("client", "referer") != "referer":
            raise Refusal(400, "Unable to generate token.", "'referer' parameter must be specified.")
        try:
            minutes = int(form.get("expiration") or 60)
        except ValueError as error:
            raise Refusal(400, "Unable to generate token.", "Invalid expiration.") from error
        if not form.get("username") or not form.get("password"):
            raise Refusal(400, "Unable to generate token.", "username and password must be specified.")
        problem = self._check_password(form)
        if problem:
            raise Refusal(400, "Unable to generate token.", problem)
        token, life_s = self._issue(minutes, form["referer"])
        return {"token": token, "expires": round((time.time() + life_s) * 1000), "ssl": True}

    def answer_oauth_token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """`oauth2/token` for an application's own credentials; raises Refusal."""
        if form.get("grant_type") != "client_credentials":
            raise Refusal(400, "Unsupported grant_type", error="unsupported_grant_type")
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            raise Refusal(400, "Invalid client_id or client_secret", error="invalid_client_id")
        try:
            minutes = int(form.get("expiration") or 120)
        except ValueError as error:
            raise Refusal(400, "Invalid expiration", error="invalid_request") from error
        token, life_s = self._issue(minutes, "")
        return {"access_token": token, "expires_in": round(life_s)}

    def show_authorize(self, form: Mapping[str, str]) -> Answer:
        """The sign-in page; its script holds the state that `sign_in` wants back."""
        state = secrets.token_urlsafe(16)
        self._states[state] = (form.get("redirect_uri", ""), form.get("state", ""))
        return _show_page({"oauth_state": state})

    def sign_in(self, form: Mapping[str, str]) -> Answer:
        """The sign-in page's form: 302 with the token in the fragment, or the page again with a message."""
        known = self._states.get(form.get("oauth_state", ""))
        if known is None:
            return _show_page({"messages": ["Invalid oauth_state"]})
        problem = self._check_password(form)
        if problem:
            return _show_page({"oauth_state": form["oauth_state"], "messages": [problem]})
        redirect, state = known
        token, life_s = self._issue(int(form.get("expiration") or 120), "")
        location = (
            f"{redirect}#access_token={token}&expires_in={round(life_s)}&username={quote(self.username)}"
            f"&ssl=true&state={quote(state)}"
        )
        return Answer(302, b"", {"Location": location, "Content-Type": "text/html; charset=utf-8"})

    def check_token(self, request: Request, form: Mapping[str, str]) -> None:
        """Raises Refusal 499 without a token, 498 with one that is not good any more."""
        token = form.get("token", "") or request.header("X-Esri-Authorization").removeprefix("Bearer ")
        if not token:
            raise Refusal(499, "Token Required", "Token Required")
        known = self._tokens.get(token)
        bound = self.switches.check_referer and known is not None and known.referer
        if (
            known is None
            or known.ends <= time.monotonic()
            or (bound and request.header("Referer") != known.referer)
        ):
            raise Refusal(498, "Invalid token.", "Invalid token.")

    def describe_self(self) -> dict[str, Any]:
        """`portals/self`."""
        return {
            "id": "simorg",
            "name": "Simulated organization",
            "portalName": "ArcGIS Online",
            "portalMode": "multitenant",
            "isPortal": False,
            "user": self.describe_user(),
        }

    def describe_user(self) -> dict[str, Any]:
        """`community/users/<name>`."""
        return {
            "username": self.username,
            "fullName": "Simulated Publisher",
            "role": "org_publisher",
            "roleId": "org_publisher",
            "privileges": ["features:user:edit", "portal:publisher:publishFeatures"],
        }

    def _check_password(self, form: Mapping[str, str]) -> str:
        """ "" or why the sign-in is refused."""
        if self.refused >= self.switches.lock_after:
            return LOCKED
        if (form.get("username"), form.get("password")) == (self.username, self.password):
            self.refused = 0
            return ""
        self.refused += 1
        return "Invalid username or password."

    def _issue(self, minutes: int, referer: str) -> tuple[str, float]:
        life_s = self.switches.token_seconds
        if life_s is None:
            life_s = max(1, min(minutes, self.switches.max_token_minutes)) * 60.0
        token = secrets.token_urlsafe(32)
        self._tokens[token] = _Token(time.monotonic() + life_s, referer)
        self.issued += 1
        return token, life_s


def _show_page(info: dict[str, Any]) -> Answer:
    text = json.dumps(info, separators=(",", ":"))
    return Answer.text(
        f"<!DOCTYPE html>\n<html><head><title>Sign In</title>\n<script>\nvar oAuthInfo = {text};\n"
        "</script></head>\n<body>Sign In</body></html>"
    )
