"""All records of the app: reading them as a container shows them, and changing them."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from dev.simulators.knack.apps import App, Column, Container, ObjectDef
from dev.simulators.knack.switches import Refusal
from dev.simulators.knack.tables import Table, encode
from dev.simulators.knack.values import (
    ABSENT,
    COMPUTED_TYPES,
    Cell,
    Field,
    Setting,
    blank_cell,
    build_cell,
    cell_text,
    is_blank,
    is_multiple,
    set_cell,
    show_connection,
)


class Store:
    """The state of one app. Not locked: the simulator's lock is held by the caller."""

    def __init__(self, app: App, setting: Setting, clock: Callable[[], datetime], seed: int) -> None:
        self.app = app
        self.setting = setting
        self.clock = clock
        self.tables: dict[str, Table] = {key: Table() for key in app.objects}
        self._random = random.Random(seed)
        # Grows with every change: what was worked out before one is worth nothing after it.
        self.version = 0
        self._shown: dict[str, dict[str, bytes]] = {}

    def use_app(self, app: App) -> None:
        """Change the metadata; records stay as they are, also where they lack a new field."""
        self.app = app
        for key in app.objects:
            self.tables.setdefault(key, Table())
        self.version += 1
        self._shown.clear()

    def load(self, object_key: str, records: Iterable[dict[str, Any] | bytes]) -> None:
        """Take records as they are, in the order of their creation."""
        table = self.tables[object_key]
        for record in records:
            table.load(record)
        self.version += 1
        self._shown.clear()

    def snapshot(self) -> dict[str, dict[str, bytes]]:
        """All records as they are, for `restore`."""
        return {key: dict(table.rows) for key, table in self.tables.items()}

    def restore(self, kept: Mapping[str, Mapping[str, bytes]]) -> None:
        """Have a snapshot's records again and no others."""
        self.tables = {key: Table() for key in self.app.objects}
        for key, rows in kept.items():
            self.tables[key].rows = dict(rows)
        self.version += 1
        self._shown.clear()

    # Reading

    def cells(self, container: Container, column: Column) -> dict[str, Cell]:
        """{record id: cell} of a container's column, also where it lies behind a connection."""
        table = self.tables[container.object_key]
        if column.connection is None:
            return table.column(column.key)
        theirs = self.tables[column.object_key].column(column.key)
        links = table.column(column.connection["key"])
        return {one: _connect(column, link[1], theirs) for one, link in links.items()}

    def show(self, container: Container, record_id: str) -> bytes:
        """A record as the container shows it, in `both` format."""
        table = self.tables[container.object_key]
        if not container.scene:
            return table.rows[record_id]
        shown = self._shown.setdefault(container.key, {})
        if record_id not in shown:
            # The parts stay the bytes that they were.
            record = msgspec.json.decode(table.rows[record_id], type=dict[str, msgspec.Raw])
            view: dict[str, Any] = {"id": record_id}
            for column in container.columns:
                key = column.key
                if column.connection is not None:
                    link = table.column(column.connection["key"])[record_id]
                    theirs = self.tables[column.object_key].column(key)
                    set_cell(view, key, _connect(column, link[1], theirs))
                elif key in record:
                    set_cell(view, key, (record[key], record.get(f"{key}_raw", ABSENT)))
            shown[record_id] = encode(view)
        return shown[record_id]

    # Changing

    def create(self, object_key: str, values: Mapping[str, Any], touch: bool, trusted: bool) -> str:
        """Add a record; gives its id. trusted: computed fields and ready-made cells are taken as given.

        Raises: Refusal with the fields that Knack would refuse.
        """
        one, table = self.app.objects[object_key], self.tables[object_key]
        record_id = str(values.get("id") or "") if trusted else ""
        record_id = record_id or f"{int(time.time()):08x}{self._random.getrandbits(64):016x}"
        record: dict[str, Any] = {"id": record_id}
        for field in one.fields.values():
            cell = blank_cell(field)
            if field["type"] == "auto_increment":
                taken = [cell[1] for cell in table.column(field["key"]).values() if isinstance(cell[1], int)]
                cell = (max(taken, default=0) + 1,) * 2
            set_cell(record, field["key"], cell)
        self._write(one, record, values, touch, trusted)
        return record_id

    def edit(
        self, object_key: str, record_id: str, values: Mapping[str, Any], touch: bool, trusted: bool
    ) -> None:
        """Change fields of a record; the others stay as they are.

        Raises: Refusal, with the fields that Knack would refuse or for an unknown id.
        """
        table = self.tables[object_key]
        if not table.lives(record_id):
            raise Refusal(404, "Record not found")
        self._write(self.app.objects[object_key], table.read(record_id), values, touch, trusted)

    def delete(self, object_key: str, record_id: str, leave_ghost: bool = False) -> None:
        """Delete a record, and its place in other records' connections.

        Raises: Refusal for an unknown id.
        """
        table = self.tables[object_key]
        if not table.lives(record_id):
            raise Refusal(404, "Record not found")
        if leave_ghost:
            table.ghosts.add(record_id)
            table.hidden.add(record_id)
        else:
            table.drop(record_id)
        self._forget(object_key, record_id)
        self._rename(object_key, record_id, None)

    def find_identifier(self, object_key: str, record_id: str) -> str | None:
        """The words by which connections name a record; None if there is no such record."""
        table, one = self.tables.get(object_key), self.app.objects.get(object_key)
        if table is None or one is None or not table.lives(record_id):
            return None
        return str(table.column(one.identifier)[record_id][0]) if one.identifier else record_id

    def _write(
        self, one: ObjectDef, record: dict[str, Any], values: Mapping[str, Any], touch: bool, trusted: bool
    ) -> None:
        errors = []
        for key, value in values.items():
            field = one.fields.get(key)
            if field is None or (field["type"] in COMPUTED_TYPES and not trusted):
                continue
            try:
                if trusted and f"{key}_raw" in values:
                    set_cell(record, key, (value, values[f"{key}_raw"]))
                else:
                    set_cell(record, key, build_cell(field, value, self.setting))
            except (ValueError, KeyError, TypeError) as error:
                errors.append({"field": key, "message": str(error) or f"{field['name']} is not valid."})
        if not trusted:
            errors += self._find_violations(one, record)
        if errors:
            raise Refusal(400, "", errors)
        stamp = one.modified_field()
        if touch and stamp and stamp not in values:
            set_cell(record, stamp, build_cell(one.fields[stamp], self.clock(), self.setting))
        for field in one.fields.values():
            if field["type"] == "concatenation" and field["key"] not in values:
                _work_out(field, record)
        before = self.find_identifier(one.key, record["id"])
        self.tables[one.key].put(record["id"], encode(record))
        self._forget(one.key, record["id"])
        after = self.find_identifier(one.key, record["id"])
        if before not in (None, after):
            self._rename(one.key, record["id"], after)

    def _find_violations(self, one: ObjectDef, record: dict[str, Any]) -> list[dict[str, str]]:
        errors = []
        for key, field in one.fields.items():
            cell = (record[key], record.get(f"{key}_raw", ABSENT)) if key in record else ("", ABSENT)
            if is_blank(cell):
                if field.get("required"):
                    errors.append({"field": key, "message": f"{field['name']} is required."})
            elif field.get("unique") and any(
                other == cell and holder != record["id"]
                for holder, other in self.tables[one.key].column(key).items()
            ):
                errors.append({"field": key, "message": f"{field['name']} must be unique."})
        return errors

    def _forget(self, object_key: str, record_id: str) -> None:
        """Drop what was worked out from a record that changed."""
        self.version += 1
        for key, shown in self._shown.items():
            container = self.app.containers[key]
            if any(column.object_key == object_key for column in container.columns):
                shown.clear()
            elif container.object_key == object_key:
                shown.pop(record_id, None)

    def _rename(self, object_key: str, record_id: str, identifier: str | None) -> None:
        """Carry a new identifier into the records connected to it; None takes the connection away.

        No date on those records changes.
        """
        for owner, field in self.app.connections_to(object_key):
            table, key = self.tables[owner], field["key"]
            for one, (_, raw) in list(table.column(key).items()):
                if not isinstance(raw, list) or all(link["id"] != record_id for link in raw):
                    continue
                links = [
                    {**link, "identifier": identifier} if link["id"] == record_id else link
                    for link in raw
                    if link["id"] != record_id or identifier is not None
                ]
                record = table.read(one)
                set_cell(record, key, (show_connection(links), links))
                table.put(one, encode(record))
                self._forget(owner, one)


