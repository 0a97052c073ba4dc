"""Addresses of projects and forms: lists, details, fields, versions, definitions, drafts."""

from __future__ import annotations

from typing import Any

from dev.simulators.base import Answer
from dev.simulators.odk.calls import Call, answer_json, answer_success, answer_text
from dev.simulators.odk.options import is_true
from dev.simulators.odk.problems import forbidden, not_found
from dev.simulators.odk.store import Form, FormVersion
from dev.simulators.odk.xforms import read_definition


def answer_projects(call: Call) -> Answer:
    """`/v1/projects` and `/v1/projects/1`."""
    central = call.central
    rest = call.segments[2:]
    actor = call.actor
    if not rest:
        if call.method == "POST":
            call.need("project.create")
            return answer_json(central.add_project(call.json()["name"]).to_new_json())
        shown = []
        for project in central.projects.values():
            verbs = actor.verbs(project.id) if actor is not None else []
            if "project.read" in verbs:
                shown.append({**project.to_json(), "verbs": verbs})
        return answer_json(shown)
    project = call.project(rest[0])
    call.need("project.read", project.id)
    if call.method != "GET":
        raise not_found()
    return answer_json(project.to_json())


def answer_forms(call: Call) -> Answer:
    """`/v1/projects/1/forms`: the list, or a new form."""
    project = call.project(call.segments[2])
    if call.method == "POST":
        call.need("form.create", project.id)
        definition = read_definition(call.request.body)
        form = call.central.add_form(project.id, definition, is_true(call.option("publish")), call.actor)
        return answer_json(form.to_json())
    if call.method != "GET":
        raise not_found()
    if call.actor is None:
        raise forbidden()
    everything = call.actor.may("form.list", project.id)
    if not everything and not call.actor.may("open_form.list", project.id):
        raise forbidden()
    shown = [
        form
        for form in project.forms.values()
        if form.deleted_at is None and (everything or (form.state != "closed" and form.current is not None))
    ]
    return answer_json([_show(call, form) for form in sorted(shown, key=lambda form: form.title)])


def _show(call: Call, form: Form) -> dict[str, Any]:
    shown = form.to_json()
    if call.request.header("X-Extended-Metadata").lower() == "true":
        shown.update(form.extended_json())
    return shown


def need_read(call: Call, form: Form) -> None:
    """Raises: Problem 403.1 unless the form may be read: always, or while it is open."""
    if call.actor is None:
        raise forbidden()
    if call.actor.may("form.read", form.project_id):
        return
    if not (call.actor.may("open_form.read", form.project_id) and form.state == "open"):
        raise forbidden()


def answer_form(call: Call) -> Answer:
    """`/v1/projects/1/forms/NAME` and what is directly below it."""
    name, rest = call.segments[4], call.segments[5:]
    if not rest and name.endswith(".xml"):
        form = call.form(call.segments[2], name[:-4])
        need_read(call, form)
        return answer_text(_current(form).definition.xml, "application/xml")
    form = call.form(call.segments[2], name)
    if not rest:
        return _answer_details(call, form)
    if rest[0] == "fields" and len(rest) == 1:
        need_read(call, form)
        return _answer_fields(call, _current(form))
    if rest[0] == "versions":
        need_read(call, form)
        return _answer_versions(call, form, rest[1:])
    if rest[0] == "draft" or rest[0] == "draft.xml":
        return _answer_draft(call, form, rest)
    if rest == ["attachments"]:
        need_read(call, form)
        return answer_json([])
    raise not_found()


def _current(form: Form) -> FormVersion:
    if form.current is None:
        raise not_found()
    return form.current


def _answer_details(call: Call, form: Form) -> Answer:
    if call.method == "GET":
        need_read(call, form)
        shown = _show(call, form)
        return answer_json({**shown, "publishNotes": None} if "submissions" in shown else shown)
    if call.method == "PATCH":
        call.need("form.update", form.project_id)
        form.state = call.json().get("state", form.state)
        form.updated_at = call.central.clock.now()
        return answer_json(form.to_json())
    if call.method == "DELETE":
        call.need("form.delete", form.project_id)
        form.deleted_at = call.central.clock.now()
        return answer_success()
    raise not_found()


def _answer_fields(call: Call, version: FormVersion) -> Answer:
    return answer_json(version.schema.to_json(is_true(call.option("odata"))))


def _answer_versions(call: Call, form: Form, rest: list[str]) -> Answer:
    if not rest:
        return answer_json([form.to_json(version) for version in reversed(form.versions)])
    name = rest[0]
    if len(rest) == 1 and name.endswith(".xml"):
        found = form.find_version(name[:-4])
        if found is not None:
            return answer_text(found.definition.xml, "application/xml")
    # An empty version name is written as three underscores.
    version = form.find_version("" if name == "___" else name)
    if version is None:
        raise not_found()
    if len(rest) == 1:
        return answer_json(form.to_json(version))
    if rest[1:] == ["fields"]:
        return _answer_fields(call, version)
    raise not_found()


def _answer_draft(call: Call, form: Form, rest: list[str]) -> Answer:
    central = call.central
    if rest == ["draft"] and call.method == "POST":
        call.need("form.update", form.project_id)
        if call.request.body:
            definition = read_definition(call.request.body)
        else:
            definition = _current(form).definition
        central.set_draft(form, definition)
        return answer_success()
    if rest == ["draft", "publish"] and call.method == "POST":
        call.need("form.update", form.project_id)
        central.publish_draft(form)
        return answer_success()
    if form.draft is None:
        raise not_found()
    if rest == ["draft"] and call.method == "DELETE":
        call.need("form.update", form.project_id)
        form.draft, form.draft_token = None, None
        return answer_success()
    need_read(call, form)
    if rest == ["draft"]:
        return answer_json(form.to_json(form.draft))
    if rest == ["draft.xml"]:
        return answer_text(form.draft.definition.xml, "application/xml")
    if rest == ["draft", "fields"]:
        return _answer_fields(call, form.draft)
    raise not_found()
