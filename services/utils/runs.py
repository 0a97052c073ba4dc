"""The ledger: one row in api.runs for each run, its watermark, and what it could not deliver."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from services.utils.cli import Args, Summary
from services.utils.due import find_due, tell_due
from services.utils.errors import ServiceError, Stopped, StoreError
from services.utils.postgrest import PostgREST
from services.utils.processes import is_gone, name_host, name_process
from services.utils.progress import track
from services.utils.records import Counts, Document, Part, Reject
from services.utils.session import Backoff, ask_before_writes, pause
from services.utils.spool import Spool

if TYPE_CHECKING:
    from services.utils.store import Store

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
# A run that could not show for so long that it is alive (it was frozen, or cut off) may have been taken for dead
# by now, or be so soon: it asks before it writes anything more.
LEASE_S = 40.0
# A run is taken for dead after 60 s without a heartbeat (api.state); waiting a little longer than that
# lets a run start behind one that died on another machine.
WAIT_FOR_OTHER_S = 75.0
# What a process sent before it died may still be carried out; the next run is not to overtake that.
SETTLE_S = 30.0
_REJECTS_A_CALL = 200


class _Start(msgspec.Struct):
    """What a run starts from (api.find_start)."""

    since: dt.datetime | None = None
    last_watermark: dt.datetime | None = None
    is_full_due: bool = False
    open_rejects: list[str] = []
    metadata: msgspec.Raw = msgspec.Raw(b"null")


class _Opened(msgspec.Struct):
    """The answer of api.start_run: a run, or another that is busy."""

    run_id: str = ""
    watermark: dt.datetime | None = None
    start: _Start = msgspec.field(default_factory=_Start)
    busy: dict[str, Any] | None = None


_OPENED = msgspec.json.Decoder(_Opened)
_STARTS = msgspec.json.Decoder(list[_Start])


class Run:
    """A run under way. Scripts read `since` and set `counts`; rejects are kept as they come."""

    def __init__(
        self, store: PostgREST, args: Args, destination: str, container: Store | None = None
    ) -> None:
        self._store = store
        self._args = args
        self._container = container
        # Two threads load, and either may refuse a record.
        self._lock = threading.Lock()
        self._rejects: list[dict[str, Any]] = []
        self._rejected_ids: set[str] = set()
        self._open_rejects: set[str] = set()
        self._delivered: set[str] = set()
        self._asked_id = ""
        self._shown_alive = (0.0, 0.0)
        self._beating = threading.local()
        self.destination = destination
        self.id = ""
        self.counts = Counts()
        self.since = args.date
        # Up to here everything has been delivered if the run ends ok: the store's clock, or for a load
        # the source's, which the script sets. ISO-8601.
        self.watermark: str | None = None
        self.part = args.part
        self.moves_watermark = args.date is None and not self.is_shard
        # Of a run without `since`: whether it looked at every record, so that what is refused no more can be told.
        self.sees_all = not self.is_shard
        self.status = "running"

    @property
    def is_full(self) -> bool:
        """Whether the run covers everything, so that the target becomes exactly the source."""
        return self.since is None

    @property
    def is_shard(self) -> bool:
        """Whether the run reads a part of everything; the finishing run of all shards does not."""
        return self.part is not None and self.part.number > 0

    @property
    def since_text(self) -> str | None:
        """`since` as the store takes it, or None for everything."""
        return self.since.isoformat() if self.since else None

    @property
    def rejected_ids(self) -> set[str]:
        """Records that this run refused so far."""
        return set(self._rejected_ids)

    def reject(self, reject: Reject) -> None:
        """Keep one refused record in api.rejects, with its reason."""
        self._rejected_ids.add(reject.record_id)
        log.warning("record %s was refused: %s", reject.record_id, reject.reason)
        if self._args.dry_run:
            return
        kept = {"record_id": reject.record_id, "reason": reject.reason, "content": _storable(reject.content)}
        with self._lock:
            self._rejects.append(kept)
            many = len(self._rejects) >= _REJECTS_A_CALL
        if many:
            self.flush_rejects()

    def flush_rejects(self, backoff: Backoff | None = None) -> None:
        """Send the rejects that are waiting."""
        with self._lock:
            waiting, self._rejects = self._rejects, []
        if waiting:
            # One record may be refused twice in a run (shaping, then sending): the last reason stands.
            latest = {reject["record_id"]: reject for reject in waiting}
            try:
                self._store.call(
                    "keep_rejects", {"run_id": self.id, "rejects": list(latest.values())}, backoff=backoff
                )
            except ServiceError:
                with self._lock:
                    self._rejects[:0] = waiting
                raise

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Pass documents on, each once, noting which of them had been refused before.

        One that changes while changes are read comes twice; what it is now, the next run reads, whose time begins
        before this run did.
        """
        seen = Spool() if self.since is not None else None
        try:
            for document in track(documents, "reading documents"):
                if seen is not None and not seen.there(document.record_id):
                    continue
                if document.record_id in self._open_rejects:
                    self._delivered.add(document.record_id)
                yield document
        finally:
            if seen is not None:
                seen.close()

    def note(self, record_ids: Iterable[str]) -> None:
        """As `watch`, for records known by their ids."""
        if self._open_rejects:
            self._delivered.update(self._open_rejects.intersection(record_ids))

    def summary(self) -> Summary:
        """What the last line of stdout says."""
        return Summary(self.status, self.since, self.watermark if self.status == "ok" else None, self.counts)

    def open(self) -> None:
        """Write the run's row; wait while another run writes the same destination.

        Raises: StoreError if that other run does not end in time.
        """
        asked = self._ask_start()
        if self._args.dry_run:
            if self._container is not None or self._args.since_last:
                self._take_start(self._store.call_as("find_start", asked, _STARTS, reads=True)[0])
            return
        dead: str | None = None
        waiting_since = time.monotonic()
        while True:
            # Ours to give: however often the call is carried out, there is one row of it, and we know which.
            self._asked_id = str(uuid.uuid4())
            asked_at = _read_clocks()
            answer = self._store.call_as(
                "start_run",
                {
                    **asked,
                    "since_last": self._args.since_last,
                    "since": self.since_text,
                    "host": name_host(),
                    "process": name_process(os.getpid()),
                    "dead": dead,
                    "run_id": self._asked_id,
                    **_name_part(self.part),
                },
                _OPENED,
            )
            busy = answer.busy
            if busy is None:
                self.id = answer.run_id
                self._shown_alive = asked_at
                # Written as `since` is, so that the two can be compared: PostgreSQL leaves noughts away.
                self.watermark = answer.watermark.isoformat() if answer.watermark else None
                self._take_start(answer.start)
                return
            if busy["host"] == name_host() and is_gone(busy["process"]):
                dead = busy["run_id"]
                wait_s = 0.0 if busy["process"] == name_process(os.getpid()) else _find_settle_s(busy)
                log.info("run %s died on this machine; taking its place in %.0f s", dead, wait_s)
                pause(wait_s)
                continue
            if time.monotonic() - waiting_since > WAIT_FOR_OTHER_S:
                shard = f" (shard {busy['shard']})" if busy.get("shard") else ""
                raise StoreError(
                    f"Another run of {busy['script']}{shard} has been writing {self.destination} since "
                    f"{busy['started_at']} and is still alive. Nothing was changed. Run again when it is done."
                )
            log.info("waiting: %s is being written by a run of %s", self.destination, busy["script"])
            pause(2 if time.monotonic() - waiting_since > 5 else 0.3)

    def close(self, status: str, error: str = "") -> None:
        """Write the run's end. A run that ended ok moves the watermark; no other does."""
        self.status = status
        if self._args.dry_run:
            self.watermark = None
            return
        if not self.moves_watermark:
            self.watermark = None
        done = status in ("ok", "partial")
        # A run that failed or was told to stop has little time left, and must be closed whatever else fails.
        backoff = None if done else Backoff(attempts=4, deadline_s=20.0)
        if not self._asked_id:
            return
        try:
            self.flush_rejects(backoff)
        except ServiceError as refused:
            if done:
                raise
            log.warning("rejects of this run could not be kept: %s", refused)
        if done:
            delivered = sorted(self._delivered - self._rejected_ids)
            all_seen = self.is_full and self.sees_all
            if all_seen or delivered:
                self._store.call(
                    "close_rejects",
                    {"run_id": self.id, "all_seen": all_seen, "record_ids": delivered},
                )
        ended = {
            "run_id": self.id or self._asked_id,
            "status": status,
            "watermark": self.watermark if status == "ok" else None,
            **self.counts.as_dict(),
            "error": error or None,
        }
        # Where the answer to its opening never came, that may still be on its way.
        for pause_s in (0.0,) if self.id else (0.0, 0.2, 1.0):
            pause(pause_s)
            closed = self._store.call("close_run", ended, backoff=backoff)
            if closed is not None:
                break
        if closed is None and done:
            raise StoreError(
                f"Run {self.id} was taken for dead while it ran, and another took its place. What it wrote "
                "is kept; its watermark is not. Look at the newer run."
            )

    def beat(self) -> bool:
        """Show that the run is alive; False if it has been taken for dead."""
        try:
            return self._beat(Backoff(attempts=2, deadline_s=HEARTBEAT_S))
        except ServiceError as error:
            log.debug("no heartbeat: %s", error)
            return True

    def require_alive(self) -> None:
        """See, before something is written, that no other run has taken this one's place.

        Raises: StoreError if one has, or if the ledger cannot be asked.
        """
        silent_s = max(now - then for now, then in zip(_read_clocks(), self._shown_alive))
        if silent_s < LEASE_S or getattr(self._beating, "now", False):
            return
        log.info("no sign of life for %.0f s: asking the ledger before anything more is written", silent_s)
        if not self._beat(None):
            raise build_lost(self)

    def _beat(self, backoff: Backoff | None) -> bool:
        asked_at = _read_clocks()
        self._beating.now = True
        try:
            alive = self._store.call("beat_run", {"run_id": self.id}, backoff=backoff) is not None
        finally:
            self._beating.now = False
        if alive:
            self._shown_alive = asked_at
        return alive

    def _ask_start(self) -> dict[str, Any]:
        """What the ledger is asked for before the run begins, as api.find_start and api.start_run take it."""
        when = self._args.full_every if self._args.since_last else ""
        return {
            "script": self._args.script,
            "app": self._args.app_name,
            "container": self._args.container,
            "destination": self.destination,
            "env": self._args.env,
            "full_due_at": find_due(when).isoformat() if when else None,
            **(self._container.place if self._container is not None else {}),
        }

    def _take_start(self, start: _Start) -> None:
        """Go on from where the ledger says that the last run ended."""
        self._open_rejects = set(start.open_rejects)
        if self._container is not None:
            self._container.take_metadata(bytes(start.metadata))
        last = start.last_watermark
        if self._args.date is not None:
            # A run from a later date leaves a gap behind the last watermark: it must not move it.
            self.moves_watermark = last is not None and self._args.date <= last
        if not self._args.since_last:
            return
        # No overlap is needed here: api.watermark() already stands before every open transaction,
        # and a source's own reading widens the time as that source needs it.
        self.since = start.since
        if start.is_full_due and last is not None:
            tell_due(self._args.full_every, whole=True)
        else:
            log.info("changes since %s", self.since.isoformat() if self.since else "ever: no run before this")


