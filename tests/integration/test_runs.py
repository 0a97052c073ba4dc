"""The ledger: one row a run, one writer a destination, watermarks, rejects, lives and deaths."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dev import stack as stacks
from dev.simulators.postgrest import PostgrestWire
from services.utils import processes, runs, session
from services.utils.cli import Args
from services.utils.env import StoreSettings
from services.utils.errors import ConfigError, PublishError, SourceError, Stopped, StoreError
from services.utils.postgrest import PostgREST
from services.utils.records import Counts, Document, Reject
from services.utils.store import Store
from services.utils.store import reading as pages_read

DESTINATION = "socrata:data.example.org/abcd-1234"
SCRIPT = Args("records_to_socrata", "app", "object_1", "prod")
ZERO = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Waits take a hundredth."""
    session.set_testing(0.01)
    yield
    session.set_testing(1.0)


@pytest.fixture
def postgrest(clean_store: stacks.Stack) -> PostgREST:
    """A publisher on an empty ledger."""
    return connect(clean_store)


def connect(stack: stacks.Stack, url: str = "", role: str = "api_publisher") -> PostgREST:
    """A PostgREST client."""
    return PostgREST(StoreSettings(url or stack.url, "", stack.jwt_secret, role))


def flags(**changes: Any) -> Args:
    """The flags of a run on app/object_1 in prod."""
    return Args(**{**SCRIPT.__dict__, **changes})


def ledger(stack: stacks.Stack) -> list[dict[str, Any]]:
    """Every run, oldest first."""
    rows = stack.execute("select row_to_json(r)::text from api.runs r order by started_at")
    return [msgspec.json.decode(row[0]) for row in rows]


def rejects(stack: stacks.Stack) -> list[tuple[str, str, bool]]:
    """(record, reason, open) of every reject."""
    return stack.execute("select record_id, reason, closed_at is null from api.rejects order by 1, reject_id")


def run_through(
    postgrest: PostgREST, args: Args = SCRIPT, refused: tuple[str, ...] = (), **counts: int
) -> runs.Run:
    """A run that does nothing but count and refuse."""
    with runs.record_run(postgrest, args, DESTINATION) as run:
        run.counts = Counts(**counts)
        for record_id in refused:
            run.reject(Reject(record_id, "field_1: too long", {"id": record_id}))
    return run


def put_run(stack: stacks.Stack, **columns: Any) -> str:
    """A row in the ledger as another process left it; its id."""
    row = {
        "script": "other",
        "destination": DESTINATION,
        "env": "prod",
        "host": "elsewhere",
        "process": "1 1",
        **columns,
    }
    names = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    return str(
        stack.execute(f"insert into api.runs ({names}) values ({marks}) returning run_id", [*row.values()])[
            0
        ][0]
    )


# -- one run


