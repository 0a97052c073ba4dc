"""Knack documents as rows: people's names, values as knackpy's Record.format() gives them.

formatter = compile_formatter(app, "object_9", location_fields=["field_63"], exclude_fields=["Findings"])
rows = format_rows(documents, formatter, on_reject=rejects.append)
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from services.utils.documents import NotARecord, decode_record
from services.utils.errors import ConfigError
from services.utils.knack.metadata import FieldDef, KnackApp
from services.utils.knack.values import Reader, WallClock, build_place_reader, build_reader
from services.utils.records import Document, OnReject, Reject, Row, SourceField
from services.utils.rownames import keep_apart

log = logging.getLogger(__name__)


class RowFormatter:
    """Shapes the records of one container. Made by `compile_formatter`.

    names: {field key: row name}, with "id" for the record's id. types: {row name: Knack's field type}; the
    record's id has the type "id". Both hold the published fields only, in the order of the row. places: the row
    names of the location fields, in the order they were asked for.
    """

    def __init__(self, columns: Sequence[tuple[str, str, str, Reader]], places: Sequence[str] = ()) -> None:
        self.places = list(places)
        self.names = {key: name for key, name, _, _ in columns}
        self.types = {name: type_ for _, name, type_, _ in columns}
        self._readers = [(name, reader) for _, name, _, reader in columns]

    def format(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Shape one record as a row's values; the record is left unchanged.

        Text, numbers and yes/no stay as they are, dates are ISO-8601 with offset, addresses one line, choices
        and connections joined by ", ", location fields {"latitude", "longitude", ...} (see
        `values.build_place_reader`). None: blank, or not in the record. Odd values never raise: see `values`.
        A list or object that no rule is for (addresses behind a connection to many) is given as it is.
        """
        return {name: read(record) for name, read in self._readers}


def compile_formatter(
    app: KnackApp,
    container_id: str,
    *,
    location_fields: Iterable[str] = (),
    fields: Iterable[str] | None = None,
    exclude_fields: Iterable[str] = (),
) -> RowFormatter:
    """Prepare the shaping of a container's records.

    Args:
        location_fields: address fields to give as places with coordinates instead of one line.
        fields: the only fields to publish; None publishes all. The record's id always is.
        exclude_fields: fields not to publish, also if `fields` names them.
        Entries are field keys, row names, or names as people see them in Knack; a name that several fields
        share means all of them. Row names do not depend on what is left out.
    Raises: ConfigError if the container is not known, an entry names none of its fields, or a location field is
        no address or is left out.
    """
    found, names, left = _choose_fields(app, container_id, fields, exclude_fields)
    places = _find_keys(location_fields, found, names, container_id, "location_fields")
    types = {field.key: field.type for field in found}
    for key in places:
        if types.get(key) != "address":
            raise ConfigError(
                f"{container_id}: location_fields names {key} ({names.get(key, 'id')!r}), a field of type "
                f"{types.get(key, 'id')!r}; only an address has coordinates. Nothing was sent. Correct location_fields."
            )
        if key not in left:
            raise ConfigError(
                f"{container_id}: location_fields names {key} ({names[key]!r}), which fields or exclude_fields leave "
                "out. Nothing was sent. Publish it, or take it out of location_fields."
            )
    renamed = [
        names[field.key] for field in found if names[field.key] != _name_row(field) and field.key in left
    ]
    if renamed:
        log.warning(
            "%s: fields that share their name with another are published as %s",
            container_id,
            ", ".join(renamed),
        )
    clock = WallClock(app.timezone)
    columns = [("id", "id", "id", build_reader("id", "id", clock))]
    for field in found:
        if field.key in left:
            reader = (
                build_place_reader(field.key)
                if field.key in places
                else build_reader(field.type, field.key, clock)
            )
            columns.append((field.key, names[field.key], field.type, reader))
    return RowFormatter(columns, [names[key] for key in places])


def find_addresses(
    app: KnackApp,
    container_id: str,
    columns: Iterable[str],
    *,
    fields: Iterable[str] | None = None,
    exclude_fields: Iterable[str] = (),
) -> list[str]:
    """Keys of the address fields whose names a destination has as columns for places.

    columns: the destination's names; only their letters (a to z) and digits count. fields, exclude_fields: as
        for `compile_formatter`; an address that they leave out is not given.
    Raises: ConfigError as `compile_formatter` does.
    """
    wanted = {_squeeze(column) for column in columns}
    found, names, left = _choose_fields(app, container_id, fields, exclude_fields)
    return [
        field.key
        for field in found
        if field.key in left and field.type == "address" and _squeeze(names[field.key]) in wanted
    ]


