"""One layer or table: its definition, its features, and edits as one transaction each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dev.simulators.agol.geometry import (
    Geometry,
    describe_reference,
    format_geometry,
    normalize_wkid,
    read_geometry,
)
from dev.simulators.agol.refusals import EditRefusal
from dev.simulators.agol.switches import Switches
from dev.simulators.agol.values import Field, build_checker, normalize_text, read_field

if TYPE_CHECKING:
    from dev.simulators.agol.watch import Watch

OBJECT_ID = "OBJECTID"
ROLLED_BACK = EditRefusal(1003, "Operation rolled back.")


@dataclass(frozen=True, slots=True)
class Feature:
    """A stored feature; never changed, an edit puts a new one in its place."""

    attributes: dict[str, Any]
    geometry: Geometry | None


@dataclass
class _Commit:
    """What an edit changed, for reads that do not show it yet: the features as they were before."""

    before: dict[int, Feature | None]
    at: float
    reads_left: int


@dataclass(frozen=True)
class LayerState:
    """A layer's features at one moment."""

    rows: dict[int, Feature]
    next_id: int


class Layer:
    """State of one layer or table. Callers hold the simulator's lock."""

    def __init__(
        self,
        layer_id: int,
        *,
        kind: str,
        fields: Sequence[Mapping[str, Any]] | Mapping[str, tuple[Any, ...]],
        geometry: str | None,
        unique_key: str | None,
        spatial_reference: int,
        max_record_count: int,
        name: str,
        switches: Switches,
    ) -> None:
        if kind not in ("layer", "table"):
            raise ValueError(f'kind is {kind!r}, expected "layer" or "table"')
        self.layer_id = layer_id
        self.name = name
        self.is_table = kind == "table"
        self.geometry = None if self.is_table else geometry
        self.wkid = normalize_wkid(spatial_reference)
        self.max_record_count = max_record_count
        self.switches = switches
        self.capabilities = "Create,Delete,Query,Update,Editing"
        self.supports_truncate = True
        self.supports_append = True
        self.rows: dict[int, Feature] = {}
        self.next_id = 1
        self.unique: dict[str, str] = {}
        self.watches: list[Watch] = []
        self._commits: list[_Commit] = []
        self._indexes: dict[tuple[str, bool], dict[Any, set[int]]] = {}
        self.set_fields(_read_fields(fields))
        if unique_key is not None:
            self.add_unique_index(unique_key)

    def set_fields(self, fields: Iterable[Field]) -> None:
        """Give the layer these fields, beside the object id."""
        self.fields = [Field(OBJECT_ID, "OID", nullable=False, editable=False)]
        self.fields += [item for item in fields if item.name.lower() != OBJECT_ID.lower()]
        self.by_name = {item.name.lower(): item for item in self.fields}
        self._checkers = {item.name: build_checker(item, self.switches) for item in self.fields}
        self._blank = {item.name: item.default for item in self.fields}
        self._required = [item.name for item in self.fields[1:] if not item.nullable]
        self._plain = {item.name: item.name for item in self.fields[1:] if item.editable}
        for object_id, feature in self.rows.items():
            self.rows[object_id] = Feature({**self._blank, **feature.attributes}, feature.geometry)

    def add_unique_index(self, name: str) -> None:
        """Refuse duplicates in a field from now on; raises ValueError where there are some."""
        found = self.by_name.get(name.lower())
        if found is None:
            raise ValueError(f"field {name} does not exist")
        if self.find_duplicates(found.name):
            raise ValueError(f"field {found.name} has duplicate values")
        self.unique[found.name] = f"{found.name}_unique"

    def describe(self) -> dict[str, Any]:
        """The layer's JSON."""
        reference = describe_reference(self.wkid)
        said: dict[str, Any] = {
            "currentVersion": 11.4,
            "id": self.layer_id,
            "name": self.name,
            "type": "Table" if self.is_table else "Feature Layer",
            "objectIdField": OBJECT_ID,
            "uniqueIdField": {"name": OBJECT_ID, "isSystemMaintained": True},
            "globalIdField": "",
            "fields": [item.describe() for item in self.fields],
            "indexes": [
                {"name": "PK_" + OBJECT_ID, "fields": OBJECT_ID, "isAscending": True, "isUnique": True},
                *(
                    {"name": index, "fields": name, "isAscending": True, "isUnique": True}
                    for name, index in self.unique.items()
                ),
            ],
            "relationships": [],
            "maxRecordCount": self.max_record_count,
            "standardMaxRecordCount": self.max_record_count,
            "capabilities": self.capabilities,
            "supportsTruncate": self.supports_truncate,
            "supportsAppend": self.supports_append,
            "supportsRollbackOnFailureParameter": True,
            "supportsStatistics": True,
            "supportsAdvancedQueries": True,
            "advancedQueryCapabilities": {
                "supportsPagination": True,
                "supportsStatistics": True,
                "supportsHavingClause": True,
                "supportsOrderBy": True,
                "supportsReturningQueryExtent": False,
            },
            "advancedEditingCapabilities": {"supportsAsyncApplyEdits": False},
            "supportedQueryFormats": "JSON",
            "cacheMaxAge": 30,
            "hasAttachments": False,
            "isDataVersioned": False,
        }
        if self.geometry is not None:
            said["geometryType"] = self.geometry
            said["spatialReference"] = reference
            said["extent"] = {
                "xmin": 0,
                "ymin": 0,
                "xmax": 0,
                "ymax": 0,
                "spatialReference": reference,
            }
            said["hasZ"] = said["hasM"] = False
        return said

    # What tests and queries look at.

    def snapshot(self) -> LayerState:
        """The features as they are now."""
        return LayerState(dict(self.rows), self.next_id)

    def restore(self, state: LayerState) -> None:
        """Be as at that moment; nobody watches any more."""
        self.rows = dict(state.rows)
        self.next_id = state.next_id
        self.watches.clear()
        self._commits.clear()
        self._indexes.clear()

    def features(self, wkid: int | None = None) -> list[dict[str, Any]]:
        """The truth: [{"attributes", "geometry"}] in object-id order; geometry in the layer's own
        reference, or in `wkid`, without the reference; None where there is none."""
        target = self.wkid if wkid is None else normalize_wkid(wkid)
        return [
            {
                "attributes": dict(feature.attributes),
                "geometry": format_geometry(feature.geometry, self.geometry, self.wkid, target),
            }
            for _, feature in sorted(self.rows.items())
        ]

    def find_ids(self, key_field: str) -> dict[Any, list[int]]:
        """Object ids by the value of a field."""
        found: dict[Any, list[int]] = {}
        for object_id, feature in sorted(self.rows.items()):
            found.setdefault(feature.attributes[key_field], []).append(object_id)
        return found

    def find_duplicates(self, key_field: str) -> dict[Any, int]:
        """Values that more than one feature has, as they are compared, with their number; not null."""
        return {
            key: len(ids) for key, ids in self.index(key_field).items() if len(ids) > 1 and key is not None
        }

    def index(self, name: str) -> dict[Any, set[int]]:
        """Object ids by the compared value of a field; kept up to date from its first use."""
        ignores_case = self.switches.text_ignores_case
        if (name, ignores_case) not in self._indexes:
            made: dict[Any, set[int]] = {}
            for object_id, feature in self.rows.items():
                made.setdefault(_compared(feature.attributes[name], ignores_case), set()).add(object_id)
            self._indexes[name, ignores_case] = made
        return self._indexes[name, ignores_case]

    def read_rows(self) -> tuple[dict[int, Feature], bool]:
        """The features as a query sees them now, and whether that is all that was written."""
        while self._commits:
            first = self._commits[0]
            if first.reads_left > 0 or first.at + self.switches.stale_seconds > time.monotonic():
                break
            self._commits.pop(0)
        if not self._commits:
            return self.rows, True
        rows = dict(self.rows)
        for commit in reversed(self._commits):
            for object_id, feature in commit.before.items():
                if feature is None:
                    rows.pop(object_id, None)
                else:
                    rows[object_id] = feature
        for commit in self._commits:
            commit.reads_left -= 1
        return rows, False

    # Edits.

    def apply(
        self,
        adds: Sequence[Mapping[str, Any]] = (),
        updates: Sequence[Mapping[str, Any]] = (),
        deletes: Sequence[int] = (),
        rollback: bool = False,
    ) -> dict[str, list[dict[str, Any]]]:
        """Carry out adds, then updates, then deletes, as one transaction.

        Returns: {"addResults", "updateResults", "deleteResults"}, an entry per edit, in order. With
            `rollback`, one refused entry undoes all others (1003).
        """
        before: dict[int, Feature | None] = {}
        results = {
            "addResults": [self._carry_out(self._add, item, before) for item in adds],
            "updateResults": [self._carry_out(self._update, item, before) for item in updates],
            "deleteResults": [self._carry_out(self._delete, item, before) for item in deletes],
        }
        entries = [entry for part in results.values() for entry in part]
        if rollback and not all(entry["success"] for entry in entries):
            for object_id, old in before.items():
                self._put(object_id, old)
            for name, part in results.items():
                results[name] = [
                    _format_failure(-1 if name == "addResults" else entry["objectId"], ROLLED_BACK)
                    if entry["success"]
                    else entry
                    for entry in part
                ]
            return results
        self._commit(before)
        return results

    def truncate(self) -> None:
        """Remove everything; object ids start at 1 again."""
        before: dict[int, Feature | None] = dict(self.rows)
        for object_id in before:
            self._put(object_id, None)
        self.next_id = 1
        self._commit(before)

    def _carry_out(self, edit: Any, item: Any, before: dict[int, Feature | None]) -> dict[str, Any]:
        try:
            object_id, feature = edit(item)
        except EditRefusal as refusal:
            known = item if isinstance(item, int) else self._read_object_id(item)
            return _format_failure(-1 if edit == self._add or known is None else known, refusal)
        if object_id in self.rows or feature is not None:
            before.setdefault(object_id, self.rows.get(object_id))
            self._put(object_id, feature)
        return {"objectId": object_id, "uniqueId": object_id, "globalId": None, "success": True}

    def _add(self, item: Mapping[str, Any]) -> tuple[int, Feature]:
        given = self._read_attributes(item)
        attributes = dict(self._blank)
        for name, value in given.items():
            attributes[name] = self._checkers[name](value)
        for name in self._required:
            self._checkers[name](attributes[name])
        geometry = self._read_geometry(item.get("geometry"))
        self._check_unique(attributes, -1)
        object_id = self.next_id
        self.next_id += 1
        attributes[OBJECT_ID] = object_id
        return object_id, Feature(attributes, geometry)

    def _update(self, item: Mapping[str, Any]) -> tuple[int, Feature]:
        object_id = self._read_object_id(item)
        old = self.rows.get(object_id) if object_id is not None else None
        if object_id is None or old is None:
            raise EditRefusal(1011, "The object is missing.")
        attributes = dict(old.attributes)
        for name, value in self._read_attributes(item).items():
            attributes[name] = self._checkers[name](value)
        # An absent geometry stays, an explicit null clears it.
        geometry = self._read_geometry(item["geometry"]) if "geometry" in item else old.geometry
        self._check_unique(attributes, object_id)
        return object_id, Feature(attributes, geometry)

    def _delete(self, object_id: int) -> tuple[int, None]:
        if object_id not in self.rows and self.switches.missing_delete == "error":
            raise EditRefusal(1011, "The object is missing.")
        return object_id, None

    def _read_attributes(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The item's attributes by the layer's own names, without the object id."""
        given: dict[str, Any] = {}
        for name, value in (item.get("attributes") or {}).items():
            found = self._plain.get(name) or self._find_writable(name)
            if found:
                given[found] = value
        return given

    def _find_writable(self, name: str) -> str | None:
        """The field that an attribute's name means; None where it is to be left alone."""
        known = self.by_name.get(name.lower())
        if known is not None and known.name != name and not self.switches.names_ignore_case:
            known = None
        if known is None and self.switches.unknown_attributes == "error":
            raise EditRefusal(1000, f"Field {name} does not exist.")
        if known is None or known.name == OBJECT_ID:
            return None
        if not known.editable:
            raise EditRefusal(1023, f"Field {known.name} is not editable.")
        return known.name

    def _read_object_id(self, item: Mapping[str, Any]) -> int | None:
        for name, value in (item.get("attributes") or {}).items():
            if name.lower() == OBJECT_ID.lower() and type(value) is int:
                return value
        return None

    def _read_geometry(self, value: Any) -> Geometry | None:
        accepts_text = self.switches.text_coordinates == "accept"
        return read_geometry(value, self.geometry, self.wkid, accepts_text)

    def _check_unique(self, attributes: Mapping[str, Any], object_id: int) -> None:
        for name in self.unique:
            value = _compared(attributes[name], self.switches.text_ignores_case)
            if value is not None and self.index(name).get(value, set()) - {object_id}:
                raise EditRefusal(
                    1022, f"Violation of unique constraint: cannot insert duplicate key in {name}."
                )

    def _put(self, object_id: int, feature: Feature | None) -> None:
        old = self.rows.pop(object_id, None) if feature is None else self.rows.get(object_id)
        if feature is not None:
            self.rows[object_id] = feature
        for (name, ignores_case), index in self._indexes.items():
            if old is not None:
                key = _compared(old.attributes[name], ignores_case)
                index[key].discard(object_id)
                if not index[key]:
                    del index[key]
            if feature is not None:
                index.setdefault(_compared(feature.attributes[name], ignores_case), set()).add(object_id)

    def _commit(self, before: dict[int, Feature | None]) -> None:
        if not before:
            return
        if self.switches.stale_seconds or self.switches.stale_reads:
            self._commits.append(_Commit(before, time.monotonic(), self.switches.stale_reads))
        for watch in self.watches:
            watch.note(before)


def _read_fields(fields: Sequence[Mapping[str, Any]] | Mapping[str, tuple[Any, ...]]) -> list[Field]:
    if not isinstance(fields, Mapping):
        return [read_field(dict(item)) for item in fields]
    named = ("type", "length", "nullable", "editable")
    return [read_field({"name": name, **dict(zip(named, spec))}) for name, spec in fields.items()]


def _compared(value: Any, ignores_case: bool) -> Any:
    return normalize_text(value, ignores_case) if isinstance(value, str) else value


def _format_failure(object_id: int, refusal: EditRefusal) -> dict[str, Any]:
    return {
        "objectId": object_id,
        "uniqueId": object_id,
        "globalId": None,
        "success": False,
        "error": {"code": refusal.code, "description": refusal.description},
    }
