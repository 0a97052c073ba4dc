"""Who is asking: bearer tokens, Basic, cookies, app users' keys; and the addresses of sessions."""

from __future__ import annotations

import base64
from urllib.parse import unquote

from dev.simulators.base import Answer, Request
from dev.simulators.odk.calls import Call, answer_json, answer_success
from dev.simulators.odk.clock import print_moment
from dev.simulators.odk.people import Actor, People
from dev.simulators.odk.problems import (
    forbidden,
    https_only,
    missing_parameters,
    not_found,
    not_signed_in,
)


def find_actor(request: Request, people: People, secure: bool) -> Actor | None:
    """Who asks; None where nobody signed in. secure: the request came over https.

    Raises: Problem 401.2 for what is not good, 401.3 for what needs https.
    """
    header = request.header("Authorization")
    if header.startswith("Bearer "):
        session = people.find_session(header[7:])
        if session is None:
            raise not_signed_in()
        return session.actor
    if header.startswith("Basic "):
        if not secure:
            raise https_only()
        try:
            email, _, password = base64.b64decode(header[6:]).decode().partition(":")
        except ValueError:
            raise not_signed_in() from None
        actor = people.check(email, password)
        if actor is None:
            raise not_signed_in()
        return actor
    if header:
        raise not_signed_in()
    token = read_cookie(request)
    if token is not None and request.method in ("GET", "HEAD"):
        if not secure:
            raise https_only()
        session = people.find_session(token)
        return None if session is None else session.actor
    return None


def read_cookie(request: Request) -> str | None:
    """The session token in the cookies."""
    for part in request.header("Cookie").split(";"):
        name, _, value = part.strip().partition("=")
        if name in ("session", "__Host-session"):
            return unquote(value)
    return None


def answer_sessions(call: Call) -> Answer:
    """`/v1/sessions` and below."""
    people = call.central.people
    rest = call.segments[2:]
    if not rest and call.method == "POST":
        given = call.json()
        email, password = given.get("email"), given.get("password")
        if not email or not password:
            raise missing_parameters(["email", "password"], {"email": email, "password": password})
        actor = people.check(str(email), str(password))
        if actor is None:
            raise not_signed_in()
        session = people.open_session(actor)
        answer = answer_json(
            {
                "token": session.token,
                "csrf": session.csrf,
                "expiresAt": print_moment(session.expires_at),
                "createdAt": print_moment(session.created_at),
            }
        )
        answer.headers["Set-Cookie"] = f"session={session.token}; HttpOnly; Path=/; SameSite=Strict"
        return answer
    if rest == ["restore"] and call.method == "GET":
        session_found = people.find_session(_own_token(call) or "")
        if session_found is None:
            raise not_found()
        return answer_json(
            {
                "createdAt": print_moment(session_found.created_at),
                "expiresAt": print_moment(session_found.expires_at),
            }
        )
    if len(rest) == 1 and call.method == "DELETE":
        token = _own_token(call) if rest[0] == "current" else rest[0]
        ended = people.sessions.get(token or "")
        if ended is None or call.actor is None:
            raise forbidden()
        if call.actor is not ended.actor and not call.actor.site_admin:
            raise forbidden()
        del people.sessions[ended.token]
        return answer_success()
    raise not_found()


def _own_token(call: Call) -> str | None:
    header = call.request.header("Authorization")
    return header[7:] if header.startswith("Bearer ") else read_cookie(call.request)
