"""The editing operations of a layer: what is read, guarded, carried out and noted down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dev.simulators.agol.forms import read_features
from dev.simulators.agol.layer import OBJECT_ID, Layer
from dev.simulators.agol.query import read_ids, select_ids
from dev.simulators.agol.refusals import Refusal, refuse_edit
from dev.simulators.agol.values import contains_html

EDITS = frozenset({"applyEdits", "addFeatures", "updateFeatures", "deleteFeatures", "append"})
ADMIN_EDITS = frozenset({"truncate", "addToDefinition"})


@dataclass
class EditCall:
    """One line of the edits log: what was asked, its size, and how many entries were refused.

    code: of the error that refused the whole request, 0 where there was none. changed: features it
    added, updated and deleted (a job's work is not in it).
    """

    operation: str
    service_id: str
    layer_id: int
    body_bytes: int
    adds: int = 0
    updates: int = 0
    deletes: int = 0
    failed: int = 0
    changed: int = 0
    code: int = 0
    at: float = field(default_factory=time.time)


def edit_layer(layer: Layer, operation: str, form: dict[str, str], call: EditCall) -> dict[str, Any]:
    """applyEdits, addFeatures, updateFeatures, deleteFeatures, carried out at once; raises Refusal."""
    adds: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    deletes: list[int] = []
    if operation == "applyEdits":
        if _is_true(form, "async", "false"):
            raise refuse_edit("'async' is not supported by the layer")
        adds, updates = read_features(form, "adds"), read_features(form, "updates")
        deletes = read_ids(form.get("deletes", ""))
    elif operation == "deleteFeatures":
        deletes = read_targets(layer, form)
    elif not form.get("features", "").strip():
        raise refuse_edit("'features' parameter not specified")
    elif operation == "addFeatures":
        adds = read_features(form, "features")
    else:
        updates = read_features(form, "features")
    call.adds, call.updates, call.deletes = len(adds), len(updates), len(deletes)
    guard_html(layer, adds)
    guard_html(layer, updates)
    limit = layer.switches.max_edit_features
    if limit is not None and len(adds) + len(updates) + len(deletes) > limit:
        raise Refusal(504, "Your request has timed out.")
    results = apply_edits(layer, adds, updates, deletes, _is_true(form, "rollbackOnFailure", "true"), call)
    if operation == "applyEdits":
        return dict(results)
    name = {
        "addFeatures": "addResults",
        "updateFeatures": "updateResults",
        "deleteFeatures": "deleteResults",
    }[operation]
    if operation == "deleteFeatures" and not _is_true(form, "returnDeleteResults", "true"):
        return {"success": all(entry["success"] for entry in results[name])}
    return {name: results[name]}


def apply_edits(
    layer: Layer,
    adds: Sequence[Mapping[str, Any]],
    updates: Sequence[Mapping[str, Any]],
    deletes: Sequence[int],
    rollback: bool,
    call: EditCall,
) -> dict[str, list[dict[str, Any]]]:
    """Carry a transaction out and note it down; raises Refusal where a rollback is told as one 400."""
    results = layer.apply(adds, updates, deletes, rollback)
    entries = [entry for part in results.values() for entry in part]
    call.failed = sum(not entry["success"] for entry in entries)
    call.changed = len(entries) - call.failed
    if rollback and call.failed and layer.switches.rollback_answer == "request":
        raise Refusal(400, "Unable to complete operation.", "Unable to perform applyEdits operation.")
    return results


def read_targets(layer: Layer, form: Mapping[str, str]) -> list[int]:
    """Object ids that deleteFeatures names, by `objectIds` or `where`; raises Refusal."""
    if form.get("objectIds", "").strip():
        return read_ids(form["objectIds"])
    if not form.get("where", "").strip():
        raise refuse_edit("'objectIds' or 'where' must be specified")
    return select_ids(layer, form["where"])


def guard_html(layer: Layer, features: Sequence[Mapping[str, Any]]) -> None:
    """Refuse the whole request for one value with markup; raises Refusal."""
    if layer.switches.html_guard != "request":
        return
    lone = layer.switches.lone_angle_is_html
    for feature in features:
        for name, value in (feature.get("attributes") or {}).items():
            if type(value) is str and ("<" in value or ">" in value) and contains_html(value, lone):
                raise Refusal(400, "", f"Field {name} has invalid html content.")


def append_features(layer: Layer, form: dict[str, str], call: EditCall) -> int:
    """`append` of a feature collection, all or nothing; gives the number of rows. Raises Refusal."""
    if form.get("appendUploadFormat") != "featureCollection":
        raise refuse_edit("'appendUploadFormat' is not supported")
    try:
        layers = msgspec.json.decode(form.get("edits", ""))["layers"]
        features = [item for part in layers for item in part["featureSet"]["features"]]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise refuse_edit("'edits' parameter is invalid") from error
    guard_html(layer, features)
    adds, updates = features, []
    if _is_true(form, "upsert", "false"):
        key = layer.by_name.get(form.get("upsertMatchingField", "").lower())
        if key is None or key.name not in layer.unique:
            raise refuse_edit("'upsertMatchingField' has no unique index")
        there = layer.find_ids(key.name)
        adds = []
        for feature in features:
            attributes = feature.get("attributes") or {}
            ids = there.get(attributes.get(key.name)) if attributes.get(key.name) is not None else None
            if ids:
                updates.append({**feature, "attributes": {**attributes, OBJECT_ID: ids[0]}})
            else:
                adds.append(feature)
    results = apply_edits(layer, adds, updates, (), True, call)
    if call.failed:
        bad = next(entry for part in results.values() for entry in part if not entry["success"])
        raise Refusal(400, "Unable to append.", bad["error"]["description"])
    return len(features)


def define(layer: Layer, form: Mapping[str, str]) -> dict[str, Any]:
    """`addToDefinition`: a unique index; raises Refusal."""
    try:
        indexes = msgspec.json.decode(form.get("addToDefinition", ""))["indexes"]
        for index in indexes:
            if index.get("isUnique"):
                layer.add_unique_index(index["fields"])
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refusal(400, "Unable to add feature service definition.", str(error)) from error
    return {"success": True}


def _is_true(form: Mapping[str, str], name: str, default: str) -> bool:
    return (form.get(name, "").strip().lower() or default) == "true"
