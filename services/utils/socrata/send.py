"""Writing rows to a dataset in batches, with every answer checked; batches are halved to find bad rows.

Socrata answers 200 with `Errors` for rows it did not take and does not say which; refuses a whole request
for one bad value; and may do so as a 5xx. All requests here may be repeated: rows have an identifier.

Source: contract of the writing API, "Reading the answer"; soda-java, UpsertResult.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.utils.errors import OutcomeUnknown, PublishError, RequestFailed, RequestRefused
from services.utils.progress import Progress
from services.utils.socrata.client import read_json
from services.utils.socrata.dataset import Dataset
from services.utils.socrata.plan import Item
from services.utils.socrata.read import count_rows

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

_JSON = {"Content-Type": "application/json"}
_RESULT_TYPES = {"insert": "created", "update": "updated", "delete": "deleted"}
# Rows refused one by one before that is seen as the dataset's fault, not theirs.
_REFUSED_AT_FIRST, _REFUSED_AT_ALL, _SUSPECTS = 25, 1000, 5


@dataclass(frozen=True)
class Limits:
    """Sizes and waits. A replace below `put_*` goes in one request; else batches of up to `batch_*`.

    lag_s: how long to wait for readers to see what was written; poll_s: the first pause between two looks.
    """

    put_rows: int = 10_000
    put_bytes: int = 10_000_000
    batch_rows: int = 5_000
    batch_bytes: int = 5_000_000
    lag_s: float = 120.0
    poll_s: float = 0.5


@dataclass
class Answer:
    """What a write says it did, in rows."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    errors: int = 0


def read_answer(response: requests.Response, row_id: str, sent: int) -> Answer:
    """Read the counts of a write: an object of counts, a list of results per row, or one row.

    Missing counts are 0; an answer of another shape gives zeros, which do not account for what was sent.
    """
    body = read_json(response)
    answer = Answer()
    if isinstance(body, list):
        for result in body:
            kind = result.get("typ") if isinstance(result, dict) else None
            name = (
                "errors" if isinstance(result, dict) and result.get("err") else _RESULT_TYPES.get(str(kind))
            )
            if name is None and kind == "error":
                name = "errors"
            if name is not None:
                setattr(answer, name, getattr(answer, name) + 1)
        return answer
    if not isinstance(body, dict):
        return answer
    counts = {str(name).lower().removeprefix("rows "): count for name, count in body.items()}
    if not counts.keys() & {"created", "updated", "deleted", "errors"}:
        answer.updated = int(sent == 1 and row_id in body)
        return answer
    for name in ("created", "updated", "deleted", "errors"):
        try:
            setattr(answer, name, int(counts.get(name) or 0))
        except (TypeError, ValueError):
            log.warning("Socrata: the count %r of an answer is no number", name)
    return answer


@dataclass(frozen=True)
class _Trouble:
    """Why a request was not (wholly) carried out. unknown: no readable answer came."""

    reason: str
    unknown: bool = False


