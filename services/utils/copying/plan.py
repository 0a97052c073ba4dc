"""What a run is to look at: submissions with the files they name, in the order in which they are copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from services.utils import odk, s3, thumbnails
from services.utils.containers import Container
from services.utils.env import S3Settings
from services.utils.odk.media import find_files
from services.utils.rawjson import decode_blanked
from services.utils.records import Document
from services.utils.spool import Spool

_RECORD: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True)
class Options:
    """Where files go and how. thumbnail_px: longest side, 0 for none. workers: files under way at a time."""

    prefix: str
    thumbnail_px: int = 0
    workers: int = 8
    newest_first: bool = True


def read_options(container: Container, settings: S3Settings) -> Options:
    """What the configuration and the environment say; the prefix is the app's name where they say nothing.

    Raises: ConfigError if thumbnails are wanted and Pillow is not there.
    """
    given = container.attachments or {}
    if given.get("thumbnails"):
        thumbnails.check_installed()
    return Options(
        given.get("prefix") or s3.encode_part(container.app),
        given.get("thumbnails") or 0,
        settings.max_workers,
        settings.prioritize_new,
    )


class Entry(msgspec.Struct):
    """A submission whose files are to be looked at. expected: how many files it names, -1 where it does not say."""

    record_id: str
    instance_id: str = ""
    submitted_at: str = ""
    edited_at: str | None = None
    deleted: bool = False
    expected: int = -1
    files: dict[str, str] = {}


class Plan:
    """Submissions to look at, any number of them in flat memory."""

    def __init__(self, form: odk.Form) -> None:
        self._form = form
        self._spool = Spool()

    def close(self) -> None:
        """Forget everything."""
        self._spool.close()

    def has(self, record_id: str) -> bool:
        """Whether a submission is in the plan."""
        return self._spool.read_note(record_id) is not None

    def add(self, document: Document) -> None:
        """Plan to look at a document's files."""
        record = decode_blanked(_RECORD, document.record)
        system = record.get("__system")
        system = system if isinstance(system, dict) else {}
        instance_id, expected = record.get("__id"), system.get("attachmentsExpected")
        self._put(
            Entry(
                document.record_id,
                instance_id if isinstance(instance_id, str) else "",
                str(system.get("submissionDate") or ""),
                system.get("updatedAt"),
                document.deleted,
                expected if isinstance(expected, int) else -1,
                find_files(record, self._form),
            )
        )

    def add_gone(self, record_id: str) -> None:
        """Plan to note that a document is not in the store any more."""
        self._put(Entry(record_id, deleted=True))

    def count(self) -> int:
        """How many submissions there are to look at."""
        return self._spool.count("plan")

    def read(self, newest_first: bool) -> Iterator[Entry]:
        """The submissions: newest first, or as they were added."""
        order = self._spool.take_greatest_first if newest_first else self._spool.take
        for _, body in order("plan"):
            yield msgspec.json.decode(body, type=Entry)

    def _put(self, entry: Entry) -> None:
        # A document that changes while all are read comes twice; two threads must not have the same files.
        if self._spool.there(entry.record_id):
            self._spool.put("plan", f"{entry.submitted_at} {entry.record_id}", msgspec.json.encode(entry))
