"""The portal: sign-in, throttling, and the addresses of SODA2, SODA3 reads and metadata."""

from __future__ import annotations

import gzip
import random
import re
import ssl
import time
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from dev.simulators.base import Answer, Fault, Request, Simulator
from dev.simulators.socrata import reads
from dev.simulators.socrata.bodies import Refusal, read_body
from dev.simulators.socrata.dataset import Change, Dataset, StoredRow, Write, decode_sid
from dev.simulators.socrata.gate import Gate
from dev.simulators.socrata.soql import SoqlError
from dev.simulators.socrata.switches import APP_TOKEN, PUBLISHER, Switches

_ROWS = re.compile(r"/resource/(\w{4}-\w{4})(?:\.(json|csv))?")
_ROW = re.compile(r"/resource/(\w{4}-\w{4})/(.+?)(?:\.(json|csv))?")
_VIEW = re.compile(r"/api/views/(\w{4}-\w{4})(?:\.json)?")
_QUERY = re.compile(r"/api/v3/views/(\w{4}-\w{4})/query\.(json|csv)")
_TOO_LARGE = (
    "<html><head><title>413 Request Entity Too Large</title></head><body><center>nginx</center></body></html>"
)


class SocrataSimulator(Simulator):
    """A Socrata portal in this process.

        with SocrataSimulator(replica_lag_reads=2) as socrata:
            socrata.create_dataset("abcd-1234", {"id": "text", "n": "number"}, row_id="id")
            ... requests to socrata.url, signed in as socrata.username, socrata.password ...
            assert socrata.rows("abcd-1234") == [{"id": "A1", "n": "42"}]

    Keyword arguments beyond the base's are those of `Switches`; `switches` holds them for changing.

    Faults of its own, beside those of the base (`faults.add`):
        "partial-errors", "partial-errors:83"  that many rows of the request are not saved and counted in
            `Errors` of a 200
        "saved"         carried out, answered 400 "Row data was saved. ..."
        "ticket"        202 with a ticket; not carried out, the ticket never gets further
        "after-ticket"  202 with a ticket; carried out, the ticket gives the counts in the end
    """

    def __init__(
        self, seed: int = 0, port: int = 0, tls: ssl.SSLContext | None = None, **switches: Any
    ) -> None:
        super().__init__(seed, port, tls)
        self.switches = Switches(**switches)
        self.username, self.password = PUBLISHER
        self.app_token = APP_TOKEN
        self._datasets: dict[str, Dataset] = {}
        self._random = random.Random(seed)
        self._request_number = 0
        self._styles = 0
        self._gate = Gate(self.switches)
        self._tickets: dict[str, tuple[int, Answer | None]] = {}
        self._reader = reads.Reader(self._random)

    # For tests

    def create_dataset(
        self,
        four_by_four: str,
        columns: Mapping[str, str],
        row_id: str | None = "id",
        name: str = "",
        *,
        private: bool = False,
        synced: bool = False,
        stage: str = "published",
    ) -> None:
        """A new, empty dataset.

        columns: {field name: type}. row_id: the column that is the row identifier; None for none.
        private: reads need a login too. synced: a replica, which nobody may write to.
        stage: its publication stage; writes to anything but "published" and "unpublished" are a 409.
        """
        with self.lock:
            self._datasets[four_by_four] = Dataset(
                four_by_four,
                dict(columns),
                row_id,
                name or f"Dataset {four_by_four}",
                self.switches,
                private=private,
                synced=synced,
                stage=stage,
            )

    def upsert(self, four_by_four: str, rows: list[dict[str, Any]]) -> None:
        """Rows that somebody else writes: by the same rules, without a request or a line in the log."""
        dataset = self._datasets[four_by_four]
        raw, _ = read_body(msgspec.json.encode(rows), is_csv=False)
        changes = dataset.parse(raw, is_csv=False)
        with self.lock:
            dataset.apply(changes, Write("POST"), replace=False, drop=frozenset())

    def rows(self, four_by_four: str) -> list[dict[str, Any]]:
        """The rows as they truly are, whatever the replicas show: values as a read gives them, nulls left out."""
        with self.lock:
            return [_user_fields(row) for row in self._datasets[four_by_four].rows.values()]

    def row(self, four_by_four: str, row_id: Any) -> dict[str, Any] | None:
        """One row as it truly is, None where there is none."""
        with self.lock:
            dataset = self._datasets[four_by_four]
            found = dataset.rows.get(_read_key(dataset, str(row_id)))
            return _user_fields(found) if found is not None else None

    def visible_rows(self, four_by_four: str) -> list[dict[str, Any]]:
        """The rows that readers see now."""
        with self.lock:
            dataset = self._datasets[four_by_four]
            dataset.settle(read=False)
            return [_user_fields(row) for row in dataset.shown.values()]

    def visible_count(self, four_by_four: str) -> int:
        """How many rows readers see now."""
        return len(self.visible_rows(four_by_four))

    def snapshot(self, four_by_four: str) -> dict[Any, StoredRow]:
        """The rows as they are, for `restore`."""
        with self.lock:
            return dict(self._datasets[four_by_four].rows)

    def restore(self, four_by_four: str, rows: Mapping[Any, StoredRow]) -> None:
        """Put a snapshot's rows back, seen by every reader; the write log and watching begin anew."""
        with self.lock:
            self._datasets[four_by_four].restore(rows)

    def watch(self, four_by_four: str) -> None:
        """Begin to note how many rows readers can see: `history`, `min_count`."""
        with self.lock:
            self._datasets[four_by_four].watch()

    def history(self, four_by_four: str) -> list[int]:
        """Rows visible at `watch` and after each change since."""
        with self.lock:
            return self._datasets[four_by_four].history

    def min_count(self, four_by_four: str) -> int:
        """The fewest rows that were ever visible since `watch`."""
        return min(self.history(four_by_four))

    def writes(self, four_by_four: str) -> list[Write]:
        """The write log: every write request that got past the sign-in, also the refused ones."""
        with self.lock:
            return list(self._datasets[four_by_four].writes)

    def refuse_ids(self, four_by_four: str, *ids: str) -> None:
        """From now on rows with these identifiers are not saved and counted in `Errors`; no ids: all are taken."""
        with self.lock:
            self._datasets[four_by_four].refuse_ids = set(ids)

    # Requests

    def handle(self, request: Request) -> tuple[Answer | None, Fault | None, int | None]:
        """As the base does, with the header that every answer of the portal bears."""
        answer, fault, sent = super().handle(request)
        if answer is not None:
            with self.lock:
                self._request_number += 1
                number = self._request_number
            answer.headers["X-Socrata-RequestId"] = f"{zlib.crc32(str(number).encode()):08x}{number:024x}"
        return answer, fault, sent

    def answer(self, request: Request) -> Answer:
        """Carry the request out and say what the portal would say."""
        return self._answer(request, drop=0)

    def own_fault(self, fault: Fault, request: Request) -> Answer | None:
        """The faults named in the class's docstring."""
        kind, _, number = fault.kind.partition(":")
        if kind == "partial-errors":
            return self._answer(request, drop=int(number or 1))
        if kind == "saved":
            answer = self.answer(request)
            message = "Row data was saved. Updating the metadata failed."
            return _error(Refusal(message)) if answer.status == 200 else answer
        if kind in ("ticket", "after-ticket"):
            result = self.answer(request) if kind == "after-ticket" else None
            with self.lock:
                ticket = f"{self._random.getrandbits(96):024x}"
                self._tickets[ticket] = (self.switches.ticket_polls, result)
            return _accepted(ticket)
        return None

    def _answer(self, request: Request, drop: int) -> Answer:
        try:
            user = self._gate.sign_in(request)
            if match := _ROWS.fullmatch(request.path):
                dataset = self._find(match[1], user)
                if request.method == "GET":
                    return self._read_rows(dataset, request, is_csv=match[2] == "csv")
                if request.method in ("POST", "PUT"):
                    return self._write(dataset, request, user, drop)
            elif match := _ROW.fullmatch(request.path):
                dataset = self._find(match[1], user)
                if request.method == "GET":
                    return self._read_row(dataset, match[2])
                if request.method == "DELETE":
                    return self._write(dataset, request, user, drop, row_id=match[2])
            elif match := _QUERY.fullmatch(request.path):
                return self._read_query(self._find(match[1], user), request, user, is_csv=match[2] == "csv")
            elif match := _VIEW.fullmatch(request.path):
                dataset = self._find(match[1], user)
                if request.method == "GET":
                    with self.lock:
                        return Answer.json(dataset.build_metadata())
                if request.method == "DELETE":
                    self._gate.check_writer(dataset, user)
                    with self.lock:
                        dataset.clear()
                    return Answer(200, b"", {"Content-Type": "application/json"})
            else:
                raise Refusal("Not found", "not_found", 404)
            raise Refusal(f"{request.method} is not allowed here", "method_not_allowed", 405)
        except Refusal as refusal:
            answer = _error(refusal)
            if refusal.status == 429 and self.switches.retry_after is not None:
                answer.headers["Retry-After"] = self.switches.retry_after
            return answer

    def _find(self, four_by_four: str, user: str) -> Dataset:
        with self.lock:
            dataset = self._datasets.get(four_by_four)
        if dataset is None or dataset.missing:
            raise Refusal("Not found", "dataset.missing", 404, id=four_by_four)
        self._gate.check_reader(dataset, user)
        return dataset

    # Writing

    def _write(
        self, dataset: Dataset, request: Request, user: str, drop: int, row_id: str | None = None
    ) -> Answer:
        """One write, alone on its dataset: the lock is held from before the body is read until it is saved."""
        self._gate.check_writer(dataset, user)
        write = Write(request.method, bytes=len(request.body))
        with self.lock:
            dataset.writes.append(write)
        try:
            if len(request.body) > self.switches.max_body_bytes:
                write.status = 413
                return Answer.text(_TOO_LARGE, 413)
            if dataset.stage not in ("published", "unpublished"):
                raise Refusal(f"The dataset is {dataset.stage}", "conflict", 409)
            if not dataset.writer.acquire(timeout=self.switches.lock_wait_s):
                raise Refusal("Another write is under way", "conflict", self.switches.lock_status)
            try:
                if row_id is not None:
                    return self._delete_row(dataset, write, row_id)
                return self._write_rows(dataset, request, write, drop)
            finally:
                dataset.writer.release()
        except Refusal as refusal:
            write.status = refusal.status
            raise

    def _write_rows(self, dataset: Dataset, request: Request, write: Write, drop: int) -> Answer:
        body = _decompress(request)
        write.decoded_bytes = len(body)
        kind = request.header("Content-Type").partition(";")[0].strip().lower()
        if kind not in ("", "application/json", "text/csv"):
            raise Refusal(f"Content type {kind} is not supported", "unsupported_media_type", 415)
        is_csv = kind == "text/csv"
        raw, is_bare = read_body(body, is_csv)
        write.rows = len(raw)
        if len(body) > self.switches.max_row_bytes and any(
            len(msgspec.json.encode(row)) > self.switches.max_row_bytes for row in raw
        ):
            raise Refusal("A row is too large")
        changes = dataset.parse(raw, is_csv)
        time.sleep(self.switches.write_s + self.switches.write_s_per_row * len(changes))
        with self.lock:
            drop = min(drop, len(changes))
            dropped = frozenset(self._random.sample(range(len(changes)), drop)) if drop else frozenset()
            dataset.apply(changes, write, replace=request.method == "PUT", drop=dropped)
            if self.switches.creates_as_updates:
                write.updated, write.created = write.updated + write.created, 0
            if is_bare and self.switches.row_reply and not write.errors and not write.deleted:
                return Answer.json(_user_fields(_written(dataset, changes[0])))
            return Answer.json(self._build_reply(dataset, changes, write))

    def _build_reply(self, dataset: Dataset, changes: list[Change], write: Write) -> Any:
        """The counts, under keys that vary as they do between portals and versions."""
        style = self.switches.reply_style
        if style == "storage":
            refused = set(write.refused)
            return [
                {"typ": "error", "id": str(change.key), "err": "refused"}
                if str(change.key) in refused
                else {"typ": "delete" if change.deleted else "update", "id": str(change.key)}
                for change in changes
            ]
        if style == "vary":
            style = ("all", "legacy", "short")[self._styles % 3]
            self._styles += 1
        reply = {
            "Errors": write.errors,
            "Rows Created": write.created,
            "Rows Updated": write.updated,
            "Rows Deleted": write.deleted,
        }
        if style == "legacy":
            known = write.updated + write.deleted
            reply["By RowIdentifier"] = known if dataset.row_id is not None else 0
            reply["By SID"] = known if dataset.row_id is None else 0
        if style == "short":
            reply = {key: n for key, n in reply.items() if n or key not in ("Errors", "Rows Deleted")}
        return reply

    def _delete_row(self, dataset: Dataset, write: Write, row_id: str) -> Answer:
        write.rows = 1
        key = _read_key(dataset, row_id)
        with self.lock:
            if key not in dataset.rows:
                raise Refusal("Not found", "row.missing", 404, id=row_id)
            dataset.apply([Change(key, {}, True)], write, replace=False, drop=frozenset())
        return Answer.json([{"typ": "delete", "id": row_id}])

    # Reading

    def _read_rows(self, dataset: Dataset, request: Request, is_csv: bool) -> Answer:
        if "ticket" in request.query:
            return self._poll(request.query["ticket"])
        with self.lock:
            query, parser = reads.build_query(dataset, request.query)
            return self._reader.answer(dataset, query, parser, is_csv)

    def _read_query(self, dataset: Dataset, request: Request, user: str, is_csv: bool) -> Answer:
        """A SODA3 read."""
        if not user and not request.header("X-App-Token"):
            raise Refusal("A user or an app token is required", "permission_denied", 403)
        asked: Any = request.query
        if request.method == "POST":
            asked = read_body(request.body, is_csv=False)[0][0]
        with self.lock:
            query, parser = reads.build_soda3_query(dataset, asked)
            return self._reader.answer(dataset, query, parser, is_csv)

    def _read_row(self, dataset: Dataset, row_id: str) -> Answer:
        with self.lock:
            dataset.settle(read=True)
            row = dataset.shown.get(_read_key(dataset, row_id))
            if row is None:
                raise Refusal("Not found", "row.missing", 404, id=row_id)
            return Answer.json(row.values)

    def _poll(self, ticket: str) -> Answer:
        with self.lock:
            if ticket not in self._tickets:
                raise Refusal("Not found", "not_found", 404)
            left, result = self._tickets[ticket]
            self._tickets[ticket] = (left - 1, result)
        return _accepted(ticket) if result is None or left > 0 else result


