"""One submission's files, each brought into the bucket unless it is there: the part that runs in many threads."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

import msgspec

from services.utils import filetypes, odk, s3, thumbnails
from services.utils.attachments import Attachment
from services.utils.copying.plan import Entry, Options
from services.utils.errors import PublishError, ServiceError, SourceError, Stopped, StoreError
from services.utils.odk.media import FetchedFile, Media
from services.utils.records import Counts

log = logging.getLogger(__name__)

# A file up to this size stays in memory on its way, a larger one is a temporary file.
IN_MEMORY = 1_000_000
# Stands in a key where no field names the file; no field can be called so.
_NO_FIELD = "-"
_THUMB = ".thumb.jpg"


@dataclass(frozen=True)
class Known:
    """A file as it surely is in the bucket."""

    md5: str
    sha1: str
    size: int
    content_type: str
    thumbnail_key: str | None
    thumbnail_px: int | None


@dataclass
class Outcome:
    """What became of one submission's files. failed: {what failed, as in api.rejects: why}, `only` of file names."""

    entry: Entry
    counts: Counts = field(default_factory=Counts)
    rows: list[Attachment] = field(default_factory=list)
    failed: dict[str, ServiceError] = field(default_factory=dict)
    failed_files: set[str] = field(default_factory=set)
    delivered: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class FileCopier:
    """Copies submissions' files; what it does to the store it only says. Safe to use by several threads."""

    def __init__(
        self,
        form: odk.Form,
        media: Media,
        bucket: s3.Bucket,
        options: Options,
        stop: threading.Event,
        dry_run: bool = False,
    ) -> None:
        self._form = form
        self._media = media
        self._bucket = bucket
        self._options = options
        self._stop = stop
        self._dry_run = dry_run
        self.base = s3.build_key(options.prefix, form.form_id) + "/"

    def copy(
        self,
        entry: Entry,
        rows: dict[str, Attachment],
        there: dict[str, str] | None,
        names: set[str] | None,
    ) -> Outcome:
        """Copy a submission's files.

        there: {key: size} of all its objects in the bucket; None where that was not looked up. names: only those.
        """
        outcome = Outcome(entry)
        if entry.deleted or not entry.instance_id:
            self._drop(rows, outcome)
            return outcome
        if entry.expected == 0 and not rows:
            return outcome
        try:
            listed = self._media.fetch_list(entry.instance_id)
            stale = self._is_stale(entry, rows, [one.name for one in listed or []])
        except SourceError as error:
            outcome.failed[entry.record_id] = error
            return outcome
        if listed is None:
            # Deleted since it was loaded: its tombstone will tell. Until then it need not be asked for every time.
            outcome.rows += rows.values()
            return outcome
        for one in listed:
            row = rows.get(one.name)
            if self._stop.is_set():
                raise Stopped("Stopped between two files.")
            if (names is not None and one.name not in names) or (row is None and one.name in stale):
                continue
            outcome.counts.read += 1
            if one.exists:
                self._copy_file(entry, one.name, row, there, outcome)
            else:
                self._await(entry, one.name, row, outcome)
        if names is None:
            listed_names = {one.name for one in listed}
            self._drop({name: row for name, row in rows.items() if name not in listed_names}, outcome)
        return outcome

    def _is_stale(self, entry: Entry, rows: dict[str, Attachment], listed: list[str]) -> set[str]:
        """Files that a later edit brought: the document does not say yet which field names them."""
        unknown = {name for name in listed if name not in entry.files and name not in rows}
        if not unknown or self._form.encrypted:
            return set()
        edited_at = self._media.fetch_edited_at(entry.instance_id)
        return unknown if edited_at != entry.edited_at else set()

    def _drop(self, rows: dict[str, Attachment], outcome: Outcome) -> None:
        for row in rows.values():
            if row.state != "deleted":
                outcome.rows.append(msgspec.structs.replace(row, state="deleted", reason=None))
                outcome.counts.deleted += 1

    def _await(self, entry: Entry, name: str, row: Attachment | None, outcome: Outcome) -> None:
        if row is not None and row.state == "stored":
            log.info("%s of %s was taken away at Central; the object is kept", name, entry.instance_id)
        outcome.rows.append(self._build_row(entry, name, row, "missing"))
        outcome.missing.append(f"{name} of {entry.instance_id}")

    def _copy_file(
        self,
        entry: Entry,
        name: str,
        row: Attachment | None,
        there: dict[str, str] | None,
        outcome: Outcome,
    ) -> None:
        whole_name = f"{entry.record_id}/{name}"
        try:
            key, known = self._find_known(entry, name, row, there)
            if self._dry_run:
                self._compare(entry, name, known, outcome)
            else:
                self._bring(entry, name, row, key, known, outcome)
            outcome.delivered.append(whole_name)
        except StoreError:
            # Another run has taken this one's place.
            raise
        except ServiceError as error:
            if getattr(error, "status", 0) == 404 and isinstance(error, SourceError):
                # Taken away since the list was made.
                self._await(entry, name, row, outcome)
                return
            self._fail(entry, name, row, error, outcome)
        except OSError as error:
            said = f"{name} of {entry.instance_id} could not be written down here: {error.strerror or error}"
            self._fail(entry, name, row, PublishError(f"{said}. Is the temporary folder full?"), outcome)

    def _fail(
        self, entry: Entry, name: str, row: Attachment | None, error: ServiceError, outcome: Outcome
    ) -> None:
        outcome.counts.read -= 1
        outcome.failed[f"{entry.record_id}/{name}"] = error
        outcome.failed_files.add(name)
        failed = self._build_row(entry, name, row, "failed")
        outcome.rows.append(msgspec.structs.replace(failed, reason=str(error)[:1000]))

    def _find_known(
        self, entry: Entry, name: str, row: Attachment | None, there: dict[str, str] | None
    ) -> tuple[str, Known | None]:
        """A file's key, and what is surely behind it."""
        path = entry.files.get(name) or (row.field_path if row else "")
        key = row.key if row and row.key and row.key.startswith(self.base) else ""
        key = key or self._build_key(entry.instance_id, path, name)
        if row is not None and row.key == key and row.digest:
            if there is None or there.get(key) == str(row.size_bytes):
                return key, Known(
                    row.digest,
                    row.sha1 or "",
                    row.size_bytes or 0,
                    row.content_type or filetypes.UNKNOWN,
                    row.thumbnail_key,
                    row.thumbnail_px,
                )
            log.warning("%s is not in the bucket as it was stored", key)
        return key, self._read_known(key) if there is None or key in there else None

    def _read_known(self, key: str) -> Known | None:
        """A file as the bucket tells of it; None if it is not there, or not by what digest."""
        found = self._bucket.find(key)
        if found is None or not found.md5:
            return None
        longest, _, none = found.metadata.get("thumbnail", "").partition(" ")
        made = int(longest) if longest.isdigit() else None
        return Known(
            found.md5,
            found.metadata.get("sha1", "") if found.metadata.get("md5") == found.md5 else "",
            found.size,
            found.content_type,
            key + _THUMB if made and not none else None,
            made,
        )

    def _compare(self, entry: Entry, name: str, known: Known | None, outcome: Outcome) -> None:
        if known is None:
            outcome.counts.inserted += 1
        elif self._media.compare_file(entry.instance_id, name, md5=known.md5, sha1=known.sha1):
            outcome.counts.unchanged += 1
        else:
            outcome.counts.updated += 1

    def _bring(
        self,
        entry: Entry,
        name: str,
        row: Attachment | None,
        key: str,
        known: Known | None,
        outcome: Outcome,
    ) -> None:
        """Bring one file into the bucket, unless it is there."""
        longest_px = self._options.thumbnail_px
        wants_picture = bool(
            known
            and longest_px
            and known.thumbnail_px != longest_px
            and known.content_type.startswith("image/")
        )
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spooled:
            file = cast(BinaryIO, spooled)
            came = self._media.fetch_file(
                entry.instance_id,
                name,
                file,
                md5=known.md5 if known and not wants_picture else "",
                sha1=known.sha1 if known and not wants_picture else "",
            )
            if came is None or (known and came.md5 == known.md5):
                assert known is not None
                outcome.counts.unchanged += 1
                if came is not None and known.sha1 != came.sha1:
                    known = replace(known, sha1=came.sha1)
                if came is not None and wants_picture:
                    known = replace(known, **self._put_thumbnail(file, key, known.content_type))
            else:
                # A run that died may have brought these very bytes, and not noted it.
                there = self._read_known(key) if row is not None and row.digest else None
                if there is not None and there.md5 == came.md5:
                    known = replace(there, sha1=came.sha1)
                else:
                    known = self._put(file, key, name, came)
                outcome.counts.add(
                    Counts(updated=1) if row is not None and row.digest else Counts(inserted=1)
                )
        stored = self._build_row(entry, name, row, "stored")
        outcome.rows.append(
            msgspec.structs.replace(
                stored,
                key=key,
                size_bytes=known.size,
                digest=known.md5,
                sha1=known.sha1 or None,
                content_type=known.content_type,
                thumbnail_key=known.thumbnail_key,
                thumbnail_px=known.thumbnail_px,
            )
        )

    def _put(self, file: BinaryIO, key: str, name: str, came: FetchedFile) -> Known:
        """Store a file, its thumbnail first: then that is not forgotten."""
        kind = filetypes.find_content_type(came.head, name, came.said)
        picture = self._put_thumbnail(file, key, kind)
        made = picture["thumbnail_px"]
        noted = {"thumbnail": f"{made}{'' if picture['thumbnail_key'] else ' none'}"} if made else {}
        self._bucket.put(
            key,
            cast(BinaryIO, _Stoppable(file, self._stop)),
            size=came.size,
            md5=came.md5,
            content_type=kind,
            metadata={"sha1": came.sha1, **noted},
            file_name=name,
        )
        return Known(came.md5, came.sha1, came.size, kind, **picture)

    def _put_thumbnail(self, file: BinaryIO, key: str, content_type: str) -> dict[str, Any]:
        """Make and store a small picture, if one is wanted; the row's two columns."""
        longest_px = self._options.thumbnail_px
        if not longest_px or not content_type.startswith("image/"):
            return {"thumbnail_key": None, "thumbnail_px": None}
        small = thumbnails.make_thumbnail(file, longest_px)
        if small is None:
            log.info("%s: no thumbnail can be made of it", key)
            return {"thumbnail_key": None, "thumbnail_px": longest_px}
        self._bucket.put(
            key + _THUMB,
            io.BytesIO(small),
            size=len(small),
            md5=hashlib.md5(small, usedforsecurity=False).hexdigest(),
            content_type=thumbnails.CONTENT_TYPE,
        )
        return {"thumbnail_key": key + _THUMB, "thumbnail_px": longest_px}

    def _build_row(self, entry: Entry, name: str, row: Attachment | None, state: str) -> Attachment:
        before = row or Attachment(entry.record_id, name)
        return msgspec.structs.replace(
            before,
            field_path=entry.files.get(name, before.field_path),
            instance_id=entry.instance_id,
            state=state,
            reason=None,
        )

    def build_base(self, instance_id: str) -> str:
        """What the keys of a submission's files begin with."""
        return s3.build_key(self._options.prefix, self._form.form_id, instance_id) + "/"

    def _build_key(self, instance_id: str, path: str, name: str) -> str:
        """<prefix>/<form>/<instance>/<field path>/<file name>

        Without the rows of repeats: a row that is taken out moves the others up, and their files stay where they are.
        """
        parts = re.sub(r"\[\d+\]", "", path).split("/") if path else [_NO_FIELD]
        key = s3.build_key(self._options.prefix, self._form.form_id, instance_id, *parts, name)
        # A file that is called so must not be taken for another one's thumbnail.
        return f"{key[: -len('.jpg')]}=2Ejpg" if key.endswith(_THUMB) else key


class _Stoppable:
    """A file that stops being read when the run does."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        """Some bytes. Raises: Stopped."""
        if self._stop.is_set():
            raise Stopped("Stopped while a file was sent.")
        return self._file.read(size)
