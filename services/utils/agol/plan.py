"""What a run would do to a layer, found out before anything is sent. Everything lies on disk (Spool)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.utils.agol.compare import Comparer, pack_note, unpack_note
from services.utils.agol.edits import Edit, set_oid
from services.utils.agol.features import FeatureBuilder, find_fold, fold_key, read_key
from services.utils.agol.layer import (
    Layer,
    LayerField,
    count_features,
    read_by_beginnings,
    read_by_keys,
    read_features,
)
from services.utils.agol.values import Unfit
from services.utils.differences import Difference, Differences
from services.utils.errors import ConfigError, PublishError
from services.utils.parts import Parts
from services.utils.records import Counts, OnReject, Reject, Row
from services.utils.session import pause
from services.utils.spool import Spool

log = logging.getLogger(__name__)

_BATCH = 1000
# Documents whose features are asked for by the beginnings of their keys; of more than so many all is read.
_OWNERS_A_QUERY, _PARTS_ASKED_FOR = 50, 1000


@dataclass
class Rows:
    """The rows of a run as features. Queues of `spool`: "row" (built), "refused" and "gone" (keys only).

    The folded keys of what was built are wanted there. fewest: attributes of the feature that has the fewest; None
    where there is none.
    """

    builder: FeatureBuilder
    spool: Spool = field(default_factory=Spool)
    fewest: int | None = None


@dataclass
class Plan:
    """Queues of `state`: "update" and "add" (edits), "same" (keys that stay as they are), "delete".

    state: the spool of the rows; what is added as it was built is not written again.
    there: records in the layer (keys, and features without one). removed: how many of them would go.
    copies: second features of a key; they go too, but nothing is lost with them.
    """

    state: Spool
    there: int = 0
    wanted: int = 0
    removed: int = 0
    copies: int = 0
    unchanged: int = 0

    def edits(self, queue: str) -> Iterator[Edit]:
        """The edits of a queue, in the order they were planned."""
        for key, packed in self.state.take(queue):
            yield _unpack(key, packed)

    def keys(self, queue: str) -> Iterator[str]:
        """The keys of a queue."""
        return self.state.keys(queue)

    def tell(self, differences: Differences) -> None:
        """Tell of all edits, and how many features there are."""
        differences.held = self.there + self.copies
        for kind, queue in (("missing", "add"), ("differing", "update")):
            for edit in self.edits(queue):
                differences.add(Difference(kind, edit.key, edit.record_id))
        copies = {edit.oid for edit in self.edits("copy")}
        for edit in self.edits("delete"):
            key = edit.record_id or f"no key, object id {edit.oid}"
            differences.add(Difference("extra", key, sure=not edit.key or edit.oid in copies))


def build_rows(
    rows: Iterable[Row], builder: FeatureBuilder, *, replace: bool, counts: Counts, on_reject: OnReject
) -> Rows:
    """Shape all rows; those that do not fit are rejected one by one.

    Raises: ConfigError if no row has the location field: publishing would clear every place.
    """
    built = Rows(builder)
    spool = built.spool
    alive = 0
    for row in rows:
        counts.read += 1
        if row.deleted:
            if not replace:
                _note_deleted(built, row, counts, on_reject)
            continue
        alive += 1
        try:
            feature = builder.build(row)
            key = str(feature["attributes"][builder.key.name])
            try:
                spool.want(fold_key(key))
            except KeyError:
                raise Unfit(
                    f"key {key} occurs twice in this run (keys that differ only in case or in spaces at "
                    "their end are one)"
                ) from None
        except Unfit as error:
            refuse_row(row.record_id, str(error), row.values, counts, on_reject)
            known = builder.find_key(row)
            if known is not None:
                spool.put("refused", known, b"")
            continue
        count = len(feature["attributes"])
        built.fewest = count if built.fewest is None else min(built.fewest, count)
        spool.put("row", key, _pack(row.record_id, 0, msgspec.json.encode(feature)))
    if alive and builder.location_names and not builder.place_seen:
        raise ConfigError(
            f"none of the {alive} rows for {builder.layer.where} has the location field "
            f"{' or '.join(builder.location_names)}, so every place would be cleared. Nothing was sent. "
            "Correct location_fields."
        )
    unfilled = [f.name for f in builder.layer.fields if f.editable and f not in builder.used]
    if alive and unfilled:
        log.info("fields of %s that no row fills: %s", builder.layer.where, ", ".join(unfilled))
    return built


def refuse_row(record_id: str, reason: str, content: Any, counts: Counts, on_reject: OnReject) -> None:
    """Report a row as rejected and count it."""
    counts.rejected += 1
    on_reject(Reject(record_id, reason, content))


def _note_deleted(built: Rows, row: Row, counts: Counts, on_reject: OnReject) -> None:
    key = built.builder.find_key(row)
    if key is None:
        refuse_row(
            row.record_id,
            "was deleted at its source, but its key is not known",
            row.values,
            counts,
            on_reject,
        )
        return
    built.spool.put("gone", key, b"")


def plan_replace(
    layer: Layer, built: Rows, *, pauses_s: Sequence[float], counts: Counts, on_reject: OnReject
) -> Plan:
    """Compare the rows with the whole layer, which is to hold them and nothing else.

    Raises: PublishError if the layer cannot be read as a whole.
    """
    comparer = _build_comparer(layer, built.builder)
    fields = _read_names(built.builder)
    for pause_s in [*pauses_s, None]:
        plan = Plan(built.spool)
        keyless, read = 0, 0
        for feature in read_features(layer, fields, geometry=bool(built.builder.location_names)):
            read += 1
            keyless += _note_there(plan, comparer, built.builder.key, feature)
        number = count_features(layer)
        if number == read:
            break
        # A page that was not whole would make us add what is there already.
        plan.state.forget("copy", "delete")
        if pause_s is None:
            raise PublishError(
                f"{layer.where} counts {number} features, but {read} were read. Nothing was changed. Perhaps "
                "something else is writing to it; run again later."
            )
        pause(pause_s)
    plan.there = plan.state.count_there() + keyless
    _sort_rows(plan, built, comparer, counts, on_reject)
    _add_unwanted(plan)
    plan.removed = plan.state.count_unwanted() + keyless
    plan.wanted = plan.there - plan.removed + plan.state.count("add")
    _add_copies(plan)
    return plan


def plan_changes(
    layer: Layer, built: Rows, *, parts: Parts | None = None, counts: Counts, on_reject: OnReject
) -> Plan:
    """Compare the rows with the features of their keys; of the others nothing goes.

    parts: then the rows are compared with all features of the documents that came.
    """
    builder = built.builder
    comparer = _build_comparer(layer, builder)
    plan = Plan(built.spool)
    there = _read_features_of_rows(layer, built) if parts is None else _read_parts(layer, builder, parts)
    for feature in there:
        _note_there(plan, comparer, builder.key, feature)
    plan.there = count_features(layer)
    _sort_rows(plan, built, comparer, counts, on_reject)
    # Only features of this run's rows were read: those that no row wants are of deleted ones.
    _add_unwanted(plan)
    plan.removed = plan.state.count_unwanted()
    plan.wanted = plan.there - plan.removed + plan.state.count("add")
    _add_copies(plan)
    return plan


def _read_features_of_rows(layer: Layer, built: Rows) -> Iterator[dict[str, Any]]:
    """The features of the rows' keys, deleted rows included."""
    builder = built.builder
    keys = itertools.chain.from_iterable(map(built.spool.keys, ("row", "refused", "gone")))
    ours = Spool()
    while batch := list(itertools.islice(keys, _BATCH)):
        fresh = [key for key in batch if ours.there(fold_key(key))]
        folded = set(map(fold_key, fresh))
        for feature in read_by_keys(
            layer, builder.key, fresh, _read_names(builder), geometry=bool(builder.location_names)
        ):
            if find_fold(feature, builder.key) in folded:
                yield feature
    ours.close()