def name_places(formatter: RowFormatter) -> list[str] | None:
    """The row names of a formatter's location fields, in the order they were asked for; None if it has none."""
    return formatter.places or None


def find_vanished(app: KnackApp, container_id: str, newest: Document | None) -> list[str]:
    """Keys of the container's fields that its newest document has not, though blank ones are written there too.

    They were removed at the source after the metadata were loaded, or its view does not show them any more. A document
    without any field tells nothing.
    """
    if newest is None:
        return []
    try:
        record = decode_record(newest.record)
    except NotARecord:
        return []
    keys = [field.key for field in app.fields(container_id)]
    missing = [key for key in keys if key not in record and f"{key}_raw" not in record]
    return missing if len(missing) < len(keys) else []


def list_fields(
    app: KnackApp, container_id: str, formatter: RowFormatter, vanished: Iterable[str] = ()
) -> Iterator[SourceField]:
    """All fields of a container, the record's id first; those given with coordinates have the type "place".

    vanished: keys of those that its documents have no more.
    """
    fields, gone = app.fields(container_id), set(vanished)
    names = build_row_names(fields)
    yield SourceField("id", "id", "id", "id")
    for field in fields:
        name, published = names[field.key], field.key in formatter.names
        kind = "place" if name in formatter.places else field.type
        yield SourceField(field.key, field.name, name, kind, published, field.key in gone)


def build_row_names(fields: Iterable[FieldDef]) -> dict[str, str]:
    """{field key: row name}: lower case, spaces and dashes as underscores.

    A field called "id" is "_id", because "id" is the record's own. Of fields that share a name, the first
    keeps it, the others end in "_<field key>". A field without a name has its key.
    """
    return keep_apart(((field.key, _name_row(field)) for field in fields), ["id"])


def format_rows(
    documents: Iterable[Document], formatter: RowFormatter, *, on_reject: OnReject
) -> Iterator[Row]:
    """Shape documents as rows, one by one.

    A document that is no JSON object goes to `on_reject` and gives no row, so publishers do not know its key;
    if it is `deleted`, its row holds the id alone. Halves of characters (lone surrogates) become U+FFFD,
    numbers beyond double precision None.
    """
    for document in documents:
        reason = ""
        values: dict[str, Any] = {"id": document.record_id}
        try:
            values = formatter.format(decode_record(document.record))
        except NotARecord as error:
            reason = str(error)
        except RecursionError:
            reason = "the document is nested too deeply"
        if reason and not document.deleted:
            on_reject(Reject(document.record_id, reason, document.record.decode("utf-8", "replace")))
            continue
        if values["id"] is None:
            values["id"] = document.record_id
        yield Row(document.record_id, values, document.deleted)


def _choose_fields(
    app: KnackApp, container_id: str, fields: Iterable[str] | None, exclude_fields: Iterable[str]
) -> tuple[list[FieldDef], dict[str, str], set[str]]:
    """(all fields, their row names, keys of those to publish)."""
    found = app.fields(container_id)
    names = build_row_names(found)
    left = {field.key for field in found}
    if fields is not None:
        left = set(_find_keys(fields, found, names, container_id, "fields"))
    excluded = _find_keys(exclude_fields, found, names, container_id, "exclude_fields")
    if "id" in excluded:
        raise ConfigError(
            f"{container_id}: exclude_fields names the record's id, by which rows are told apart. Nothing was "
            "sent. Take it out of exclude_fields."
        )
    left.difference_update(excluded)
    return found, names, left


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _name_row(field: FieldDef) -> str:
    name = field.name.lower().replace(" ", "_").replace("-", "_") or field.key
    return "_id" if name == "id" else name


def _find_keys(
    entries: Iterable[str],
    fields: Sequence[FieldDef],
    names: Mapping[str, str],
    container_id: str,
    setting: str,
) -> list[str]:
    """The field keys that the entries of a setting mean, each once, in their order; "id" for the record's id."""
    meant: dict[str, dict[str, None]] = {}
    for field in fields:
        for known in (field.key, names[field.key], field.name):
            meant.setdefault(known, {})[field.key] = None
    meant.setdefault("id", {"id": None})
    keys: dict[str, None] = {}
    for entry in entries:
        if entry not in meant:
            near = difflib.get_close_matches(entry, meant, n=1, cutoff=0.4)
            hint = f"; nearest: {near[0]!r}" if near else ""
            raise ConfigError(
                f"{container_id}: {setting} names {entry!r}, which is no field of it{hint}. Nothing was sent. "
                f"Correct {setting}, or load the app's metadata again if the field is new."
            )
        keys |= meant[entry]
    return list(keys)