@contextlib.contextmanager
def record_run(
    store: PostgREST, args: Args, destination: str, *, container: Store | None = None
) -> Iterator[Run]:
    """Keep a run in the ledger: opened before the body, kept alive, closed as the body ends.

    Args:
        destination: what the run writes, in words ("socrata:data.example.org/abcd-1234"); two runs on one
            destination never write at once.
        container: where metadata are needed: it is given those with the answer that opens the run.
    With --dry-run nothing is written, the ledger included. An error of the body closes the run as failed
    (Stopped: as stopped) and goes on its way, with the run's summary as `error.summary`.
    """
    run = Run(store, args, destination, container)
    over = threading.Event()
    lost = threading.Event()
    try:
        run.open()
        if run.id:
            threading.Thread(target=_keep_alive, args=(run, over, lost), daemon=True).start()
            ask_before_writes(run.require_alive)
        yield run
        over.set()
        ask_before_writes(None)
        run.counts.rejected = max(run.counts.rejected, len(run._rejected_ids))
        run.close("partial" if run.counts.rejected else "ok")
    except BaseException as caught:
        over.set()
        ask_before_writes(None)
        error = build_lost(run) if lost.is_set() else caught
        stopped = isinstance(error, KeyboardInterrupt)
        known = (
            str(error)
            if isinstance(error, ServiceError | Stopped)
            else f"{type(error).__name__} (see the log)"
        )
        for _ in range(2):
            try:
                run.close("stopped" if stopped else "failed", known)
                break
            except Stopped:
                continue  # told so while closing; from now on signals are ignored
            except ServiceError as unclosed:
                log.warning("the ledger does not know how this run ended: %s", unclosed)
                break
        run.status = "stopped" if stopped else "failed"
        error.summary = run.summary()  # type: ignore[attr-defined]
        if error is caught:
            raise
        raise error from caught
    finally:
        over.set()


