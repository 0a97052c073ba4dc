"""The SQL of docs/performance.md that divides api.knack, on a migrated database with documents and views."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dev import stack as stacks
from services.utils import postgrest
from services.utils.env import StoreSettings
from services.utils.records import Counts
from services.utils.store import Store

ROOT = Path(__file__).resolve().parents[2]
TABLES = "select count(*) from pg_inherits where inhparent = 'api.knack'::regclass"


def read_blocks() -> list[str]:
    """The SQL under "Partitions" of the page, in its order."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").partition("## Partitions")[2]
    return re.findall(r"```sql\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def divided() -> Iterator[stacks.Stack]:
    """A store that had documents in three containers and a view, and was then divided as the page says."""
    with stacks.run() as stack:
        fill(stack)
        for block in read_blocks():
            stack.execute(block)
        yield stack


def fill(stack: stacks.Stack) -> None:
    """Documents, a tombstone among them, and metadata of the app, with the views that follow."""
    stack.execute(
        """
        insert into api.knack (app_id, container_id, record_id, record)
        select 'a1', container, 'r' || n, json_build_object('id', 'r' || n, 'field_1', 'text ' || n)
        from unnest(array['object_12', 'object_30', 'object_31']) container, generate_series(10, 29) n
        """
    )
    stack.execute("update api.knack set deleted_at = now() where record_id = 'r29'")
    field = {"key": "field_1", "name": "Words", "type": "short_text"}
    objects = [
        {"key": key, "name": name, "fields": [field], "inflections": {}}
        for key, name in (("object_12", "Signals"), ("object_30", "Signs"))
    ]
    app = {"application": {"name": "a", "settings": {"timezone": "UTC"}, "objects": objects, "scenes": []}}
    stack.execute("insert into api.knack_metadata values ('a1', %s)", [psycopg.types.json.Json(app)])
    for container in ("object_12", "object_30"):
        stack.execute("select api.refresh_views('knack', 'a1', %s)", [container])


def open_store(stack: stacks.Stack, container: str, role: str = "api_user") -> Store:
    """One container as the scripts see it."""
    settings = StoreSettings(stack.url, stack.token(role), "", role)
    return Store(postgrest.PostgREST(settings), "knack", "a1", container)


def load(store: Store, records: dict[str, bytes], **more: Any) -> Counts:
    """Load one page."""
    return store.load(iter([list(records.items())]), on_reject=lambda reject: None, **more)


def held(stack: stacks.Stack, table: str = "knack") -> dict[str, int]:
    """{container: documents} of a table or partition."""
    found = stack.execute(f"select container_id, count(*) from api.{table} group by 1 order by 1")
    return dict(found)


def test_divide__keeps_every_document(divided: stacks.Stack) -> None:
    """Nothing is lost or touched, and each document is in the partition of its container."""
    assert divided.execute(TABLES) == [(3,)]
    assert held(divided) == {"object_12": 20, "object_30": 20, "object_31": 20}
    assert held(divided, "knack_object_12") == {"object_12": 20}
    assert held(divided, "knack_others") == {"object_30": 20, "object_31": 20}
    assert divided.execute("select count(*) from api.knack where deleted_at is not null") == [(3,)]


@pytest.mark.parametrize("container", ["object_12", "object_20", "object_30"])
def test_divide__upsert_and_triggers(divided: stacks.Stack, container: str) -> None:
    """In a partition of its own or not: loads count, what is unchanged stays still, tombstones come back."""
    store = open_store(divided, container)
    before = len(list(store.read(deleted=True)))
    new = {f"new{n}": b'{"n": %d}' % n for n in range(5)}
    assert load(store, new) == Counts(read=5, inserted=5)
    times = divided.execute(f"select updated_at from api.knack where container_id = '{container}' order by 1")
    assert load(store, new) == Counts(read=5, unchanged=5)
    assert load(store, new, compare=True) == Counts(read=5, unchanged=5)
    assert (
        divided.execute(f"select updated_at from api.knack where container_id = '{container}' order by 1")
        == times
    )
    assert load(store, {**new, "new3": b"{}"}) == Counts(read=5, updated=1, unchanged=4)
    assert len(list(store.read(deleted=True))) == before + 5
    # As older clients write: PostgREST's own upsert.
    body = b'[{"app_id":"a1","container_id":"%s","record_id":"new4","record":[]}]' % container.encode()
    store.postgrest.upsert("knack", body, "app_id,container_id,record_id,record")
    assert next(d.record for d in store.read() if d.record_id == "new4") == b"[]"
    divided.execute("update api.knack set deleted_at = now() where record_id = 'new4'")
    assert load(store, {"new4": b"[]"}) == Counts(read=1, updated=1)


def test_divide__incremental_read(divided: stacks.Stack) -> None:
    """What changed since a time is read, oldest first, and a writer under way holds the watermark back."""
    store = open_store(divided, "object_12")
    since = store.postgrest.call("watermark", {})
    load(store, {"r11": b'{"changed": 1}', "r10": b'{"changed": 2}'})
    reader = open_store(divided, "object_12", "api_publisher")
    assert [d.record_id for d in reader.read(since=since)] == ["r11", "r10"]
    with psycopg.connect(divided.database_url) as slow:
        slow.execute(
            "update api.knack set record = '{}' where container_id = 'object_12' and record_id = 'r12'"
        )
        began = dt.datetime.now(dt.UTC)
        mark = dt.datetime.fromisoformat(store.postgrest.call("watermark", {}))
        assert mark <= began
        slow.commit()
    assert "r12" in [d.record_id for d in store.read(since=mark.isoformat())]


def test_divide__replace(divided: stacks.Stack) -> None:
    """A full load finds what it did not see, in its container alone, and makes tombstones of it."""
    store = open_store(divided, "object_12")
    alive = {d.record_id: d.record for d in store.read()}
    run = divided.execute(
        "insert into api.runs (script, destination) values ('x', 'store:partitions') returning run_id::text"
    )[0][0]
    kept = {record_id: record for record_id, record in alive.items() if record_id not in ("r14", "r15")}
    load(store, kept, run_id=run)
    found = store.find_missing(run)
    assert found.record_ids == ["r14", "r15"]
    others = held(divided, "knack_others")
    assert store.remove(run, found.record_ids) == 2
    assert store.count_alive() == len(alive) - 2
    assert held(divided, "knack_others") == others
    assert store.purge("2100-01-01T00:00:00Z") >= 2
    assert store.count_alive() == len(alive) - 2


@pytest.mark.parametrize(("view", "container"), [("signals", "object_12"), ("signs", "object_30")])
def test_divide__views_follow(divided: stacks.Stack, view: str, container: str) -> None:
    """The views that were there before show what is written afterwards, whatever partition it is in."""
    load(open_store(divided, container), {"r13": b'{"id": "r13", "field_1": "new words"}'})
    with psycopg.connect(divided.database_url) as connection:
        connection.execute("set role api_reader")
        rows = connection.execute(f"select words from bi.{view} where id = 'r13'").fetchall()
    assert rows == [("new words",)]


@pytest.mark.parametrize("partition", ["knack_object_12", "knack_object_20", "knack_others"])
def test_divide__least_power(divided: stacks.Stack, partition: str) -> None:
    """Nobody gets at a partition by itself, and publishers still cannot write."""
    for role in ("api_user", "api_publisher", "api_reader", "anon"):
        with psycopg.connect(divided.database_url) as connection:
            connection.execute(f"set role {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select from api.{partition}")
    with psycopg.connect(divided.database_url) as connection:
        connection.execute("set role api_publisher")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("update api.knack set deleted_at = now()")


def test_divide__migrations_run_on(divided: stacks.Stack) -> None:
    """Migrating again, which also grants anew, changes nothing of it."""
    divided.migrate()
    assert divided.execute(TABLES) == [(3,)]
    assert load(open_store(divided, "object_12"), {"after": b"{}"}) == Counts(read=1, inserted=1)
    with psycopg.connect(divided.database_url) as connection:
        connection.execute("set role api_user")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select from api.knack_others")