def test_record_run__ok(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A run that went well leaves one closed row with its counts and its watermark."""
    run = run_through(postgrest, read=5, inserted=1, updated=1, unchanged=2, deleted=1)
    (row,) = ledger(clean_store)
    for name, value in {
        "run_id": run.id,
        "script": "records_to_socrata",
        "app": "app",
        "container": "object_1",
        "destination": DESTINATION,
        "env": "prod",
        "since": None,
        "status": "ok",
        "read": 5,
        "inserted": 1,
        "updated": 1,
        "unchanged": 2,
        "deleted": 1,
        "rejected": 0,
        "error": None,
    }.items():
        assert row[name] == value, name
    assert dt.datetime.fromisoformat(row["watermark"]) == dt.datetime.fromisoformat(run.watermark)
    assert row["watermark"] <= row["started_at"] <= row["finished_at"]
    assert run.summary().watermark == run.watermark
    assert run.summary().counts.read == 5


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (SourceError("Knack said no."), "failed", "Knack said no."),
        (PublishError("The portal said no.", ["r1"]), "failed", "The portal said no."),
        (ConfigError("No such field."), "failed", "No such field."),
        (Stopped("Stopped by SIGTERM."), "stopped", "Stopped by SIGTERM."),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt (see the log)"),
        (KeyError("s3cret-value"), "failed", "KeyError (see the log)"),
        (SystemExit(7), "failed", "SystemExit (see the log)"),
    ],
)
def test_record_run__body_fails(
    postgrest: PostgREST, clean_store: stacks.Stack, error: BaseException, status: str, told: str
) -> None:
    """An error of the body closes the run, keeps what it had counted, and goes on its way as it was."""
    cause = ValueError("the cause")
    error.__cause__ = cause
    with pytest.raises(type(error)) as caught, runs.record_run(postgrest, SCRIPT, DESTINATION) as run:
        run.counts.read = 3
        raise error
    assert caught.value is error
    assert caught.value.__cause__ is cause
    (row,) = ledger(clean_store)
    assert (row["status"], row["error"], row["read"], row["watermark"]) == (status, told, 3, None)
    assert row["finished_at"] is not None
    assert caught.value.summary.status == status
    assert caught.value.summary.counts.read == 3
    assert caught.value.summary.watermark is None


def test_record_run__dry_run(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A dry run leaves nothing in the ledger, rejects included, and has no watermark; it still knows since when."""
    run_through(postgrest, read=1)
    before = ledger(clean_store)
    with PostgrestWire(clean_store.url) as wire:
        run = run_through(
            connect(clean_store, wire.url), flags(dry_run=True, since_last=True), refused=("r1",)
        )
        assert {seen.method for seen in wire.requests} == {"GET"}
    assert ledger(clean_store) == before
    assert rejects(clean_store) == []
    assert run.since is not None
    assert (run.summary().status, run.summary().watermark, run.counts.rejected) == ("partial", None, 1)


def test_record_run__for_a_whole_app(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A run without a container (an app's metadata) is kept as well, and found again."""
    args = Args("metadata_to_postgrest", "app", "", "prod")
    first = run_through(postgrest, args)
    second = run_through(postgrest, Args(**{**args.__dict__, "since_last": True}))
    assert second.since == dt.datetime.fromisoformat(first.watermark)


# -- watermarks


def test_since_last__from_the_last_ok_run(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """--since-last begins at the watermark of the last run that went well; the first time with everything."""
    first = run_through(postgrest, flags(since_last=True))
    assert first.since is None
    assert first.is_full
    second = run_through(postgrest, flags(since_last=True))
    assert second.since == dt.datetime.fromisoformat(first.watermark)
    assert not second.is_full
    third = run_through(postgrest, flags(since_last=True))
    assert third.since == dt.datetime.fromisoformat(second.watermark)
    assert third.since > second.since
    assert [row["since"] is None for row in ledger(clean_store)] == [True, False, False]


def test_since_last__written_as_the_watermark_was(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """`since` is, letter for letter, the watermark that the run before told, noughts at its end included."""
    was = clean_store.execute("select pg_get_functiondef('api.watermark()'::regprocedure)")[0][0]
    clean_store.execute(
        "create or replace function api.watermark() returns timestamptz language sql as "
        "$$ select date_trunc('second', clock_timestamp()) + interval '331840 microseconds' $$"
    )
    try:
        first = run_through(postgrest)
    finally:
        clean_store.execute(was)
    again = run_through(postgrest, flags(since_last=True))
    assert again.since_text == first.watermark
    assert first.summary().watermark == first.watermark


@pytest.mark.parametrize("dry_run", [False, True])
def test_start__metadata_of_the_container(clean_store: stacks.Stack, dry_run: bool) -> None:
    """The answer that opens a run brings the metadata of its Knack app, or of its ODK form, whatever they hold."""
    clean_store.execute(
        "insert into api.knack_metadata values ('a1', %s)", ['{"name": "\\ud83d\\udef4 \\\\u0000"}']
    )
    for form in ("trees", "parks"):
        row = ["h/1", form, msgspec.json.encode({"name": form}).decode()]
        clean_store.execute("insert into api.odk_metadata values (%s, %s, %s)", row)
    found = []
    with PostgrestWire(clean_store.url) as wire:
        store = connect(clean_store, wire.url)
        for place in (("knack", "a1", "object_1"), ("odk", "h/1", "parks"), ("odk", "h/2", "parks")):
            container = Store(store, *place)
            with runs.record_run(store, flags(dry_run=dry_run), DESTINATION, container=container):
                found.append(container.read_metadata())
        assert found == [{"name": "🛴 \\u0000"}, {"name": "parks"}, None]
        # Asked for by itself only where there was none.
        assert [seen.path for seen in wire.requests if "metadata" in seen.path] == ["/odk_metadata"]


def test_since_last__failed_and_partial_move_nothing(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A run that failed, was stopped, or refused records is passed over: what it missed comes again."""
    first = run_through(postgrest)
    partial = run_through(postgrest, flags(since_last=True), refused=("r1",))
    assert partial.status == "partial"
    for error in (SourceError("no"), Stopped("stop")):
        with contextlib.suppress(SourceError, Stopped), runs.record_run(postgrest, SCRIPT, DESTINATION):
            raise error
    after = run_through(postgrest, flags(since_last=True))
    assert after.since == dt.datetime.fromisoformat(first.watermark)
    assert [row["status"] for row in ledger(clean_store)] == ["ok", "partial", "failed", "stopped", "ok"]
    assert [row["watermark"] is None for row in ledger(clean_store)] == [False, True, True, True, False]


@pytest.mark.parametrize(
    "other",
    [{"script": "records_to_agol"}, {"app_name": "b"}, {"container": "object_2"}, {"env": "dev"}],
    ids=str,
)
def test_since_last__of_the_same_work_only(postgrest: PostgREST, other: dict[str, str]) -> None:
    """The last run is that of the same script, app, container, environment and destination."""
    run_through(postgrest, flags(**other))
    with runs.record_run(postgrest, SCRIPT, "socrata:data.example.org/other-data"):
        pass
    assert run_through(postgrest, flags(since_last=True)).since is None


def test_date__later_than_the_last(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """-d from after the last watermark leaves a gap behind it, so it must not move it; nor where there is none."""
    now = dt.datetime.now(dt.UTC)
    alone = run_through(postgrest, flags(date=now))
    assert alone.summary().watermark is None
    first = run_through(postgrest)
    later = run_through(postgrest, flags(date=now + dt.timedelta(hours=1)))
    assert (later.since, later.is_full) == (now + dt.timedelta(hours=1), False)
    assert later.summary().watermark is None
    assert run_through(postgrest, flags(since_last=True)).since == dt.datetime.fromisoformat(first.watermark)
    assert [row["watermark"] is None for row in ledger(clean_store)] == [True, False, True, False]


def test_date__before_the_last(postgrest: PostgREST) -> None:
    """-d from before the last watermark covers all since then, so it moves it on."""
    first = run_through(postgrest)
    covering = run_through(postgrest, flags(date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))
    assert covering.watermark > first.watermark
    assert run_through(postgrest, flags(since_last=True)).since == dt.datetime.fromisoformat(
        covering.watermark
    )


def test_watch__changed_while_it_is_read(
    postgrest: PostgREST, clean_store: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes while changes are read comes once, not as two records of one key, and again with the next run."""
    monkeypatch.setattr(pages_read, "READ_ROWS_FIRST", 2)
    documents = Store(postgrest, "knack", "a1", "object_1")
    loads = Store(connect(clean_store, role="api_user"), "knack", "a1", "object_1")
    pages = [[(f"r{number}", b'{"n":1}') for number in range(5)]]
    loads.load(pages, on_reject=pytest.fail)
    first = flags(date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    run_through(postgrest)
    with runs.record_run(postgrest, first, DESTINATION) as run:
        reading = run.watch(documents.read(since=run.since_text))
        found = [next(reading)]
        loads.load([[("r0", b'{"n":2}')]], on_reject=pytest.fail)
        found += reading
    assert [(one.record_id, one.record) for one in found] == pages[0]
    with runs.record_run(postgrest, flags(since_last=True), DESTINATION) as run:
        found = list(run.watch(documents.read(since=run.since_text)))
    assert ("r0", b'{"n":2}') in [(one.record_id, one.record) for one in found]


def test_watermark__set_by_the_script(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A load sets the source's clock as its watermark; the next one begins there."""
    with runs.record_run(postgrest, SCRIPT, DESTINATION) as run:
        run.watermark = "2024-05-01T12:00:00+00:00"
    assert run_through(postgrest, flags(since_last=True)).since == dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


# -- one writer for a destination


def test_open__waits_for_another(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A second run on a destination waits until the first has ended, and never writes beside it."""
    order: list[str] = []
    opened = threading.Event()

    def first() -> None:
        with runs.record_run(connect(clean_store), SCRIPT, DESTINATION):
            # Of another machine, for one of this process is known to be of this process.
            clean_store.execute("update api.runs set host = 'elsewhere'")
            opened.set()
            time.sleep(0.3)
            order.append("first ends")

    thread = threading.Thread(target=first)
    thread.start()
    opened.wait()
    with runs.record_run(postgrest, SCRIPT, DESTINATION):
        order.append("second begins")
    thread.join()
    assert order == ["first ends", "second begins"]
    assert [row["status"] for row in ledger(clean_store)] == ["ok", "ok"]


def test_open__gives_up(
    postgrest: PostgREST, clean_store: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the other run does not end in time, this one stops with a line that names it, and leaves it alone."""
    monkeypatch.setattr(runs, "WAIT_FOR_OTHER_S", 0.1)
    put_run(clean_store, script="records_to_agol")
    with pytest.raises(
        StoreError, match=f"Another run of records_to_agol has been writing {DESTINATION} since 20"
    ):
        run_through(postgrest)
    assert [row["status"] for row in ledger(clean_store)] == ["running"]


def test_open__other_destinations_do_not_wait(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """Runs on different destinations go on side by side."""
    put_run(clean_store, destination="agol:x/0")
    assert run_through(postgrest).status == "ok"


def test_open__silent_run_is_taken_over(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A run without a heartbeat for a minute is closed as failed, and its place taken at once."""
    put_run(clean_store)
    clean_store.execute("update api.runs set heartbeat_at = now() - interval '61 seconds'")
    assert run_through(postgrest).status == "ok"
    dead, mine = ledger(clean_store)
    assert (dead["status"], dead["error"]) == ("failed", "the process died: its heartbeat stopped")
    assert dead["finished_at"] is not None
    assert mine["status"] == "ok"


def test_open__process_that_died_here(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A run whose process died on this machine is replaced at once, though its heart beat a moment ago."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = processes.name_process(child.pid)
    row = {"host": processes.name_host(), "process": process}
    assert processes.is_gone(process) is False
    child.kill()
    # Before its parent has asked how it ended, and after.
    assert _becomes(lambda: processes.is_gone(process))
    child.wait()
    assert processes.is_gone(process) is True
    put_run(clean_store, **row)
    assert run_through(postgrest).status == "ok"
    assert [row["status"] for row in ledger(clean_store)] == ["failed", "ok"]


def _becomes(what: Any, deadline_s: float = 10) -> bool:
    deadline = time.monotonic() + deadline_s
    while not what() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(what())


def test_open__process_that_lives_here(
    postgrest: PostgREST, clean_store: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of a living process of this machine is not replaced, nor one of another machine with a free number."""
    monkeypatch.setattr(runs, "WAIT_FOR_OTHER_S", 0.1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        for row in (
            {"host": processes.name_host(), "process": processes.name_process(child.pid)},
            {"host": "elsewhere", "process": "999999 1"},
        ):
            clean_store.execute("delete from api.runs")
            put_run(clean_store, **row)
            with pytest.raises(StoreError, match="Another run"):
                run_through(postgrest)
        child.kill()


def test_open__number_used_again(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """Numbers of processes come round: one that began at another time is another one, also where it is ours now."""
    for number in (os.getpid(), os.getppid()):
        clean_store.execute("delete from api.runs")
        put_run(clean_store, host=processes.name_host(), process=f"{number} 12345")
        assert run_through(postgrest).status == "ok"


@pytest.mark.parametrize("fault", ["after-reset", "after-503", "after-html"])
def test_open__answer_lost(clean_store: stacks.Stack, fault: str) -> None:
    """Where the answer to the opening was lost, the repeat finds its own row: there is one, and nobody waits."""
    with PostgrestWire(clean_store.url) as wire:
        wire.faults.add(fault, path="/rpc/start_run")
        assert run_through(connect(clean_store, wire.url)).status == "ok"
    assert [row["status"] for row in ledger(clean_store)] == ["ok"]


def test_open__carried_out_late(clean_store: stacks.Stack) -> None:
    """An opening that was lost and is carried out when the run has long ended opens no other."""
    with PostgrestWire(clean_store.url) as wire:
        wire.faults.add("late", path="/rpc/start_run", seconds=0.3)
        assert run_through(connect(clean_store, wire.url)).status == "ok"
        wire.wait_until_idle()
    assert [row["status"] for row in ledger(clean_store)] == ["ok"]


def test_open__two_at_once(clean_store: stacks.Stack) -> None:
    """Of many that open at the very same time each has the destination for itself for a while."""
    inside: list[int] = []
    most: list[int] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        store = connect(clean_store)
        start.wait()
        answer: dict[str, Any] = {"busy": True}
        while "busy" in answer:
            answer = store.call(
                "start_run",
                {
                    "script": "s",
                    "app": "a",
                    "container": "c",
                    "destination": DESTINATION,
                    "env": "prod",
                    "since": None,
                    "host": f"host {number}",
                    "process": "1",
                },
            )
        inside.append(number)
        most.append(len(inside))
        time.sleep(0.02)
        inside.remove(number)
        counts = Counts().as_dict()
        ended = {"run_id": answer["run_id"], "status": "ok", "watermark": None, "error": None, **counts}
        assert store.call("close_run", ended) == "ok"

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert len(ledger(clean_store)) == 4


# -- heartbeat


def test_heartbeat__beats(
    postgrest: PostgREST, clean_store: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the body works the run shows that it is alive, also through a moment without the store."""
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.05)

    def beat_at() -> Any:
        return clean_store.execute("select heartbeat_at from api.runs")[0][0]

    with (
        PostgrestWire(clean_store.url) as wire,
        runs.record_run(connect(clean_store, wire.url), SCRIPT, DESTINATION),
    ):
        first = beat_at()
        assert _becomes(lambda: beat_at() > first)
        wire.faults.add("reset", path="/rpc/beat_run", times=4)
        second = beat_at()
        assert _becomes(lambda: wire.count(path="/rpc/beat_run") > 6 and beat_at() > second)
    assert ledger(clean_store)[0]["status"] == "ok"


def test_heartbeat__lost(
    postgrest: PostgREST, clean_store: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was taken for dead stops, says that another took its place, and writes over nothing of its."""
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.05)

    def stop(number: int, frame: Any) -> None:
        raise Stopped("Stopped by SIGTERM.")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with (
            pytest.raises(
                StoreError, match="was taken for dead while it ran, and another took its place"
            ) as caught,
            runs.record_run(postgrest, SCRIPT, DESTINATION) as run,
        ):
            # In one go: the very next heartbeat ends this block.
            clean_store.execute(f"""
                update api.runs set status = 'failed', error = 'taken';
                insert into api.runs (script, destination) values ('other', '{DESTINATION}');
            """)
            threading.Event().wait(30)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.summary.status == "failed"
    assert isinstance(caught.value.__cause__, Stopped)
    old, new = ledger(clean_store)
    assert (old["run_id"], old["status"], old["watermark"]) == (run.id, "failed", None)
    assert new["status"] == "running"


def test_close__taken_for_dead(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A run that learns only at its end that it was taken for dead fails, and its watermark does not count."""
    with (
        pytest.raises(StoreError, match="its watermark is not. Look at the newer run"),
        runs.record_run(postgrest, SCRIPT, DESTINATION),
    ):
        clean_store.execute("update api.runs set status = 'failed'")
    assert ledger(clean_store)[0]["watermark"] is None
    assert run_through(postgrest, flags(since_last=True)).since is None


@pytest.mark.parametrize("fault", ["after-reset", "after-503", "reset", "503"])
def test_close__answer_lost(clean_store: stacks.Stack, fault: str) -> None:
    """Where the answer to the closing was lost the repeat finds it done, and the run is ok."""
    with PostgrestWire(clean_store.url) as wire:
        wire.faults.add(fault, path="/rpc/close_run", times=2)
        assert run_through(connect(clean_store, wire.url), read=2).status == "ok"
    assert [(row["status"], row["read"]) for row in ledger(clean_store)] == [("ok", 2)]


def test_state__dead(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """Who looks at the ledger sees a silent run as dead, a beating one as running."""
    put_run(clean_store, destination="a")
    put_run(clean_store, destination="b", heartbeat_at=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=61))
    put_run(clean_store, destination="c", status="ok", heartbeat_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    rows = msgspec.json.decode(
        postgrest.select("runs", [("select", "destination,state"), ("order", "destination")])
    )
    assert [row["state"] for row in rows] == ["running", "dead", "ok"]


# -- rejects


def test_reject__kept_and_closed(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """What was refused is kept with its reason; once delivered it is closed, by incremental and by full runs."""
    run = run_through(postgrest, refused=("r1", "r2", "r3"), read=9)
    assert (run.status, run.counts.rejected) == ("partial", 3)
    assert rejects(clean_store) == [(f"r{n}", "field_1: too long", True) for n in (1, 2, 3)]
    since = flags(date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    with runs.record_run(postgrest, since, DESTINATION) as again:
        passed = list(again.watch([Document("r1", b""), Document("r2", b""), Document("r9", b"")]))
        assert [document.record_id for document in passed] == ["r1", "r2", "r9"]
        again.reject(Reject("r2", "field_2: no number"))
    assert rejects(clean_store) == [
        ("r1", "field_1: too long", False),
        ("r2", "field_2: no number", True),
        ("r3", "field_1: too long", True),
    ]
    run_through(postgrest, refused=("r3",))
    assert [row for row in rejects(clean_store) if row[2]] == [("r3", "field_1: too long", True)]
    assert run_through(postgrest).status == "ok"
    assert [row for row in rejects(clean_store) if row[2]] == []


def test_reject__noted_by_id(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A load that names records by their ids closes the rejects of those, no others."""
    run_through(postgrest, refused=("r1", "r2"))
    with runs.record_run(postgrest, flags(date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), DESTINATION) as run:
        run.note(["r0", "r1"])
    assert [row[0] for row in rejects(clean_store) if row[2]] == ["r2"]


def test_reject__failed_run_closes_nothing(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A run that failed keeps what it refused, and closes nothing of what was refused before."""
    run_through(postgrest, refused=("r1",))
    with pytest.raises(SourceError), runs.record_run(postgrest, SCRIPT, DESTINATION) as run:
        list(run.watch([Document("r1", b"")]))
        run.reject(Reject("r2", "field_1: too long"))
        raise SourceError("no")
    assert rejects(clean_store) == [("r1", "field_1: too long", True), ("r2", "field_1: too long", True)]


def test_reject__twice_in_a_run(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A record refused twice in a run has one open reject, with the last reason, and counts once."""
    with runs.record_run(postgrest, SCRIPT, DESTINATION) as run:
        run.reject(Reject("r1", "first"))
        run.reject(Reject("r1", "second"))
        run.flush_rejects()
        run.reject(Reject("r1", "third"))
    assert rejects(clean_store) == [("r1", "third", True)]
    assert run.counts.rejected == 1


def test_reject__other_containers(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A full run closes the rejects of its own container, not those of another that feeds the destination too."""
    run_through(postgrest, refused=("r1",))
    run_through(postgrest, flags(container="object_2"), refused=("r2",))
    run_through(postgrest, flags(container="object_2"))
    assert [row[0] for row in rejects(clean_store) if row[2]] == ["r1"]
    run_through(postgrest)
    assert [row[0] for row in rejects(clean_store) if row[2]] == []


def test_reject__other_destinations(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """Rejects of one destination are not another's to close."""
    run_through(postgrest, refused=("r1",))
    with runs.record_run(postgrest, SCRIPT, "agol:x/0"):
        pass
    assert rejects(clean_store) == [("r1", "field_1: too long", True)]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b'{"a":"\\u0000 \\ud83d"}',
        b"\xff\x00\xfe",
        {"a": "nul \x00", "b": [1, 2.5, None, True]},
        {"a": dt.datetime(2025, 1, 1, tzinfo=dt.UTC), "b": "\ud83d"},
        {"a": object()},
        {"a": "🛴" * 1000},
        float("nan"),
        "\\u0000",
    ],
    ids=["none", "bytes", "no-text", "nul", "half-a-pair", "no-json", "large", "nan", "escape"],
)
def test_reject__any_content(postgrest: PostgREST, clean_store: stacks.Stack, content: Any) -> None:
    """Whatever the content is, the reject is kept: it must not take the others or the run with it."""
    with runs.record_run(postgrest, SCRIPT, DESTINATION) as run:
        run.reject(Reject("r1", "bad", content))
        run.reject(Reject("r2", "bad", {"good": 1}))
    assert run.status == "partial"
    assert [row[0] for row in rejects(clean_store)] == ["r1", "r2"]
    assert clean_store.execute("select content::text from api.rejects where record_id = 'r2'") == [
        ('{"good":1}',)
    ]


def test_reject__many_from_two_threads(postgrest: PostgREST, clean_store: stacks.Stack, monkeypatch) -> None:
    """Rejects that two threads report at once are all kept, in calls of some hundred."""
    monkeypatch.setattr(runs, "_REJECTS_A_CALL", 7)
    with (
        PostgrestWire(clean_store.url) as wire,
        runs.record_run(connect(clean_store, wire.url), SCRIPT, DESTINATION) as run,
    ):

        def refuse(name: str) -> None:
            for n in range(60):
                run.reject(Reject(f"{name}{n:03}", "bad"))

        threads = [threading.Thread(target=refuse, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # Each was sent once.
    assert 180 / 9 <= wire.count(path="keep_rejects") <= 90
    assert len(rejects(clean_store)) == 180
    assert ledger(clean_store)[0]["rejected"] == 180


def test_reject__ledger_refuses_them(clean_store: stacks.Stack) -> None:
    """Where rejects cannot be kept the run fails, but it is closed: the destination is not blocked behind it."""
    with PostgrestWire(clean_store.url) as wire:
        wire.faults.add("400", path="/rpc/keep_rejects", times=None)
        with pytest.raises(StoreError, match="keep_rejects"):
            run_through(connect(clean_store, wire.url), refused=("r1",))
    (row,) = ledger(clean_store)
    assert (row["status"], row["watermark"]) == ("failed", None)


# -- the store goes away


def test_record_run__store_gone_at_the_end(
    clean_store: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that cannot write its end fails with the store's words; the next one takes its place at once."""
    with PostgrestWire(clean_store.url) as wire:
        wire.faults.add("503", path="/rpc/close_run", times=None)
        with pytest.raises(StoreError, match="close_run"):
            run_through(connect(clean_store, wire.url))
        assert ledger(clean_store)[0]["status"] == "running"
        wire.faults.clear()
        # It is this very process: known to be done with it.
        assert run_through(connect(clean_store, wire.url)).status == "ok"


def test_record_run__own_error_wins(clean_store: stacks.Stack) -> None:
    """Where the run fails and the ledger cannot be told, the error that is told is the run's own."""
    with PostgrestWire(clean_store.url) as wire:
        wire.faults.add("503", path="/rpc/close_run", times=None)
        with (
            pytest.raises(SourceError, match="Knack said no"),
            runs.record_run(connect(clean_store, wire.url), SCRIPT, DESTINATION),
        ):
            raise SourceError("Knack said no")


def test_open__database_restarts(clean_store: stacks.Stack) -> None:
    """A database that restarts while a run is under way does not end the run."""
    session.set_testing(0.3)
    postgrest = connect(clean_store)
    with runs.record_run(postgrest, SCRIPT, DESTINATION) as run:
        run.counts.read = 1
        clean_store.stop_database()
        clean_store.start_database()
    assert [(row["status"], row["read"]) for row in ledger(clean_store)] == [("ok", 1)]


def test_close_run__of_nobody(postgrest: PostgREST) -> None:
    """Beating or closing a run that does not exist says so, and is no error of the server."""
    assert postgrest.call("beat_run", {"run_id": ZERO}) is None
    ended = {"run_id": ZERO, "status": "ok", "watermark": None, "error": None, **Counts().as_dict()}
    assert postgrest.call("close_run", ended) is None