@contextlib.contextmanager
def record_run_if(store: PostgREST | None, args: Args, destination: str) -> Iterator[Run]:
    """As `record_run`; without a store nothing is kept of the run, and nothing keeps others from writing too."""
    if store is None:
        log.warning(
            "no PGREST_ENDPOINT: the ledger does not know of this run, and others may write meanwhile"
        )
        # A dry run asks no store for anything.
        store, args = cast(PostgREST, None), dataclasses.replace(args, dry_run=True)
    with record_run(store, args, destination) as run:
        yield run


def _name_part(part: Part | None) -> dict[str, Any]:
    """A part of a full load, as the ledger takes it."""
    if part is None:
        return {}
    return {"shards": part.shards, "shard": part.number or None, "round": part.round}


def _find_settle_s(died: dict[str, Any]) -> float:
    """How long to leave alone what a dead run wrote: until `SETTLE_S` after its last sign of life."""
    from dateutil import parser as dates

    silent_s = time.time() - dates.isoparse(died["heartbeat_at"]).timestamp()
    # The two clocks may differ: never longer than the whole.
    return min(max(SETTLE_S - silent_s, 0.0), SETTLE_S)


def build_lost(run: Run) -> StoreError:
    """The error of a run that is one no more."""
    return StoreError(
        f"Run {run.id} was taken for dead while it ran, and another took its place. "
        "What it wrote is kept. Look at the newer run."
    )


def _read_clocks() -> tuple[float, float]:
    """Seconds on two clocks: one that nobody sets but that may stand still while a machine is suspended, and
    the one on the wall."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)), time.time()


def _keep_alive(run: Run, over: threading.Event, lost: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        if not run.beat() and not over.is_set():
            lost.set()
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _storable(content: Any) -> Any:
    """A reject's content as the json column surely takes it: a document's bytes as one text."""
    if isinstance(content, bytes):
        return content.decode("utf-8", "replace").replace("\0", "\ufffd")
    try:
        text = msgspec.json.encode(content)
    except (TypeError, ValueError, msgspec.EncodeError):
        return None
    # The escape that PostgreSQL refuses is harmless one level down, as text.
    return text.decode() if b"\\u0000" in text else content
