"""Sends planned edits, one chunk at a time, and accounts for every one of them.

An add is never repeated blindly: after an answer that cannot be read, the layer is asked which of the
chunk's keys it holds, and only the others are sent again. The server may still carry the first request
out after that, so `Editor.doubtful` tells the caller to look for second copies at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.utils.agol.features import find_fold, fold_key
from services.utils.agol.forms import encode_text
from services.utils.agol.layer import (
    Layer,
    LayerField,
    apply_edits,
    read_by_keys,
    read_ids,
)
from services.utils.errors import OutcomeUnknown, PublishError, RequestRefused
from services.utils.progress import Progress
from services.utils.records import Counts, OnReject, Reject
from services.utils.session import pause

log = logging.getLogger(__name__)

FEATURES_PER_EDIT = 250
BYTES_PER_EDIT = 1_000_000
# So many requests in a row without a readable answer, and so many first rejects, end a run.
SILENT_LIMIT = 8
REJECT_LIMIT = 100
ROLLED_BACK = frozenset({1003, 1012})
CODES = {
    1000: "it does not fit",
    1001: "a field may not be empty",
    1006: "HTML in a text",
    1007: "the feature belongs to someone else",
    1015: "the geometry could not be set",
    1016: "a value could not be set",
    1022: "the key exists already",
    1023: "not editable",
}


@dataclass(slots=True)
class Edit:
    """One edit to send. body: the feature's JSON; empty for a delete. oid: 0 for an add."""

    key: str
    record_id: str
    body: bytes = b""
    oid: int = 0
    _form: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def form(self) -> bytes:
        """As it stands in the form that is sent; written once, for its length and for sending."""
        if not self._form:
            self._form = encode_text(self.body) if self.body else b"%d" % self.oid
        return self._form


def set_oid(body: bytes, oid_field: str, oid: int) -> bytes:
    """A feature's JSON with its object id among the attributes."""
    feature = msgspec.json.decode(body)
    feature["attributes"] = {oid_field: oid, **feature["attributes"]}
    return msgspec.json.encode(feature)


