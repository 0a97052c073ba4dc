"""A form of ODK Central: how it stands, and its metadata document.

Source of the rules: Central's API documentation and answers recorded from a real server.
"""

from __future__ import annotations

import datetime as dt
import difflib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from services.utils.errors import ConfigError, RequestRefused, SourceError
from services.utils.odk.client import Central, form_path
from services.utils.odk.schema import build_fields, find_collisions
from services.utils.session import parse_http_date

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FormState:
    """A form as it stands. server_time: None where Central did not say. submissions: those alive now, -1 likewise."""

    details: dict[str, Any]
    server_time: dt.datetime | None
    submissions: int

    @property
    def version(self) -> str:
        """The published version's name."""
        return self.details.get("version") or ""

    @property
    def digest(self) -> str:
        """What is another one with every published version: the shape of all rows hangs on it."""
        return str(self.details.get("hash") or self.version)

    @property
    def encrypted(self) -> bool:
        """Whether submissions are encrypted: then only ids and times can be read."""
        return self.details.get("keyId") is not None

    @property
    def closed(self) -> bool:
        """Whether it takes no submissions any more; what it has can be read."""
        return self.details.get("state") == "closed"


def fetch_state(central: Central, project_id: str, form_id: str) -> FormState:
    """The form as it stands, with Central's clock.

    Raises: ConfigError if there is no such project or form, or only a draft of it; SourceError.
    """
    path = form_path(project_id, form_id)
    try:
        answer = central.fetch_json(path, extended=True, what=f"form {form_id}")
    except RequestRefused as error:
        if error.status != 404:
            raise
        raise _explain_missing(central, project_id, form_id) from error
    details = _decode(answer, dict[str, Any])
    if not details.get("publishedAt"):
        raise _draft_only(form_id)
    count = details.get("submissions")
    server_time = parse_http_date(answer.headers.get("Date", ""))
    return FormState(_plain(details), server_time, count if isinstance(count, int) else -1)


def fetch_metadata(
    central: Central, project_id: str, form_id: str, known: dict[str, Any] | None = None
) -> bytes | None:
    """The form's metadata document (see `schema`), as JSON; None where it is still the one that is known.

    known: the document as it was; fields of older versions, which never change, are taken from it.
    Raises: as `fetch_state`.
    """
    state = fetch_state(central, project_id, form_id)
    if known is not None and known.get("form") == state.details:
        return None
    path = form_path(project_id, form_id)
    feed = central.get_json(f"{path}/fields", {"odata": "true"}, what="fields")
    plain = central.get_json(f"{path}/fields", what="fields")
    listed = central.get_json(f"{path}/versions", what="versions")
    before = (known or {}).get("versions") or {}
    versions = {}
    for one in listed:
        name = one.get("version") or ""
        if name == state.version:
            continue
        fields = (before.get(name) or {}).get("fields")
        if fields is None:
            # An empty name is written as three underscores.
            older = form_path(project_id, form_id, "versions", name or "___", "fields")
            fields = central.get_json(older, {"odata": "true"}, what=f"fields of version {name}")
        versions[name] = {
            "name": one.get("name"),
            "hash": one.get("hash"),
            "publishedAt": one.get("publishedAt"),
            "fields": fields,
        }
    collisions = find_collisions(build_fields(feed, plain))
    for collision in collisions:
        log.warning(
            "%s: the fields %s come as one property %s, their values run together",
            form_id,
            ", ".join(collision["fields"]),
            collision["property"],
        )
    return msgspec.json.encode(
        {
            "projectId": _number(project_id),
            "form": state.details,
            "version": state.version,
            "fields": feed,
            "plain_fields": plain,
            "versions": versions,
            "collisions": collisions,
        }
    )


def _explain_missing(central: Central, project_id: str, form_id: str) -> ConfigError:
    """Which of project and form is not there."""
    try:
        forms = central.get_json(f"/v1/projects/{project_id}/forms", what="forms")
    except RequestRefused as error:
        if error.status != 404:
            raise
        return ConfigError(
            f"ODK Central has no project {project_id}. Nothing was stored. "
            "Correct project_id in config/odk.py, or ODK_PROJECT_ID."
        )
    by_id = {str(form.get("xmlFormId")): form for form in forms}
    if form_id in by_id:
        return _draft_only(form_id)
    near = difflib.get_close_matches(form_id, by_id, n=3, cutoff=0.6) or sorted(by_id)[:8]
    there = f"nearest: {', '.join(near)}" if near else "it has none that this user may see"
    return ConfigError(
        f"The project {project_id} has no form {form_id!r}; {there}. Nothing was stored. "
        "Correct form_id or the container's id in config/odk.py (upper and lower case count)."
    )


def _draft_only(form_id: str) -> ConfigError:
    return ConfigError(
        f"The form {form_id} is a draft that was never published, so it has no submissions. "
        "Nothing was stored. Publish it in ODK Central and run again."
    )


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    """Form details without what moves with every submission, and without the draft's token, a secret."""
    return {name: value for name, value in details.items() if name not in _NOT_KEPT}


_NOT_KEPT = {
    "submissions",
    "lastSubmission",
    "reviewStates",
    "draftToken",
    "entityRelated",
    "excelContentType",
    "publicLinks",
    "createdBy",
    "publishNotes",
}


def _decode(answer: requests.Response, kind: type) -> Any:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise SourceError("ODK Central gave something else than form details. Nothing was stored.") from error


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
