"""Records of one Knack app as those of another: what differs there is created or changed, nothing is deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from services.utils.documents import NotARecord, decode_record
from services.utils.env import KnackCopySettings
from services.utils.errors import OutcomeUnknown, PublishError, RequestRefused
from services.utils.fieldmaps import FieldMap
from services.utils.knack.fetch import Knack
from services.utils.knack.handlers import Unfit, read_held, same, shape, tell
from services.utils.knack.mapping import FieldMapping, compile_mapping, find_connections
from services.utils.knack.metadata import KnackApp, open_app
from services.utils.knack.write import Writer, spell_key, tell_key
from services.utils.records import Counts, Document, OnReject, Reject
from services.utils.spool import Spool

log = logging.getLogger(__name__)

# So many records are looked for by their keys; for more the whole object is read.
ASKED_FOR = 250
# Refused one after the other, none taken: it is not the records' fault.
REFUSED_AT_FIRST = 25
# Keys that are looked for once more just before their records are created.
_CREATES_A_LOOK = 25


@dataclass(frozen=True)
class Copy:
    """An object of the destination app, ready to be written, and the fields that fill it."""

    writer: Writer
    mapping: FieldMapping


def open_copy(
    settings: KnackCopySettings,
    object_key: str,
    maps: Sequence[FieldMap],
    source: KnackApp,
    container_id: str,
) -> Copy:
    """Ask the destination app for its metadata, and hold the field map to both apps'.

    Raises: ConfigError as `compile_mapping`; PublishError if Knack does not give its metadata.
    """
    knack = Knack(
        settings.url,
        settings.app_id,
        settings.api_key,
        settings.requests_per_second,
        error=PublishError,
        names="_DEST",
    )
    metadata = msgspec.json.decode(knack.fetch_metadata())
    dest = open_app(metadata)
    mapping = compile_mapping(maps, source, container_id, dest, object_key, find_connections(metadata))
    return Copy(Writer(knack, object_key, mapping.key.dest), mapping)


def copy_records(
    documents: Iterable[Document],
    copy: Copy,
    *,
    dry_run: bool,
    on_reject: OnReject,
) -> Counts:
    """Bring the records of an object in step with documents, by key; records there that no document has stay.

    All documents are read and shaped before anything is sent. Every answer is compared with what was sent.
    Args:
        on_reject: is told of documents that do not fit, that Knack refuses, or of which it keeps something else.
    Raises: PublishError where the trouble is not the records'; what was written until then stays.
    """
    copier = _Copier(copy.writer, copy.mapping, on_reject)
    try:
        copier.plan(documents)
        if not dry_run:
            copier.send()
        return copier.counts
    finally:
        copier.close()


class _Copier:
    """One copy. Spools: rows by key, what the destination holds by key."""

    def __init__(self, writer: Writer, mapping: FieldMapping, on_reject: OnReject) -> None:
        self.writer = writer
        self.mapping = mapping
        self.counts = Counts()
        self._on_reject = on_reject
        self._rows = Spool()
        self._held = Spool()
        self._twice: set[str] = set()
        self._found: dict[tuple[str, str], list[str]] = {}
        self._written = 0
        self._refused = 0

    def close(self) -> None:
        """Forget everything."""
        self._rows.close()
        self._held.close()

    # -- planning --------------------------------------------------------------------------------

    def plan(self, documents: Iterable[Document]) -> None:
        """Shape all documents, read what is there, find what differs."""
        for document in documents:
            if document.deleted:
                continue
            self.counts.read += 1
            self._add(document)
        for record in self._read_held():
            self._note_held(record)
        self._look_up_connections()
        for key, packed in self._rows.take("row"):
            record_id, values = msgspec.json.decode(packed)
            self._sort(key, record_id, values)
        self.counts.inserted = self._rows.count("create")
        self.counts.updated = self._rows.count("update")

    def _add(self, document: Document) -> None:
        values: dict[str, Any] = {}
        try:
            record = {"id": document.record_id, **decode_record(document.record)}
            for column in self.mapping.columns:
                try:
                    value = shape(
                        column.read(record),
                        column.dest,
                        self.mapping.source.timezone,
                        self.mapping.dest.timezone,
                    )
                except Unfit as error:
                    raise Unfit(f"{column}: {error}") from None
                values[column.dest.key] = value
        except (NotARecord, Unfit) as error:
            self._reject(document.record_id, str(error))
            return
        key = self._tell_key(values)
        if not key:
            self._reject(document.record_id, f"{self.mapping.key}: the primary key is empty")
            return
        try:
            self._rows.want(key)
        except KeyError:
            self._reject(document.record_id, f"{self.mapping.key}: another record has the same primary key")
            return
        self._rows.put("row", key, msgspec.json.encode([document.record_id, values]))

    def _tell_key(self, values: Mapping[str, Any]) -> str:
        return tell_key({self.mapping.key.dest.key: values[self.mapping.key.dest.key]}, self.mapping.key.dest)

    def _read_held(self) -> Iterator[dict[str, Any]]:
        """The records there that may be meant."""
        count = self._rows.count("row")
        if count <= ASKED_FOR:
            yield from self.writer.find(self._rows.keys("row"))
            return
        sort = self.mapping.dest.sort_field(self.writer.place.container_id)
        for page in self.writer.knack.fetch_pages(self.writer.place, sort_field=sort):
            for _, body in page.records:
                yield msgspec.json.decode(body)

    def _note_held(self, record: dict[str, Any]) -> None:
        key = tell_key(record, self.mapping.key.dest)
        if not key or not self._rows.find(key)[1]:
            return
        told = {column.dest.key: read_held(record, column.dest) for column in self.mapping.columns}
        note = msgspec.json.encode([record["id"], told]).decode()
        if not self._held.there(key, note):
            known = msgspec.json.decode(self._held.read_note(key) or "[]")
            # A walk may give a record twice.
            if known[0] != record["id"]:
                self._twice.add(key)

    def _look_up_connections(self) -> None:
        for column in self.mapping.columns:
            if column.lookup is None:
                continue
            place, by = column.lookup
            wanted = {
                spell_key(text, by)
                for _, packed in self._rows.take("row")
                for text in msgspec.json.decode(packed)[1][column.dest.key] or ()
            } - {""}
            for record in self.writer.find(sorted(wanted), by, place):
                ids = self._found.setdefault((column.dest.key, tell_key(record, by)), [])
                if record["id"] not in ids:
                    ids.append(record["id"])

    def _connect(self, values: dict[str, Any]) -> None:
        """Put record ids for the texts of connections. Raises: Unfit."""
        for column in self.mapping.columns:
            if column.lookup is None or not values[column.dest.key]:
                continue
            ids = []
            for text in values[column.dest.key]:
                found = self._found.get((column.dest.key, spell_key(text, column.lookup[1])), [])
                if len(found) != 1:
                    many = f"{len(found)} records" if found else "no record"
                    raise Unfit(
                        f"{column}: {many} in {column.lookup[0].container_id} with what is to be connected"
                    )
                ids += found
            values[column.dest.key] = ids

    def _sort(self, key: str, record_id: str, values: dict[str, Any]) -> None:
        """Give a row its place: unchanged, update or create."""
        if key in self._twice:
            self._reject(record_id, f"{self.mapping.key}: two records there have its primary key")
            return
        try:
            self._connect(values)
        except Unfit as error:
            self._reject(record_id, str(error))
            return
        note = self._held.read_note(key)
        if note is None:
            self._rows.put("create", key, msgspec.json.encode([record_id, "", values]))
            return
        there, told = msgspec.json.decode(note)
        if any(
            not column.map.ignore_diff
            and not same(tell(values[column.dest.key], column.dest), told[column.dest.key], column.dest)
            for column in self.mapping.columns
        ):
            self._rows.put("update", key, msgspec.json.encode([record_id, there, values]))
        else:
            self.counts.unchanged += 1

    # -- sending ---------------------------------------------------------------------------------

    def send(self) -> None:
        """Write what differs; `counts` then says what was done."""
        planned = self.counts.inserted + self.counts.updated
        self.counts.inserted = self.counts.updated = 0
        for key, packed in self._rows.take("update"):
            record_id, there, values = msgspec.json.decode(packed)
            self._write(key, record_id, there, values)
        for batch in self._cut_creates():
            # Perhaps somebody has made them meanwhile, or the walk did not show them.
            there_now: dict[str, dict[str, Any]] = {}
            for record in self.writer.find(batch):
                there_now[tell_key(record, self.mapping.key.dest)] = record
            for key, (record_id, values) in batch.items():
                found = there_now.get(key)
                self._write(key, record_id, found["id"] if found else "", values)
        self._look_for_copies()
        log.info("%d of %d records were written", self._written, planned)

    def _cut_creates(self) -> Iterator[dict[str, tuple[str, dict[str, Any]]]]:
        batch: dict[str, tuple[str, dict[str, Any]]] = {}
        for key, packed in self._rows.take("create"):
            record_id, _, values = msgspec.json.decode(packed)
            batch[key] = record_id, values
            if len(batch) >= _CREATES_A_LOOK:
                yield batch
                batch = {}
        if batch:
            yield batch

    def _write(self, key: str, record_id: str, there: str, values: dict[str, Any]) -> None:
        try:
            kept = self.writer.update(there, values) if there else self.writer.create(key, values)
        except RequestRefused as error:
            if error.status != 400 and not (error.status == 404 and there):
                raise self._explain(error) from error
            gone = error.status == 404
            self._reject(
                record_id, "it was deleted there meanwhile" if gone else _name_refused(error, self.mapping)
            )
            self._refused += 1
            if not self._written and self._refused >= REFUSED_AT_FIRST:
                raise self._explain(f"Knack refused each of the first {REFUSED_AT_FIRST} records") from error
            return
        except OutcomeUnknown as error:
            raise self._explain(error) from error
        self._written += 1
        if there:
            self.counts.updated += 1
        else:
            self.counts.inserted += 1
        other = [
            str(column)
            for column in self.mapping.columns
            if not same(tell(values[column.dest.key], column.dest), read_held(kept, column.dest), column.dest)
        ]
        if other:
            self._reject(record_id, f"Knack keeps something else than was sent in {', '.join(other)}")

    def _look_for_copies(self) -> None:
        """What was sent twice, because the first was not to be found, must not be there twice."""
        if not self.writer.doubtful:
            return
        ids: dict[str, set[str]] = {}
        for record in self.writer.find(sorted(self.writer.doubtful)):
            ids.setdefault(tell_key(record, self.mapping.key.dest), set()).add(record["id"])
        for key, found in ids.items():
            if len(found) > 1:
                self._reject(
                    key, f"{self.mapping.key}: records {' and '.join(sorted(found))} there have this key"
                )

    def _reject(self, record_id: str, reason: str) -> None:
        self.counts.rejected += 1
        self._on_reject(Reject(record_id, reason))

    def _explain(self, error: object) -> PublishError:
        return PublishError(
            f"{str(error).rstrip('.')}. {self.counts.inserted} records were created and {self.counts.updated} changed; "
            "what was sent last may or may not be there. Run again: records are recognised by their key."
        )


def _name_refused(error: RequestRefused, mapping: FieldMapping) -> str:
    """Which fields Knack names in a refusal; its own words may hold values."""
    try:
        keys = {str(one["field"]) for one in msgspec.json.decode(error.body)["errors"]}
    except (msgspec.DecodeError, LookupError, TypeError):
        return "Knack refuses the record (400)"
    known = {column.dest.key: str(column) for column in mapping.columns}
    return f"Knack refuses the record because of {', '.join(known.get(key, key) for key in sorted(keys))}"
