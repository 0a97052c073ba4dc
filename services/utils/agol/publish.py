"""Publish rows to a layer: plan, brake, updates, adds, deletes last, and a look at what is there then.

The layer is never emptied: readers see at worst old and new features together, and a feature keeps its
object id, its attachments and whatever other jobs wrote into fields of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from services.utils.agol.edits import Editor
from services.utils.agol.features import FeatureBuilder
from services.utils.agol.layer import Layer
from services.utils.agol.plan import build_rows, plan_changes, plan_replace
from services.utils.agol.verify import verify
from services.utils.differences import Differences
from services.utils.errors import PublishError
from services.utils.guard import DeleteGuard
from services.utils.parts import Parts
from services.utils.records import Counts, OnReject, Row

log = logging.getLogger(__name__)

PAUSES_S = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4)


def publish(
    rows: Iterable[Row],
    layer: Layer,
    *,
    key_field: str = "id",
    location_field: str | Sequence[str] | None = None,
    replace: bool,
    guard: DeleteGuard,
    dry_run: bool = False,
    on_reject: OnReject,
    pauses_s: Sequence[float] = PAUSES_S,
    parts: Parts | None = None,
    differences: Differences | None = None,
) -> Counts:
    """Bring a layer or table in step with rows.

    Args:
        rows: read once. replace=False: those that are `deleted` are taken out of the layer.
        key_field: name of the layer's field, and of the rows' value, that records are matched by.
        location_field: see `build_feature`; None leaves geometry alone.
        replace: True makes the layer hold exactly the rows that are not deleted; False changes the
            features of these rows and leaves all others alone.
        guard: asked before the first edit is sent, also in a dry run.
        dry_run: everything is read and compared, nothing is sent.
        on_reject: is given each row that does not fit or that the server refused. Its old feature stays.
        parts: where rows are parts of documents: with replace=False, features of the documents that came go
            where no row of theirs has the key. Closed in the end.
        differences: is told of every feature that would be added, changed or deleted.
        pauses_s: waits, growing, before the layer is looked at again where a look did not agree.
    Returns: what was done (dry run: would be done), in records; `deleted` includes second copies of a key.
    Raises: ConfigError if the layer has no field for the key or no row has the location field; PublishError
        if the guard objects ("nothing was changed"), if the layer cannot be read or written, or if it
        does not hold in the end what it should.
    """
    counts = Counts()
    builder = FeatureBuilder(layer, key_field=key_field, location_field=location_field)
    built = build_rows(rows, builder, replace=replace, counts=counts, on_reject=on_reject)
    if replace:
        plan = plan_replace(layer, built, pauses_s=pauses_s, counts=counts, on_reject=on_reject)
    else:
        plan = plan_changes(layer, built, parts=parts, counts=counts, on_reject=on_reject)
    if parts is not None:
        parts.close()
    try:
        counts.unchanged = plan.unchanged
        adds, updates, deletes = (plan.state.count(queue) for queue in ("add", "update", "delete"))
        log.info(
            "%s holds %d records: %d to update, %d to add, %d to delete%s, %d unchanged",
            layer.where,
            plan.there,
            updates,
            adds,
            deletes,
            f" ({plan.copies} of them second copies)" if plan.copies else "",
            plan.unchanged,
        )
        if differences is not None:
            differences.key_name = builder.key.name
            plan.tell(differences)
        guard.check(
            there=plan.there, wanted=plan.wanted, removed=plan.removed, where=layer.where, error=PublishError
        )
        if dry_run:
            counts.inserted, counts.updated, counts.deleted = adds, updates, deletes
        elif adds or updates or deletes:
            editor = Editor(layer, builder.key, counts, on_reject, pauses_s, total=adds + updates + deletes)
            editor.update(plan.edits("update"))
            editor.add(plan.edits("add"))
            editor.delete(plan.edits("delete"))
            editor.progress.close()
            verify(layer, plan, editor, replace=replace, pauses_s=pauses_s)
        return counts
    finally:
        plan.state.close()