def _user_fields(row: StoredRow) -> dict[str, Any]:
    return {name: value for name, value in row.values.items() if not name.startswith(":")}


def _written(dataset: Dataset, change: Change) -> StoredRow:
    if change.key is not None:
        return dataset.rows[change.key]
    return next(reversed(dataset.rows.values()))


def _read_key(dataset: Dataset, text: str) -> Any:
    """The key that a row id in an address means; raises: Refusal."""
    if dataset.row_id is None:
        return decode_sid(text)
    change = dataset.parse([{dataset.row_id: text}], is_csv=True)[0]
    return change.key


def _decompress(request: Request) -> bytes:
    encoding = request.header("Content-Encoding").lower()
    if encoding in ("", "identity"):
        return request.body
    if encoding != "gzip":
        raise Refusal(f"Content encoding {encoding} is not supported", "unsupported_media_type", 415)
    try:
        return gzip.decompress(request.body)
    except (OSError, EOFError, zlib.error):
        raise Refusal("The body is not gzip") from None


def _accepted(ticket: str) -> Answer:
    return Answer.json({"code": "accepted", "error": False, "ticket": ticket}, 202)


def _error(refusal: Refusal) -> Answer:
    body: dict[str, Any] = {"code": refusal.code, "error": True, "message": refusal.message}
    if isinstance(refusal, SoqlError):
        body = {"errorCode": refusal.code, "message": refusal.message}
    if refusal.data:
        body["data"] = refusal.data
    return Answer.json(body, refusal.status)
