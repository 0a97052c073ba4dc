"""After the edits: does the layer hold what it should, each key once?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.utils.agol.edits import Edit, Editor, set_oid
from services.utils.agol.features import find_fold, fold_key
from services.utils.agol.layer import Layer, has_duplicates, read_by_keys, read_features
from services.utils.agol.plan import Plan
from services.utils.errors import PublishError, RequestRefused
from services.utils.session import pause
from services.utils.spool import Spool

log = logging.getLogger(__name__)

_NAMED = 3


@dataclass
class Findings:
    """How the layer differs from what it should hold. copies: {folded key: object ids, lowest first}."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    copies: dict[str, list[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.copies)

    def describe(self) -> str:
        """The difference in words, with a few keys."""
        parts = []
        for what, keys in (
            ("are missing", self.missing),
            ("should not be there", self.unexpected),
            ("occur more than once", list(self.copies)),
        ):
            if keys:
                named = ", ".join(key or "no key" for key in keys[:_NAMED])
                parts.append(f"{len(keys)} keys {what} ({named}{', ...' if len(keys) > _NAMED else ''})")
        return "; ".join(parts)


def verify(layer: Layer, plan: Plan, editor: Editor, *, replace: bool, pauses_s: Sequence[float]) -> None:
    """See that the layer holds what it should; take second copies of a key out, the oldest stays.

    A read may be older than our last edit, so a key that it lacks is not added again: the server said
    that it has it. It is looked for again later. After an add without a readable answer all pauses are
    waited through, because the server may still carry the first request out.
    Raises: PublishError if the last look does not agree.
    """
    findings = Findings()
    for number, pause_s in enumerate([0.0, *pauses_s]):
        pause(pause_s)
        is_last = number == len(pauses_s)
        if editor.doubtful and replace and not is_last and not _looks_doubled(layer, editor):
            continue
        findings = look(layer, plan, editor, replace=replace)
        if not findings and (is_last or not editor.doubtful):
            return
        if findings:
            log.info("%s: %s", layer.where, findings.describe())
        if findings.copies and not is_last:
            _remove_copies(layer, plan, editor, findings.copies)
    done = editor.counts
    raise PublishError(
        f"{layer.where} does not hold what was published: {findings.describe()}. {done.updated} updates, "
        f"{done.inserted} adds and {done.deleted} deletes were confirmed. Perhaps something else writes to it; "
        "run again: features are recognised by their key."
    )


def look(layer: Layer, plan: Plan, editor: Editor, *, replace: bool) -> Findings:
    """Compare the keys in the layer with those that should be there.

    replace: all keys of the layer; otherwise only those that this run edited.
    """
    findings = Findings()
    stuck = {fold_key(key) for key in editor.stuck}
    edited: dict[str, str] = {}
    if replace:
        features = read_features(layer, [editor.key.name])
    else:
        for queue in ("delete", "update", "add"):
            edited.update((fold_key(key), key) for key in plan.keys(queue))
        features = read_by_keys(layer, editor.key, list(edited.values()))
    seen = Spool()
    try:
        for feature in features:
            folded, oid = find_fold(feature, editor.key), feature["attributes"][layer.oid_field]
            if not folded:
                if "" not in stuck:
                    findings.unexpected.append("")
            elif (replace or folded in edited) and not seen.there(folded, str(oid)) and folded not in stuck:
                findings.copies.setdefault(folded, []).append(oid)
        for queue in ("update", "add", "same"):
            for key in plan.keys(queue):
                folded = fold_key(key)
                if seen.find_there(folded):
                    if folded in findings.copies:
                        findings.copies[folded].insert(0, int(seen.read_note(folded) or 0))
                elif key not in editor.failed and (replace or queue != "same"):
                    findings.missing.append(key)
        findings.unexpected += [key for key, _ in seen.unwanted() if key not in stuck]
    finally:
        seen.close()
    # Copies of a key that nobody wants are counted with it.
    for key in findings.unexpected:
        findings.copies.pop(key, None)
    return findings


def _looks_doubled(layer: Layer, editor: Editor) -> bool:
    """A cheap look at the whole layer for keys that occur twice."""
    try:
        return has_duplicates(layer, editor.key)
    except RequestRefused:
        return True  # no statistics here: the whole look decides


def _remove_copies(layer: Layer, plan: Plan, editor: Editor, copies: dict[str, list[int]]) -> None:
    """Leave the oldest feature of each key, with what this run had to say of it."""
    log.warning("%s: second copies of %d keys are taken out", layer.where, len(copies))
    again = (
        Edit(edit.key, edit.record_id, set_oid(edit.body, layer.oid_field, oldest), oldest)
        for queue in ("update", "add")
        for edit in plan.edits(queue)
        if (oldest := copies.get(fold_key(edit.key), [0])[0])
    )
    editor.overwrite(again)
    editor.delete_copies(Edit(key, key, oid=oid) for key, oids in copies.items() for oid in oids[1:])
