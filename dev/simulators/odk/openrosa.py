"""What phones use: OpenRosa submissions, an XML and its files in one or several requests."""

from __future__ import annotations

from email import policy
from email.parser import BytesParser

from dev.simulators.base import Answer
from dev.simulators.odk.calls import Call
from dev.simulators.odk.instances import read_instance
from dev.simulators.odk.problems import Problem, not_found, openrosa_answer
from dev.simulators.odk.store import File, make_file
from dev.simulators.odk.submission_calls import check_accepts, check_version

_HEADERS = {
    "Content-Language": "en",
    "X-OpenRosa-Version": "1.0",
    "X-OpenRosa-Accept-Content-Length": "100000000",
}


def answer_submission(call: Call) -> Answer:
    """`/v1/projects/1/submission`"""
    if call.request.header("X-OpenRosa-Version") != "1.0":
        raise Problem(
            400.6, "An expected header field (X-OpenRosa-Version) did not match the expected format."
        )
    if call.request.method == "HEAD":
        return Answer(204, b"", dict(_HEADERS))
    if call.method != "POST":
        raise not_found()
    try:
        answer = _take(call)
    except Problem as problem:
        answer = problem.to_openrosa()
    answer.headers.update(_HEADERS)
    return answer


def _take(call: Call) -> Answer:
    parts = read_parts(call)
    xml = parts.pop("xml_submission_file", None)
    if xml is None:
        raise Problem(400.2, "Required multipart POST field xml_submission_file missing.")
    instance = read_instance(xml.content)
    form = call.form(call.segments[2], instance.form_id)
    call.need("submission.create", form.project_id)
    check_accepts(form)
    check_version(form, instance)
    known = form.by_id.get(instance.instance_id or "")
    if known is None:
        call.central.submit(
            form,
            instance,
            parts,
            submitter=call.actor,
            device_id=call.option("deviceID") or None,
            user_agent=call.request.header("User-Agent") or None,
        )
    elif known.deleted_at is not None:
        raise Problem(409.19, "This submission has been deleted. You may not resubmit it.")
    elif known.versions[0].instance.to_xml() != instance.to_xml():
        raise Problem(
            409.1,
            "A submission already exists with this ID, but with different XML. Resubmissions to attach additional "
            "multimedia must resubmit an identical xml_submission_file.",
        )
    else:
        for name, file in parts.items():
            call.central.put_file(form, known, name, file)
    return openrosa_answer(201, "full submission upload was successful!")


def read_parts(call: Call) -> dict[str, File]:
    """The files of a multipart body, by part name."""
    kind = call.request.header("Content-Type")
    message = BytesParser(policy=policy.HTTP).parsebytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + call.request.body
    )
    files: dict[str, File] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            files[name] = make_file(content, part.get_content_type())
    return files