def _read_parts(layer: Layer, builder: FeatureBuilder, parts: Parts) -> Iterator[dict[str, Any]]:
    """Every feature of a row of the documents that came, whether it came again or not.

    Raises: ConfigError if the layer's key is no text.
    """
    if builder.key.type != "String":
        raise ConfigError(
            f"{layer.where}: the rows of a repeat are matched by a text, and the field {builder.key.name} is of type "
            f"{builder.key.type}. Nothing was sent. Make it a text field."
        )
    fields, geometry = _read_names(builder), bool(builder.location_names)
    owners = parts.owners()
    if parts.count() > _PARTS_ASKED_FOR:
        found = read_features(layer, fields, geometry=geometry)
        yield from (feature for feature in found if parts.owns(str(feature["attributes"][builder.key.name])))
        return
    while batch := list(itertools.islice(owners, _OWNERS_A_QUERY)):
        for feature in read_by_beginnings(layer, builder.key, batch, fields, geometry=geometry):
            # One that begins like two documents' ids comes twice, and belongs to one.
            if parts.find_owner(str(feature["attributes"][builder.key.name])) in batch:
                yield feature


def _build_comparer(layer: Layer, builder: FeatureBuilder) -> Comparer:
    return Comparer(
        layer.oid_field,
        builder.used,
        geometry=bool(builder.location_names),
        rings=layer.place == "polygon",
    )


