"""Submissions as rows: the form's own names, groups flattened; or the rows of one of its repeats.

formatter = compile_formatter(open_form(metadata), fields=["building"], exclude_fields=["building/rent"])
rows = format_rows(documents, formatter, on_reject=rejects.append)

A row of a submission has its key as "id". A row of a repeat has

    id               the submission's key and the place in it: "uuid:5bc8/person_details[2]/documents[1]", as KEY in
                     Central's CSV files. It is positional: an edit that takes out the first person gives
                     its id to the second.
    submission_id    the submission's key, "id" of the main row
    parent_id        "id" of the row it stands in: the submission, or a row of the outer repeat
    position         its number there, from 1
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.utils.documents import read_record
from services.utils.errors import ConfigError
from services.utils.odk.schema import Field, Form
from services.utils.odk.values import PLACES, Reader, build_reader
from services.utils.parts import Parts
from services.utils.records import Document, OnReject, Row, SourceField
from services.utils.rownames import keep_apart

log = logging.getLogger(__name__)

# What Central adds to a submission; deletedAt is left out, the store says what is deleted.
_SYSTEM = {
    "submissionDate": "dateTime",
    "updatedAt": "dateTime",
    "submitterId": "string",
    "submitterName": "string",
    "attachmentsPresent": "int",
    "attachmentsExpected": "int",
    "status": "string",
    "reviewState": "string",
    "deviceId": "string",
    "edits": "int",
    "formVersion": "string",
}
_KEY_NAMES = ("id",)
# What the paths of a row's own keys begin with, which no field's path does.
_KEY = ":"
_PART_KEY_NAMES = ("id", "submission_id", "parent_id", "position")
# Which fields a layer takes its geometry from.
_SHAPES = {"point": "geopoint", "multipoint": "geopoint", "polyline": "geotrace", "polygon": "geoshape"}


@dataclass(frozen=True)
class Column:
    """One published field. path: without the leading "/", as the form has it; "__system/edits" of Central's."""

    path: str
    name: str
    type: str
    read: Reader


class RowFormatter:
    """Shapes the submissions of one form. Made by `compile_formatter`.

    names: {field path: row name}, types: {row name: Central's type}; both hold the published fields, in the order of
    the row, without the keys. repeat: the odata path of the repeat whose rows it gives, "" for main rows.
    """

    def __init__(self, form: Form, repeat: str, columns: Sequence[Column], located: Sequence[str]) -> None:
        self.form_id = form.form_id
        self.repeat = repeat
        self.names = {column.path: column.name for column in columns}
        self.types = {column.name: column.type for column in columns}
        self._located = list(located)
        self._readers = [(column.name, column.read) for column in columns]
        self._levels = _find_levels(form, repeat)
        # Read from the end, where the number of parts is known: a key may hold anything.
        ending = "".join(rf"/{re.escape('/'.join(level))}\[[0-9]+\]" for level in self._levels)
        self._part_id = re.compile(f"(.+){ending}", re.DOTALL)

    def format(self, record: Mapping[str, Any], record_id: str) -> Iterator[dict[str, Any]]:
        """The values of a record's rows: one, or one for each instance of the repeat.

        Every published name is there; see `values.build_reader` for what stands in it. None: empty, not in the
        document, or encrypted. The record is left unchanged.
        """
        if not self.repeat:
            yield {"id": record_id, **{name: read(record) for name, read in self._readers}}
            return
        for suffix, parent, position, instance in _walk(record, self._levels):
            keys = {
                "id": record_id + suffix,
                "submission_id": record_id,
                "parent_id": record_id + parent,
                "position": position,
            }
            yield {**keys, **{name: read(instance) for name, read in self._readers}}

    def name_places(self, shape: str) -> list[str] | None:
        """The row names that give a layer its geometry, the first that is filled counts; None where none does.

        shape: "point", "multipoint", "polyline" or "polygon"; "" for a table. Of the location fields those that
        fit; where there are none, the first field of the form that fits.
        Raises: ConfigError if there are location fields and none of them fits.
        """
        wanted = _SHAPES.get(shape)
        if wanted is None:
            return None
        fit = [name for name, type_ in self.types.items() if type_ == wanted]
        if self._located:
            named = [name for name in self._located if name in fit]
            if not named:
                raise ConfigError(
                    f"{self.form_id}: the layer holds {shape} geometry, which comes from fields of type {wanted}; "
                    f"location_fields names none ({', '.join(self._located)}). Nothing was sent. "
                    "Correct location_fields or layer_id."
                )
            return named
        if len(fit) > 1:
            log.warning(
                "%s: %s gives the places of the layer; so could %s: name the right one in location_fields",
                self.form_id,
                fit[0],
                ", ".join(fit[1:]),
            )
        return fit[:1] or None

    def build_parts(self) -> Parts | None:
        """What an incremental run needs to take out rows that vanished from a submission; None for main rows."""
        return Parts(self.find_owner) if self.repeat else None

    def find_owner(self, row_id: str) -> str | None:
        """The submission's key out of a row's id, None for an id of another kind."""
        found = self._part_id.fullmatch(row_id)
        return found[1] if found else None


