"""Addresses of submissions: REST lists, creation, edits, reviews, deletion, attachments."""

from __future__ import annotations

from typing import Any

from dev.simulators.base import Answer
from dev.simulators.odk.audit_calls import list_audits
from dev.simulators.odk.calls import Call, answer_file, answer_json, answer_success, answer_text
from dev.simulators.odk.central import (
    REVIEW_STATES,
    find_deprecated_id,
    submission_json,
    version_json,
)
from dev.simulators.odk.clock import print_moment
from dev.simulators.odk.diffs import list_diffs
from dev.simulators.odk.feed import hash_events
from dev.simulators.odk.files_host import FilesHost
from dev.simulators.odk.instances import Instance, read_instance
from dev.simulators.odk.options import is_true
from dev.simulators.odk.problems import Problem, not_found, unexpected_value
from dev.simulators.odk.rows import encode_component
from dev.simulators.odk.store import File, Form, Submission, SubmissionVersion, make_file
from dev.simulators.odk.switches import Switches


def answer_submissions(
    call: Call, form: Form, rest: list[str], host: FilesHost, switches: Switches
) -> Answer:
    """`.../forms/NAME/submissions` and below. rest: the path's parts behind it."""
    if not rest:
        if call.method == "POST":
            return _create(call, form)
        if call.method == "GET":
            return _list(call, form)
        raise not_found()
    if len(rest) == 1 and call.method == "GET":
        call.need("submission.list", form.project_id)
        if rest[0] == "keys":
            return answer_json([])
        if rest[0] == "submitters":
            return _list_submitters(form)
        if rest[0].endswith(".xml"):
            one = call.central.find_submission(form, rest[0][:-4])
            return answer_text(one.current.instance.to_xml(), "application/xml")
    if rest[1:] == ["restore"] and call.method == "POST":
        call.need("submission.restore", form.project_id)
        call.central.restore(form, rest[0], call.actor)
        return answer_success()
    if call.method == "PUT" and len(rest) == 1:
        return _edit(call, form, rest[0])
    if call.method == "PATCH" and len(rest) == 1:
        return _review(call, form, rest[0])
    if call.method == "DELETE" and len(rest) == 1:
        call.need("submission.delete", form.project_id)
        call.central.delete(form, call.central.find_submission(form, rest[0]), call.actor)
        return answer_success()
    if rest[1:2] == ["attachments"]:
        verb = "submission.read" if call.method == "GET" else "submission.update"
        call.need(verb, form.project_id)
        one = call.central.find_submission(form, rest[0])
        return _answer_attachments(call, form, one, one.current, rest[2:], host, switches)
    call.need("submission.read", form.project_id)
    return _answer_one(call, form, rest, host, switches)


def _list(call: Call, form: Form) -> Answer:
    call.need("submission.list", form.project_id)
    deleted = is_true(call.option("deleted"))
    found = [one for one in form.submissions if (one.deleted_at is not None) is deleted]
    start = int(call.option("offset") or 0)
    limit = call.option("limit")
    page = found[start : start + int(limit)] if limit else found[start:]
    shown = [_show(call, one) for one in page]
    answer = answer_json(shown)
    answer.headers["ETag"] = hash_events(page)
    return answer


def _show(call: Call, one: Submission) -> dict[str, Any]:
    shown = submission_json(one)
    if call.request.header("X-Extended-Metadata").lower() == "true":
        current = shown.pop("currentVersion")
        shown["submitter"] = None if one.submitter is None else one.submitter.to_json()
        submitter = one.current.submitter
        shown["currentVersion"] = {**current, "submitter": None if submitter is None else submitter.to_json()}
    return shown


def _list_submitters(form: Form) -> Answer:
    found = {one.submitter.id: one.submitter for one in form.live() if one.submitter is not None}
    return answer_json([actor.to_json() for actor in sorted(found.values(), key=lambda actor: actor.name)])


def _read(call: Call, form: Form) -> Instance:
    instance = read_instance(call.request.body)
    if instance.form_id != form.form_id:
        raise unexpected_value("form id", instance.form_id, "did not match the form ID in the URL")
    check_version(form, instance)
    return instance


def check_accepts(form: Form) -> None:
    """Raises: Problem 409.2 for a form that takes no submissions."""
    if form.state == "closed":
        raise Problem(
            409.2,
            "This form is not currently accepting submissions. Please talk to your program staff if this is "
            "unexpected.",
        )


def check_version(form: Form, instance: Instance) -> None:
    """Raises: Problem 404.6 where the form has no such version."""
    if form.find_version(instance.version) is None:
        raise Problem(
            404.6,
            f"The form version specified in this submission '{instance.version}' does not exist.",
            {"formVersion": instance.version},
        )


def _create(call: Call, form: Form) -> Answer:
    call.need("submission.create", form.project_id)
    check_accepts(form)
    submission = call.central.submit(
        form,
        _read(call, form),
        submitter=call.actor,
        device_id=call.option("deviceID") or None,
        user_agent=call.request.header("User-Agent") or None,
    )
    return answer_json(submission_json(submission, full=False))