def _read_names(builder: FeatureBuilder) -> list[str]:
    return [builder.key.name, *(f.name for f in builder.used)]


def _note_there(plan: Plan, comparer: Comparer, key: LayerField, feature: dict[str, Any]) -> bool:
    """Remember a feature of the layer. Returns: whether it has no key (and so nobody can want it)."""
    folded = find_fold(feature, key)
    note = comparer.note(feature)
    note.key = read_key(feature, key)
    if not folded:
        plan.state.put("delete", "", _pack("", note.oid))
        return True
    if not plan.state.there(folded, pack_note(note)):
        # Features come in the order of object ids: the first, which stays, is the oldest.
        plan.state.put("copy", folded, _pack(note.key, note.oid))
    return False


def _add_unwanted(plan: Plan) -> None:
    for key, packed in plan.state.unwanted():
        note = unpack_note(packed)
        plan.state.put("delete", key, _pack(note.key, note.oid))


def _add_copies(plan: Plan) -> None:
    plan.copies = plan.state.count("copy")
    for key, packed in plan.state.take("copy"):
        plan.state.put("delete", key, packed)


def _sort_rows(plan: Plan, built: Rows, comparer: Comparer, counts: Counts, on_reject: OnReject) -> None:
    """Give every row its place: unchanged, update or add."""
    layer, used, state = built.builder.layer, built.builder.used, plan.state
    # Mostly every row has every name: what is new then goes as it was built.
    alike = built.fewest == len(used)
    rows: Iterable[tuple[int, str, bytes]] = state.take_numbered("row")
    if alike and not state.count_there():
        state.share_all("add", "row")
        rows = ()
    for number, key, packed in rows:
        found = state.read_note(fold_key(key))
        if found is None and alike:
            state.share("add", number)
            continue
        edit = _unpack(key, packed)
        feature = msgspec.json.decode(edit.body)
        reason = _fill_missing(feature["attributes"], used)
        if reason:
            refuse_row(edit.record_id, reason, feature["attributes"], counts, on_reject)
            if found is not None:
                state.put("same", key, b"")
            continue
        if found is None:
            state.put("add", key, _pack(edit.record_id, 0, msgspec.json.encode(feature)))
            continue
        note = unpack_note(found)
        if comparer.same(note, comparer.note(feature)):
            plan.unchanged += 1
            state.put("same", key, b"")
        else:
            body = set_oid(msgspec.json.encode(feature), layer.oid_field, note.oid)
            state.put("update", key, _pack(edit.record_id, note.oid, body))
    for key in state.keys("refused"):
        try:
            if state.want(fold_key(key)) is not None:
                state.put("same", key, b"")
        except KeyError:
            continue  # another row has this key and was taken


def _fill_missing(attributes: dict[str, Any], used: Sequence[LayerField]) -> str:
    """A name that other rows have and this one lacks is empty in it. Returns: why that is unfit, or ""."""
    for f in used:
        if f.name not in attributes:
            if not f.nullable:
                return f"field {f.name}: may not be empty"
            attributes[f.name] = None
    return ""


def _pack(record_id: str, oid: int, body: bytes = b"") -> bytes:
    return msgspec.msgpack.encode((record_id, oid, body))


def _unpack(key: str, packed: bytes) -> Edit:
    record_id, oid, body = msgspec.msgpack.decode(packed)
    return Edit(key, record_id, body, oid)
