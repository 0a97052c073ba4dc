"""Addresses of the audit log: the whole server's for administrators, one submission's for whoever may read it."""

from __future__ import annotations

from dev.simulators.base import Answer
from dev.simulators.odk.audits import Entry
from dev.simulators.odk.calls import Call, answer_json
from dev.simulators.odk.clock import read_moment


def answer_audits(call: Call) -> Answer:
    """`/v1/audits`, newest first."""
    call.need("audit.read")
    action, start, end = call.option("action"), call.option("start"), call.option("end")
    found = [entry for entry in reversed(call.central.audits) if not action or _is(entry, action)]
    if start:
        found = [entry for entry in found if entry.logged_at >= read_moment(start)]
    if end:
        found = [entry for entry in found if entry.logged_at <= read_moment(end)]
    first = int(call.option("offset") or 0)
    limit = call.option("limit")
    page = found[first : first + int(limit)] if limit else found[first:]
    return answer_json([entry.to_json() for entry in page])


def _is(entry: Entry, action: str) -> bool:
    # A bare noun stands for all that happens to such a thing.
    return entry.action == action or ("." not in action and entry.action.startswith(action + "."))


def list_audits(call: Call, submission: int) -> Answer:
    """A submission's own log: its attachments are not in it."""
    found = [
        entry.to_json()
        for entry in reversed(call.central.audits)
        if entry.submission == submission and ".attachment." not in entry.action
    ]
    return answer_json(found)