def compile_formatter(
    form: Form,
    *,
    repeat: str = "",
    location_fields: Iterable[str] = (),
    fields: Iterable[str] | None = None,
    exclude_fields: Iterable[str] = (),
) -> RowFormatter:
    """Prepare the shaping of a form's submissions.

    Args:
        repeat: path of the repeat whose rows are wanted; "" for main rows.
        location_fields: the geopoint, geotrace or geoshape fields that give a layer its geometry.
        fields: the only fields to publish; None publishes all. The keys always are.
        exclude_fields: fields not to publish, also if `fields` names them.
        Entries are paths ("building/floors", names as the form or as the feed has them) or row names; the path of
        a group means all fields in it. Row names do not depend on what is left out.
    Raises: ConfigError if there is no such repeat, an entry names no field, or a location field is none or
        is left out.
    """
    repeat = "/".join(form.find_repeat(repeat).odata_path) if repeat else ""
    columns, aliases = _list_columns(form, repeat)

    def find(entries: Iterable[str], setting: str) -> list[str]:
        return _find_paths(entries, aliases, form.form_id, setting)

    left = {column.path for column in columns}
    if fields is not None:
        left = set(find(fields, "fields"))
    excluded = find(exclude_fields, "exclude_fields")
    if keys := [path.removeprefix(_KEY) for path in excluded if path.startswith(_KEY)]:
        raise ConfigError(
            f"{form.form_id}: exclude_fields names {keys[0]!r}, by which rows are told apart. Nothing was sent. "
            "Take it out of exclude_fields; a field of the form with this name goes by its row name."
        )
    left.difference_update(excluded)
    by_path = {column.path: column for column in columns}
    located = []
    for path in find(location_fields, "location_fields"):
        type_ = by_path[path].type if path in by_path else "key"
        if type_ not in PLACES:
            raise ConfigError(
                f"{form.form_id}: location_fields names {path!r}, a field of type {type_}; only geopoint, geotrace "
                "and geoshape have coordinates. Nothing was sent. Correct location_fields."
            )
        if path not in left:
            raise ConfigError(
                f"{form.form_id}: location_fields names {path!r}, which fields or exclude_fields leave out. "
                "Nothing was sent. Publish it, or take it out of location_fields."
            )
        located.append(by_path[path].name)
    return RowFormatter(form, repeat, [column for column in columns if column.path in left], located)


def format_rows(
    documents: Iterable[Document],
    formatter: RowFormatter,
    *,
    on_reject: OnReject,
    parts: Parts | None = None,
) -> Iterator[Row]:
    """Shape documents as rows, one by one; a repeat's rows have the submission's key as their record id.

    A document that is no JSON object goes to `on_reject` and gives no row; if it is deleted, its row holds the
    id alone. parts: is told of every document of a repeat's rows; a deleted one gives no rows then.
    """
    for document in documents:
        record = read_record(document, on_reject)
        if record is None:
            continue
        if parts is not None:
            parts.note(document.record_id)
            if document.deleted:
                continue
        for values in formatter.format(record, document.record_id):
            yield Row(document.record_id, values, document.deleted)


def list_fields(form: Form, formatter: RowFormatter) -> Iterator[SourceField]:
    """All fields that a form's rows, or those of the formatter's repeat, may have; the keys first."""
    for name in _PART_KEY_NAMES if formatter.repeat else _KEY_NAMES:
        yield SourceField(_KEY + name, name, name, "int" if name == "position" else "key")
    for column in _list_columns(form, formatter.repeat)[0]:
        yield SourceField(column.path, column.path, column.name, column.type, column.path in formatter.names)


def build_row_names(paths: Iterable[str], reserved: Iterable[str] = _KEY_NAMES) -> dict[str, str]:
    """{field path: row name}: groups before names, lower case, slashes, spaces and dashes as underscores.

    A field called "id" is "_id". Of fields that share a name, the first keeps it, the others end in "_<path>", with
    double underscores for the slashes; so do those that have a reserved name.
    """
    wanted = ((path, re.sub("[/ -]", "_", path.lower())) for path in paths)
    named = ((path, "_id" if name == "id" else name) for path, name in wanted)
    return keep_apart(named, reserved, lambda path: path.replace("/", "__"))