def reshape(body: bytes, shape: str) -> bytes:
    """A record of `both` format as format=raw or format=html gives it."""
    record: dict[str, Any] = msgspec.json.decode(body)
    shown = {key: value for key, value in record.items() if not key.endswith("_raw")}
    if shape == "raw":
        shown = {key: record.get(f"{key}_raw", value) for key, value in shown.items()}
    return encode(shown)


def _connect(column: Column, raw: Any, theirs: Mapping[str, Cell]) -> Cell:
    """A connected column's cell: the connected record's own, through a to-many connection a list."""
    links = [link["id"] for link in raw] if isinstance(raw, list) else []
    found = [(one, theirs[one]) for one in links if one in theirs]
    if column.connection is None or not is_multiple(column.connection):
        return found[0][1] if found else ("", ABSENT)
    filled = [(one, cell) for one, cell in found if not is_blank(cell)]
    if not filled:
        return "", ABSENT
    display = "<br />".join(f'<span class="{one}">{cell[0]}</span>' for one, cell in filled)
    return display, [cell[0] if cell[1] is ABSENT else cell[1] for _, cell in filled]


def _work_out(field: Field, record: dict[str, Any]) -> None:
    """A text formula of plain {field_N} parts; one with functions in it stays as it was."""
    formula = str((field.get("format") or {}).get("equation", ""))
    if not formula or "(" in formula:
        return

    def put(found: re.Match[str]) -> str:
        return cell_text((record.get(found[1], ""), ABSENT))

    text = re.sub(r"\{(field_\d+)\}", put, formula)
    set_cell(record, field["key"], (text, text))