class Sender:
    """Sends rows and deletions, one batch at a time.

    saved: rows that surely are in the dataset. created: how many of them the portal says were new. deleted:
    rows that were there and went. errors: deletions counted as errors: the row was not there, or it still is;
    the answer does not say which. refused: keys of rows the portal would not take (`on_refused` was told).
    """

    def __init__(
        self, dataset: Dataset, limits: Limits, total: int, on_refused: Callable[[Item, str], None]
    ) -> None:
        assert dataset.row_id is not None
        self.dataset = dataset
        self.saved = 0
        self.created = 0
        self.deleted = 0
        self.errors = 0
        self.refused: set[str] = set()
        self._row_id: str = dataset.row_id
        self._total = total
        self._on_refused = on_refused
        self._max_rows = limits.batch_rows
        self._max_bytes = limits.batch_bytes
        self._quick = dataclasses.replace(
            dataset.client.backoff,
            attempts=min(3, dataset.client.backoff.attempts),
            deadline_s=min(60.0, dataset.client.backoff.deadline_s),
        )
        self._progress = Progress("sending rows", total)
        self._good: bytes | None = None
        self._suspects: list[tuple[Item, str]] = []
        self._stuck: list[str] = []

    def replace(self, bodies: list[bytes]) -> bool:
        """Send all rows in one request that replaces what is there; False: it must go in batches.

        Raises: PublishError where batches would be refused too.
        """
        body = _join(bodies)
        sent = len(bodies)
        try:
            response = self.dataset.client.request(
                "PUT",
                self.dataset.path,
                repeatable=True,
                data=body,
                headers=_JSON,
                what=f"replace by {sent} rows",
            )
        except RequestRefused as error:
            if error.code == "rows-saved":
                log.warning("%s", error)
                self.saved = sent
                return True
            if error.status in (400, 413) and error.code != "illegal-field":
                log.info("%s; going on in batches", error)
                return False
            raise self._explain(error) from error
        except OutcomeUnknown as error:
            log.info("%s; going on in batches", error)
            return False
        answer = read_answer(response, self._row_id, sent)
        if answer.errors or answer.created + answer.updated != sent:
            log.warning(
                "%s: of %d rows in one request %d were taken, %d were errors; going on in batches",
                self.dataset,
                sent,
                answer.created + answer.updated,
                answer.errors,
            )
            return False
        self.saved = sent
        return True

    def upsert(self, items: Iterable[Item]) -> None:
        """Send rows in batches, halving those that are not taken whole, until each is saved or refused.

        Raises: PublishError where the trouble is not the rows'.
        """
        for batch in self._cut(items):
            self._send(batch, deleting=False)
        self._progress.close()
        self._settle_suspects()
        if self._suspects:
            raise self._explain(self._suspects[0][1])

    def delete(self, items: Iterable[Item]) -> None:
        """Send deletions in batches. An error there mostly says that the row was not there any more (see `errors`).

        Raises: PublishError, also where the portal refuses single deletions.
        """
        for batch in self._cut(items):
            self._send(batch, deleting=True)
        if self._stuck:
            raise PublishError(
                f"{self.dataset}: {len(self._stuck)} rows could not be deleted, the first being "
                f"{', '.join(self._stuck[:5])}. All {self.saved} other changes were saved. Run again: it is safe.",
                self._stuck,
            )

    def _cut(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        batch: list[Item] = []
        size = 0
        for item in items:
            if batch and (len(batch) >= self._max_rows or size + len(item.body) > self._max_bytes):
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += len(item.body) + 1
        if batch:
            yield batch

    def _send(self, batch: list[Item], *, deleting: bool) -> None:
        stack = [batch]
        while stack:
            part = stack.pop()
            trouble = self._post(part, deleting=deleting, quick=part is not batch)
            if trouble is None:
                continue
            if trouble.unknown and part is batch:
                self._check_alive(trouble)
            if len(part) > 1:
                half = len(part) // 2
                stack += [part[half:], part[:half]]
            elif trouble.unknown:
                self._suspect(part[0], trouble.reason, deleting=deleting)
            else:
                self._refuse(part[0], trouble.reason, deleting=deleting)

    def _post(self, part: list[Item], *, deleting: bool, quick: bool) -> _Trouble | None:
        """Send one request; None if every row of it is accounted for."""
        sent = len(part)
        try:
            response = self._request([item.body for item in part], quick, "deletions" if deleting else "rows")
        except RequestRefused as error:
            if error.code == "rows-saved":
                log.warning("%s", error)
                self._note(part, Answer(updated=sent, deleted=sent), deleting)
                return None
            if error.status == 413:
                self._max_bytes = max(sum(len(item.body) for item in part) // 2, 1)
                return _Trouble("larger than the portal takes (413)")
            if error.status == 400 and error.code != "illegal-field":
                code = f", {error.code}" if error.code else ""
                return _Trouble(f"Socrata refuses the row (400{code}){self._name_columns(error.body)}")
            raise self._explain(error) from error
        except OutcomeUnknown as error:
            return _Trouble(str(error), unknown=True)
        answer = read_answer(response, self._row_id, sent)
        if deleting:
            if answer.deleted + answer.errors == sent and not answer.created + answer.updated:
                self._note(part, answer, deleting)
                return None
            return _Trouble("the answer does not account for the deletion")
        # Creations count even where the request is sent again in halves: there they are updates.
        self.created += answer.created
        if answer.errors:
            return _Trouble("Socrata counts the row as an error and does not say why")
        if answer.created + answer.updated != sent:
            return _Trouble("the answer does not account for the row")
        self._note(part, answer, deleting)
        return None

    def _request(self, bodies: list[bytes], quick: bool, noun: str) -> requests.Response:
        return self.dataset.client.request(
            "POST",
            self.dataset.path,
            repeatable=True,
            data=_join(bodies),
            headers=_JSON,
            backoff=self._quick if quick else None,
            what=f"{len(bodies)} {noun}",
        )

    def _note(self, part: list[Item], answer: Answer, deleting: bool) -> None:
        if deleting:
            self.deleted += answer.deleted
            self.errors += answer.errors
        else:
            self.saved += len(part)
            self._progress.add(len(part))
            self._good = part[-1].body

    def _name_columns(self, body: str) -> str:
        """Which columns a refusal names; nothing else of it is repeated, it may hold values."""
        words = set(_split_words(body))
        named = [column for column in self.dataset.columns if column in words and column != self._row_id]
        return f", naming {', '.join(named)}" if named and len(named) <= 3 else ""

    def _refuse(self, item: Item, reason: str, *, deleting: bool) -> None:
        if deleting:
            self._stuck.append(item.key)
            return
        self.refused.add(item.key)
        self._on_refused(item, reason)
        count = len(self.refused)
        if count > _REFUSED_AT_ALL or (count > _REFUSED_AT_FIRST and not self.saved):
            raise self._explain(
                f"{self.dataset}: {count} rows were refused one by one, the last one because: {reason}"
            )

    def _check_alive(self, trouble: _Trouble) -> None:
        """A request failed for good: go on looking for a bad row only if the portal answers at all."""
        try:
            count_rows(self.dataset)
        except PublishError as error:
            raise self._explain(trouble.reason) from error

    def _suspect(self, item: Item, reason: str, *, deleting: bool) -> None:
        """A single row gets no readable answer: its own fault, or the portal's?"""
        if deleting:
            raise self._explain(reason)
        self._suspects.append((item, reason))
        self._settle_suspects()
        if len(self._suspects) > _SUSPECTS:
            raise self._explain(reason)

    def _settle_suspects(self) -> None:
        """Where a row that was taken before is taken again, the portal is well and a suspect is bad."""
        while self._suspects and self._good is not None:
            try:
                self._request([self._good], False, "row sent before")
            except RequestFailed as error:
                raise self._explain(error) from error
            item, reason = self._suspects.pop()
            trouble = self._post([item], deleting=False, quick=True)
            if trouble is not None:
                self._refuse(item, f"Socrata fails on the row: {reason}", deleting=False)

    def _explain(self, error: object) -> PublishError:
        said = str(error).rstrip(".")
        return PublishError(
            f"{said}. {self.saved} of {self._total} rows of {self.dataset} were surely saved and "
            f"{self.deleted} deleted. Running again is safe.",
            sorted(self.refused),
        )


def _join(bodies: list[bytes]) -> bytes:
    return b"[" + b",".join(bodies) + b"]"


def _split_words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()