def _list_columns(form: Form, repeat: str) -> tuple[list[Column], dict[str, dict[str, None]]]:
    """(every field that rows may have, {what a setting may call it: the paths it means})."""
    found = _drop_doubles(form.repeat_fields(repeat) if repeat else form.main_fields)
    outer = form.find_repeat(repeat).path.strip("/") + "/" if repeat else ""
    inner = {field.path: field.path.strip("/").removeprefix(outer) for field in found}
    system = {} if repeat else {_spell_system(member): member for member in _SYSTEM}
    keys = _PART_KEY_NAMES if repeat else _KEY_NAMES
    names = build_row_names(inner.values(), [*keys, *system])
    columns = [
        Column(
            inner[field.path],
            names[inner[field.path]],
            field.type,
            build_reader(field.inner_path, field.type, field.select_multiple),
        )
        for field in found
    ]
    columns += [
        Column(
            f"__system/{member}", name, _SYSTEM[member], build_reader(("__system", member), _SYSTEM[member])
        )
        for name, member in system.items()
    ]
    spellings = (
        {name: _KEY + name for name in keys},
        {column.path: column.path for column in columns},
        {field.path.strip("/"): inner[field.path] for field in found},
        {"/".join(field.inner_path): inner[field.path] for field in found},
        {"/".join(field.odata_path): inner[field.path] for field in found},
        {column.name: column.path for column in columns},
    )
    # What is a path of one field and a row name of another means the former alone.
    aliases: dict[str, dict[str, None]] = {}
    for paths in spellings:
        more: dict[str, dict[str, None]] = {}
        for spelling, path in paths.items():
            for known in _list_groups(spelling):
                more.setdefault(known, {})[path] = None
        aliases = {**more, **aliases}
    return columns, aliases


def _list_groups(path: str) -> Iterator[str]:
    """A path and the groups on the way to it: "a/b/c", "a/b", "a"."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _spell_system(member: str) -> str:
    return "system_" + re.sub("([A-Z])", r"_\1", member).lower()


def _drop_doubles(fields: Sequence[Field]) -> list[Field]:
    """Fields that the feed runs together are one; the first gives its name."""
    first: dict[tuple[str, ...], Field] = {}
    for field in fields:
        first.setdefault(field.odata_path, field)
    return list(first.values())


def _find_paths(
    entries: Iterable[str], aliases: Mapping[str, Mapping[str, None]], form_id: str, setting: str
) -> list[str]:
    """The paths that the entries of a setting mean, each once, in their order."""
    paths: dict[str, None] = {}
    for entry in entries:
        known = entry.strip("/")
        if known not in aliases:
            near = difflib.get_close_matches(known, aliases, n=1, cutoff=0.4)
            hint = f"; nearest: {near[0]!r}" if near else ""
            raise ConfigError(
                f"{form_id}: {setting} names {entry!r}, which is no field of its rows{hint}. Nothing was sent. "
                f"Correct {setting}, or run metadata_to_postgrest.py if the field is new."
            )
        paths.update(aliases[known])
    return list(paths)


def _find_levels(form: Form, repeat: str) -> list[tuple[str, ...]]:
    """The names to walk from each repeat to the next inner one, the outermost first."""
    whole = tuple(repeat.split("/")) if repeat else ()
    paths = {outer.odata_path for outer in form.repeats}
    ends = sorted(len(path) for path in paths if path == whole[: len(path)])
    return [whole[start:end] for start, end in zip([0, *ends], ends)]


def _walk(
    record: Mapping[str, Any], levels: Sequence[tuple[str, ...]], above: str = ""
) -> Iterator[tuple[str, str, int, Mapping[str, Any]]]:
    """(end of its id, end of its parent's id, position, values) of each instance of the innermost repeat."""
    *groups, name = levels[0]
    inner: Any = record
    for group in groups:
        inner = inner.get(group) if isinstance(inner, Mapping) else None
    instances = inner.get(name) if isinstance(inner, Mapping) else None
    if not isinstance(instances, list):
        return
    for position, instance in enumerate(instances, start=1):
        if not isinstance(instance, dict):
            continue
        here = f"{above}/{'/'.join(levels[0])}[{position}]"
        if len(levels) == 1:
            yield here, above, position, instance
        else:
            yield from _walk(instance, levels[1:], here)