def _edit(call: Call, form: Form, instance_id: str) -> Answer:
    call.need("submission.update", form.project_id)
    submission = call.central.find_submission(form, instance_id)
    instance = _read(call, form)
    deprecated = find_deprecated_id(instance)
    if deprecated is None:
        raise Problem(
            400.19,
            "This PUT endpoint expects a deprecatedID metadata tag pointing at the current version instanceID. "
            "I cannot find that tag in your request.",
        )
    if deprecated != submission.current.instance_id:
        raise Problem(
            409.9,
            f"You tried to update a submission, but the copy you were editing ({deprecated}) is now out of date. "
            "Please get the new version that has been submitted, and make your edits again.",
            {"deprecatedId": deprecated},
        )
    call.central.edit(
        form,
        submission,
        instance,
        submitter=call.actor,
        device_id=call.option("deviceID") or None,
        user_agent=call.request.header("User-Agent") or None,
    )
    return answer_json(submission_json(submission))


def _review(call: Call, form: Form, instance_id: str) -> Answer:
    call.need("submission.update", form.project_id)
    submission = call.central.find_submission(form, instance_id)
    state = call.json().get("reviewState")
    if state is not None and state not in REVIEW_STATES:
        raise unexpected_value("state", str(state), "not a recognized state name")
    call.central.review(form, submission, state, call.actor)
    shown = submission_json(submission)
    del shown["userAgent"], shown["currentVersion"]
    return answer_json(shown)


def _answer_one(call: Call, form: Form, rest: list[str], host: FilesHost, switches: Switches) -> Answer:
    if len(rest) == 1 and call.method == "GET":
        redirect = _find_redirect(call, form, rest[0])
        if redirect is not None:
            return redirect
    one = call.central.find_submission(form, rest[0])
    if len(rest) == 1 and call.method == "GET":
        return answer_json(_show(call, one))
    if rest[1:] == ["audits"] and call.method == "GET":
        return list_audits(call, one.number)
    if rest[1:] == ["diffs"] and call.method == "GET" and form.current is not None:
        return answer_json(list_diffs(one, form.current.schema))
    if rest[1:] == ["comments"]:
        if call.method == "POST":
            comment = {
                "body": call.json().get("body"),
                "actorId": call.actor.id if call.actor else None,
                "createdAt": print_moment(call.central.clock.now()),
            }
            one.comments.insert(0, comment)
            return answer_json(comment)
        return answer_json(one.comments)
    if rest[1:] == ["versions"]:
        return answer_json([version_json(v, v is one.current) for v in reversed(one.versions)])
    if rest[1:2] == ["versions"] and len(rest) > 2:
        version = next((v for v in one.versions if v.instance_id == rest[2]), None)
        if version is None and rest[2].endswith(".xml"):
            version = next((v for v in one.versions if v.instance_id == rest[2][:-4]), None)
            if version is not None:
                return answer_text(version.instance.to_xml(), "application/xml")
        if version is None:
            raise not_found()
        if rest[3:4] == ["attachments"]:
            return _answer_attachments(call, form, one, version, rest[4:], host, switches)
        if len(rest) == 3:
            return answer_json(version_json(version, version is one.current))
    raise not_found()


def _find_redirect(call: Call, form: Form, instance_id: str) -> Answer | None:
    """A later version's id leads to its address under the submission."""
    if instance_id in form.by_id:
        return None
    for one in form.live():
        if any(version.instance_id == instance_id for version in one.versions[1:]):
            root = "/".join(call.raw[:-1])
            place = f"/{root}/{encode_component(one.instance_id)}/versions/{call.raw[-1]}"
            answer = answer_text(f"Moved Permanently. Redirecting to {place}", "text/plain", 301)
            answer.headers["Location"] = place
            return answer
    return None


def _answer_attachments(
    call: Call,
    form: Form,
    one: Submission,
    version: SubmissionVersion,
    rest: list[str],
    host: FilesHost,
    switches: Switches,
) -> Answer:
    if not rest and call.method == "GET":
        return answer_json([{"name": name, "exists": f is not None} for name, f in version.files.items()])
    if len(rest) != 1:
        raise not_found()
    name = rest[0]
    if call.method == "GET":
        file = version.files.get(name)
        if file is None:
            raise not_found()
        return _send_file(call, name, file, host, switches)
    if name not in version.files or version is not one.current:
        raise not_found()
    if call.method == "POST":
        file = make_file(call.request.body, call.request.header("Content-Type"))
        call.central.put_file(form, one, name, file, call.actor)
        return answer_success()
    if call.method == "DELETE":
        call.central.put_file(form, one, name, None, call.actor)
        return answer_success()
    raise not_found()


def _send_file(call: Call, name: str, file: File, host: FilesHost, switches: Switches) -> Answer:
    if not switches.s3:
        return answer_file(name, file, call.request.header("If-None-Match"))
    link = host.sign(name, file, switches.s3_seconds)
    answer = answer_text(f"Temporary Redirect. Redirecting to {link}", "text/plain", 307)
    answer.headers["Location"] = link
    return answer