@dataclass
class Editor:
    """Sends the edits of one run.

    pauses_s: waits before the layer is asked what became of an edit, growing; the last one repeats.
    total: how many edits there will be, for the progress that is shown; 0 where nobody counted.
    After: `counts` of what was done; `failed` keys whose add was refused; `stuck` keys whose feature
    could not be deleted; `doubtful` whether a second copy of an added feature may still appear.
    """

    layer: Layer
    key: LayerField
    counts: Counts
    on_reject: OnReject
    pauses_s: Sequence[float]
    total: int = 0
    failed: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    doubtful: bool = False
    _silent: int = 0

    def __post_init__(self) -> None:
        self.progress = Progress("sending edits", self.total)

    def update(self, edits: Iterable[Edit]) -> None:
        """Change features by object id; one that has gone meanwhile is added anew."""
        gone: list[Edit] = []
        for chunk in _cut(edits):
            gone += self._send("updates", chunk)
        if gone:
            log.info("%d features of %s had gone meanwhile and are added anew", len(gone), self.layer.where)
            self.add(Edit(edit.key, edit.record_id, self._without_oid(edit.body)) for edit in gone)

    def add(self, edits: Iterable[Edit]) -> None:
        """Add features; each key at most once, as far as anyone can know."""
        for chunk in _cut(edits):
            self._send("adds", chunk)

    def delete(self, edits: Iterable[Edit]) -> None:
        """Delete features by object id; one that is not there is done."""
        for chunk in _cut(edits):
            self._send("deletes", chunk)

    def overwrite(self, edits: Iterable[Edit]) -> None:
        """As `update`, for features that are counted already."""
        before = self.counts.updated
        self.update(edits)
        self.counts.updated = before

    def delete_copies(self, edits: Iterable[Edit]) -> None:
        """As `delete`, for second copies of features, which are no records of their own."""
        before = self.counts.deleted
        self.delete(edits)
        self.counts.deleted = before

    def _send(self, kind: str, chunk: list[Edit]) -> list[Edit]:
        """Send a chunk, in ever smaller parts where the server refuses it or does not answer.

        Returns: updates whose feature has gone.
        """
        waiting = [chunk]
        over: list[Edit] = []
        while waiting:
            part = waiting.pop()
            try:
                results = apply_edits(self.layer, kind, [edit.form for edit in part])
            except RequestRefused as error:
                waiting += self._take_refusal(kind, part, error)
                continue
            except OutcomeUnknown as error:
                self._wait(error)
                if kind == "adds":
                    self.doubtful = self.doubtful or self.key.name not in self.layer.unique
                    part = self._leave_missing(part)
                waiting += _halve(part)
                continue
            self._silent = 0
            self.progress.add(len(part))
            bad = [(edit, result.code) for edit, result in zip(part, results) if not result.success]
            self._count(kind, len(part) - len(bad))
            rolled_back, at_fault = [], []
            for edit, code in bad:
                if code in ROLLED_BACK and len(part) > 1:
                    rolled_back.append(edit)
                else:
                    at_fault.append((edit, code))
            waiting += _halve(rolled_back)
            over += self._take_failures(kind, at_fault)
        return over

    def _take_refusal(self, kind: str, part: list[Edit], error: RequestRefused) -> list[list[Edit]]:
        """Smaller parts of a refused chunk, down to the one edit that is at fault."""
        too_large = error.status in (404, 413) or error.code in ("404", "413")
        if not too_large and error.code != "400":
            raise self._give_up(error) from error
        if len(part) > 1:
            log.debug("%s; sending %d %s in halves", error, len(part), kind)
            return _halve(part)
        if error.status == 404 or error.code == "404":
            raise self._give_up(error) from error
        self._refuse(kind, part[0], str(error).rpartition(": ")[2].removeprefix("200 "))
        return []

    def _take_failures(self, kind: str, bad: list[tuple[Edit, int]]) -> list[Edit]:
        """Sort out edits that the server refused one by one. Returns: updates whose feature has gone."""
        if not bad:
            return []
        if kind == "adds":
            there = self._find_oids([edit for edit, _ in bad])
            for pause_s in self.pauses_s:
                hidden = [edit for edit, code in bad if code == 1022 and edit.key not in there]
                if not hidden:
                    break
                pause(pause_s)  # the server says that the key is there; a read may not show it yet
                there |= self._find_oids(hidden)
            again = []
            for edit, code in bad:
                if edit.key in there:
                    again.append(self._as_update(edit, there[edit.key]))
                else:
                    self._refuse(kind, edit, _name_code(code))
            # The key is there after all: by a first attempt of ours, by another writer, or unseen before.
            self.counts.inserted += len(again)
            self.overwrite(again)
            return []
        there_ids = self._find_there([edit.oid for edit, _ in bad], kind)
        gone = [edit for edit, _ in bad if edit.oid not in there_ids]
        for edit, code in bad:
            if edit.oid in there_ids:
                self._refuse(kind, edit, _name_code(code))
        if kind == "deletes":
            self.counts.deleted += len(gone)
            return []
        return gone

    def _refuse(self, kind: str, edit: Edit, why: str) -> None:
        """Report one edit as rejected. Raises: PublishError if nothing at all is accepted."""
        verb = {"adds": "added", "updates": "updated", "deletes": "deleted"}[kind]
        content = msgspec.json.decode(edit.body)["attributes"] if edit.body else None
        self.counts.rejected += 1
        if kind == "adds":
            self.failed.add(edit.key)
        elif kind == "deletes":
            self.stuck.add(edit.key)
        self.on_reject(Reject(edit.record_id, f"could not be {verb} in {self.layer.where}: {why}", content))
        done = self.counts.inserted + self.counts.updated + self.counts.deleted
        if not done and self.counts.rejected >= REJECT_LIMIT:
            raise self._give_up(f"{self.layer.where} refused each of the first {REJECT_LIMIT} edits ({why})")

    def _wait(self, error: OutcomeUnknown) -> None:
        """Pause after an answer that tells nothing; give up after many in a row."""
        self._silent += 1
        if self._silent > SILENT_LIMIT:
            raise self._give_up(error) from error
        pause_s = self.pauses_s[min(self._silent, len(self.pauses_s)) - 1] if self.pauses_s else 0.0
        log.warning("%s; looking what became of it in %.1f s", error, pause_s)
        pause(pause_s)

    def _leave_missing(self, part: list[Edit]) -> list[Edit]:
        """Those adds of a chunk that the layer does not hold; the others are counted as done."""
        there = self._find_oids(part)
        self.counts.inserted += len(there)
        return [edit for edit in part if edit.key not in there]

    def _find_there(self, oids: list[int], kind: str) -> set[int]:
        """Those of the object ids that exist; what was to be deleted is looked for more than once."""
        there = read_ids(self.layer, oids)
        for pause_s in self.pauses_s[:3] if kind == "deletes" else ():
            if not there:
                break
            pause(pause_s)  # a read may still show what is gone
            there = read_ids(self.layer, sorted(there))
        return there

    def _find_oids(self, edits: Sequence[Edit]) -> dict[str, int]:
        """{key: lowest object id} of the edits whose keys the layer holds."""
        wanted = {fold_key(edit.key): edit.key for edit in edits}
        found: dict[str, int] = {}
        for feature in read_by_keys(self.layer, self.key, [edit.key for edit in edits]):
            key = wanted.get(find_fold(feature, self.key))
            if key is not None:
                found.setdefault(key, feature["attributes"][self.layer.oid_field])
        return found

    def _as_update(self, edit: Edit, oid: int) -> Edit:
        return Edit(edit.key, edit.record_id, set_oid(edit.body, self.layer.oid_field, oid), oid)

    def _without_oid(self, body: bytes) -> bytes:
        feature = msgspec.json.decode(body)
        feature["attributes"].pop(self.layer.oid_field, None)
        return msgspec.json.encode(feature)

    def _count(self, kind: str, number: int) -> None:
        if kind == "adds":
            self.counts.inserted += number
        elif kind == "updates":
            self.counts.updated += number
        else:
            self.counts.deleted += number

    def _give_up(self, why: Any) -> PublishError:
        done = self.counts
        return PublishError(
            f"{str(why).rstrip('.')}. The run stopped after {done.updated} updates, {done.inserted} adds and "
            f"{done.deleted} deletes in {self.layer.where}; what was sent last may or may not be there. Run again: "
            "features are recognised by their key."
        )


def _name_code(code: int) -> str:
    return f"error {code}, {CODES[code]}" if code in CODES else f"error {code}"


def _halve(part: list[Edit]) -> list[list[Edit]]:
    middle = (len(part) + 1) // 2
    return [half for half in (part[middle:], part[:middle]) if half]


def _cut(edits: Iterable[Edit]) -> Iterator[list[Edit]]:
    """Chunks that keep both limits; a single edit above the limit of bytes goes alone."""
    chunk: list[Edit] = []
    size = 0
    for edit in edits:
        length = len(edit.form) + 1
        if chunk and (len(chunk) >= FEATURES_PER_EDIT or size + length > BYTES_PER_EDIT):
            yield chunk
            chunk, size = [], 0
        chunk.append(edit)
        size += length
    if chunk:
        yield chunk
