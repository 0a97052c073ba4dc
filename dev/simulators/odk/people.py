"""Who may do what: users, roles, sessions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dev.simulators.odk.clock import Clock, print_moment

ADMIN = ("admin@example.org", "admin-password")
VIEWER = ("viewer@example.org", "viewer-password")
COLLECTOR = ("collector@example.org", "collector-password")
NOBODY = ("nobody@example.org", "nobody-password")

# The rights of each role in a project, as `GET /v1/projects` lists them.
_VERBS = {
    "admin": (
        "actor_property.list actor_property.update analytics.read assignment.create assignment.delete "
        "assignment.list audit.read backup.run config.read config.set dataset.create dataset.delete dataset.list "
        "dataset.read dataset.update entity.create entity.delete entity.list entity.read entity.restore "
        "entity.update field_key.create field_key.delete field_key.list field_key.update form.create form.delete "
        "form.list form.read form.restore form.update project.create project.delete project.read project.update "
        "public_link.create public_link.delete public_link.list public_link.read public_link.update role.create "
        "role.delete role.update session.end submission.create submission.delete submission.list submission.read "
        "submission.restore submission.update user.create user.delete user.list user.password.invalidate "
        "user.read user.update"
    ),
    "viewer": "actor_property.list dataset.list dataset.read entity.list entity.read form.list form.read project.read "
    "submission.list submission.read",
    "formfill": "open_form.list open_form.read project.read submission.create",
    "app-user": "open_form.read submission.create",
}

VERBS = {role: verbs.split() for role, verbs in _VERBS.items()}


@dataclass
class Actor:
    """A user, or an app user (a phone), which has no e-mail."""

    id: int
    name: str
    created_at: datetime
    password: str = ""
    kind: str = "user"
    site_admin: bool = False
    # {project id: role}
    roles: dict[int, str] = field(default_factory=dict)
    last_login_at: datetime | None = None

    def may(self, verb: str, project_id: int | None = None) -> bool:
        """Whether this right is given, in a project or (None) on the whole site."""
        if self.site_admin:
            return True
        return project_id is not None and verb in VERBS.get(self.roles.get(project_id, ""), ())

    def verbs(self, project_id: int) -> list[str]:
        """All rights in a project, sorted."""
        return VERBS["admin"] if self.site_admin else VERBS.get(self.roles.get(project_id, ""), [])

    def to_json(self) -> dict[str, Any]:
        """As Central shows an actor."""
        return {
            "id": self.id,
            "type": self.kind,
            "displayName": self.name,
            "createdAt": print_moment(self.created_at),
            "updatedAt": None,
            "deletedAt": None,
        }

    def to_user_json(self) -> dict[str, Any]:
        """As Central shows a user."""
        return {"email": self.name, "lastLoginAt": print_moment(self.last_login_at), **self.to_json()}

    def to_key_json(self, project_id: int, session: Session) -> dict[str, Any]:
        """As Central shows an app user with its token."""
        return {
            "projectId": project_id,
            **self.to_json(),
            "token": session.token,
            "csrf": session.csrf,
            "expiresAt": print_moment(session.expires_at),
        }


@dataclass(frozen=True)
class Session:
    """A sign-in."""

    actor: Actor
    token: str
    csrf: str
    created_at: datetime
    expires_at: datetime


class People:
    """All actors and sessions."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.actors: dict[int, Actor] = {}
        self.sessions: dict[str, Session] = {}
        self.session_seconds = 24 * 3600.0
        # A fresh server has actors of its own before the first user.
        self._next_id = 5

    def add(self, name: str, password: str = "", kind: str = "user", site_admin: bool = False) -> Actor:
        """A new actor."""
        actor = Actor(self._next_id, name, self.clock.now(), password, kind, site_admin)
        self._next_id += 1
        self.actors[actor.id] = actor
        return actor

    def keep_only(self, actor: Actor) -> None:
        """Forget everybody else; the next one gets the number after theirs."""
        self.actors = {actor.id: actor}
        self._next_id = actor.id + 1

    def find(self, email: str) -> Actor | None:
        """A user by e-mail, whatever its case."""
        return next(
            (a for a in self.actors.values() if a.kind == "user" and a.name.lower() == email.lower()), None
        )

    def check(self, email: str, password: str) -> Actor | None:
        """The user whose e-mail and password these are."""
        actor = self.find(email)
        return actor if actor is not None and actor.password == password else None

    def open_session(self, actor: Actor, lasting: bool = False) -> Session:
        """A new session; lasting: an app user's, which does not end."""
        now = self.clock.now()
        ends = now.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59, microsecond=0)
        session = Session(
            actor,
            secrets.token_urlsafe(48),
            secrets.token_urlsafe(48),
            now,
            ends if lasting else now + timedelta(seconds=self.session_seconds),
        )
        self.sessions[session.token] = session
        if not lasting:
            actor.last_login_at = now
        return session

    def find_session(self, token: str) -> Session | None:
        """The session of a token, None where there is none or it has ended."""
        session = self.sessions.get(token)
        return session if session is not None and session.expires_at > self.clock.now() else None

    def end_sessions(self) -> None:
        """End all sessions of users: every token is refused from now on."""
        self.sessions = {
            token: session for token, session in self.sessions.items() if session.actor.kind != "user"
        }
