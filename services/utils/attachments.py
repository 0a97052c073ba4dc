"""What the store knows of a form's media: api.odk_attachments, one row for each file."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from services.utils.postgrest import PostgREST
from services.utils.session import Backoff
from services.utils.store import quote

# Documents whose files are asked for at a time, and rows that are written at a time.
RECORDS, ROWS = 100, 500


class Attachment(msgspec.Struct, frozen=True):
    """One file of one submission. Its columns' meaning stands with the table."""

    record_id: str
    name: str
    field_path: str = ""
    instance_id: str | None = None
    key: str | None = None
    size_bytes: int | None = None
    digest: str | None = None
    sha1: str | None = None
    content_type: str | None = None
    state: str = "missing"
    reason: str | None = None
    thumbnail_key: str | None = None
    thumbnail_px: int | None = None


_COLUMNS = ",".join(Attachment.__struct_fields__)
_ROWS = msgspec.json.Decoder(list[Attachment])


class Attachments:
    """The files of one form."""

    def __init__(self, postgrest: PostgREST, app_id: str, container_id: str) -> None:
        self._postgrest = postgrest
        self._place = {"app_id": app_id, "container_id": container_id}

    def read(self, record_ids: list[str]) -> dict[str, dict[str, Attachment]]:
        """{record id: {file name: row}} of some submissions; those without a row are left out."""
        found: dict[str, dict[str, Attachment]] = {}
        for start in range(0, len(record_ids), RECORDS):
            part = record_ids[start : start + RECORDS]
            last: Attachment | None = None
            while True:
                params = [
                    *((name, f"eq.{value}") for name, value in self._place.items()),
                    ("select", _COLUMNS),
                    ("record_id", f"in.({','.join(map(quote, part))})"),
                    ("order", "record_id,name"),
                ]
                if last is not None:
                    record_id, name = quote(last.record_id), quote(last.name)
                    after = f"(record_id.gt.{record_id},and(record_id.eq.{record_id},name.gt.{name}))"
                    params.append(("or", after))
                page = _ROWS.decode(self._postgrest.select("odk_attachments", params, what="attachments"))
                for row in page:
                    found.setdefault(row.record_id, {})[row.name] = row
                # Only an empty page is surely the last: PostgREST may be set to give fewer rows than there are.
                if not page:
                    break
                last = page[-1]
        return found

    def find_waiting(self, again: int) -> list[str]:
        """Documents whose media are to be looked at whatever changed.

        Those that wait for a file or failed to get one, and those of `again` stored files compared longest ago.
        """
        return list(self._postgrest.call("media_to_check", {**self._place, "again": again}) or [])

    def count(self) -> dict[str, int]:
        """How many files are in each state."""
        return dict(self._postgrest.call("count_media", self._place) or {})

    def keep(self, rows: Iterable[Attachment], backoff: Backoff | None = None) -> None:
        """Write rows; one that says what is known already is noted as compared now."""
        waiting = {(row.record_id, row.name): row for row in rows}
        every = list(waiting.values())
        columns = f"{','.join(self._place)},{_COLUMNS}"
        for start in range(0, len(every), ROWS):
            part = [{**self._place, **msgspec.to_builtins(row)} for row in every[start : start + ROWS]]
            self._postgrest.upsert(
                "odk_attachments", msgspec.json.encode(part), columns, f"{len(part)} attachments", backoff
            )
