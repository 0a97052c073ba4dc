"""Addresses of people: users, roles in projects, app users."""

from __future__ import annotations

from dev.simulators.base import Answer
from dev.simulators.odk.calls import Call, answer_json, answer_success, read_id
from dev.simulators.odk.people import VERBS
from dev.simulators.odk.problems import missing_parameters, not_found


def answer_users(call: Call) -> Answer:
    """`/v1/users` and `/v1/users/current`."""
    rest = call.segments[2:]
    if rest == ["current"] and call.method == "GET":
        if call.actor is None:
            raise not_found()
        return answer_json(call.actor.to_user_json())
    if rest:
        raise not_found()
    call.need("user.create" if call.method == "POST" else "user.list")
    people = call.central.people
    if call.method == "POST":
        given = call.json()
        email = given.get("email")
        if not email:
            raise missing_parameters(["email"], {"email": email})
        return answer_json(people.add(email, given.get("password") or "").to_user_json())
    users = (actor for actor in people.actors.values() if actor.kind == "user")
    return answer_json([actor.to_user_json() for actor in sorted(users, key=lambda actor: actor.name)])


def answer_assignment(call: Call) -> Answer:
    """`/v1/projects/1/assignments/viewer/6`"""
    project = call.project(call.segments[2])
    call.need("assignment.create", project.id)
    rest = call.segments[4:]
    actor = call.central.people.actors.get(read_id(rest[1])) if len(rest) == 2 else None
    if actor is None or rest[0] not in VERBS or call.method not in ("POST", "DELETE"):
        raise not_found()
    if call.method == "POST":
        actor.roles[project.id] = rest[0]
    else:
        actor.roles.pop(project.id, None)
    return answer_success()


def answer_app_users(call: Call) -> Answer:
    """`/v1/projects/1/app-users`: a new phone, with its lasting token."""
    project = call.project(call.segments[2])
    call.need("field_key.create", project.id)
    if call.method != "POST":
        raise not_found()
    people = call.central.people
    actor = people.add(call.json().get("displayName", ""), kind="field_key")
    actor.roles[project.id] = "app-user"
    return answer_json(actor.to_key_json(project.id, people.open_session(actor, lasting=True)))
