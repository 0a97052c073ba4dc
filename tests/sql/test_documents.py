"""The documents' trigger, watermark and index, as clients of PostgREST meet them."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
import psycopg
import pytest
import requests

from dev import stack as stacks

KEY = {"app_id": "a1", "container_id": "object_1"}


class Client:
    """What an older script does: plain requests, a long-lived token, documents as Python values."""

    def __init__(self, stack: stacks.Stack, role: str = "api_user", table: str = "knack") -> None:
        self.url = f"{stack.url}/{table}"
        self.rpc = f"{stack.url}/rpc"
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {stack.token(role)}"

    def upsert(
        self, *documents: dict[str, Any], prefer: str = "resolution=merge-duplicates"
    ) -> requests.Response:
        """Upsert documents; {record_id, app_id, container_id, record} each."""
        rows = [{"record_id": "r1", **KEY, **document} for document in documents]
        answer = self.http.post(self.url, json=rows, headers={"Prefer": prefer})
        assert answer.status_code in (200, 201), answer.text
        return answer

    def post(self, record: bytes, record_id: str = "r1") -> requests.Response:
        """Upsert one document of these very bytes."""
        head = {"record_id": record_id, **KEY}
        body = b"[" + json.dumps(head).encode()[:-1] + b',"record":' + record + b"}]"
        headers = {"Prefer": "resolution=merge-duplicates", "Content-Type": "application/json"}
        return self.http.post(self.url, data=body, headers=headers)

    def put(self, record: bytes, record_id: str = "r1") -> str:
        """Upsert one document given as text; what became of it."""
        answer = self.call("put_document", source="knack", **KEY, record_id=record_id, record=record.decode())
        assert answer.status_code == 200, answer.text
        return str(answer.json())

    def call(self, function: str, **arguments: Any) -> requests.Response:
        """Call a database function."""
        return self.http.post(f"{self.rpc}/{function}", json=arguments)

    def read(self, record_id: str = "r1") -> dict[str, Any]:
        """One document's columns."""
        rows = self.http.get(self.url, params={"record_id": f"eq.{record_id}"}).json()
        assert len(rows) == 1
        return dict(rows[0])

    def read_bytes(self, record_id: str = "r1") -> bytes:
        """One document's record as it is served."""
        params = {"record_id": f"eq.{record_id}", "select": "record"}
        body = self.http.get(self.url, params=params).content
        return bytes(msgspec.json.decode(body, type=list[dict[str, msgspec.Raw]])[0]["record"])


@pytest.fixture
def client(clean_store: stacks.Stack) -> Client:
    """A loader on an empty api.knack."""
    return Client(clean_store)


@pytest.mark.parametrize("table", ["knack", "odk"])
def test_upsert__as_older_clients_send_it(clean_store: stacks.Stack, table: str) -> None:
    """A plain upsert of the four columns works on both tables, also the second time."""
    client = Client(clean_store, table=table)
    client.upsert({"record": {"id": "r1", "field_1": "a"}}, {"record_id": "r2", "record": {"id": "r2"}})
    client.upsert({"record": {"id": "r1", "field_1": "b"}})
    first, second = client.read("r1"), client.read("r2")
    assert first["record"] == {"id": "r1", "field_1": "b"}
    assert second["record"] == {"id": "r2"}
    assert first["deleted_at"] is None
    assert first["updated_at"] > second["updated_at"]
    assert set(first) == {"app_id", "container_id", "record_id", "record", "updated_at", "deleted_at"}


@pytest.mark.parametrize("table", ["knack", "odk"])
def test_upsert__same_record(clean_store: stacks.Stack, table: str) -> None:
    """The same record again moves no updated_at; the same value spelt otherwise is another record."""
    client = Client(clean_store, table=table)
    assert client.post(b'{"a":1}').status_code == 201
    before = client.read()
    client.post(b'{"a":1}')
    assert client.read() == before
    client.post(b'{"a":  1}')
    assert client.read()["updated_at"] > before["updated_at"]
    assert client.read_bytes() == b'{"a":  1}'


def test_upsert__updated_at_is_the_stores_own(client: Client) -> None:
    """What a client says of updated_at is not believed, neither on insert nor on update."""
    client.upsert({"record": {"a": 1}, "updated_at": "2001-01-01T00:00:00Z"})
    inserted = client.read()["updated_at"]
    assert inserted > "2020"
    client.upsert({"record": {"a": 2}, "updated_at": "2001-01-01T00:00:00Z"})
    assert client.read()["updated_at"] > inserted


def test_upsert__counts_updates(client: Client) -> None:
    """The answer tells inserted and really changed rows apart, and forgets between requests."""
    prefer = "resolution=merge-duplicates,return=minimal,count=exact"
    rows = [{"record_id": f"r{n}", "record": {"n": n}} for n in range(5)]
    new = client.upsert(*rows, prefer=prefer)
    assert (new.headers["Content-Range"], new.headers.get("X-Documents-Updated")) == ("*/5", None)
    rows[0]["record"] = {"n": "other"}
    rows[1]["record"] = {"n": "other"}
    mixed = client.upsert(*rows, {"record_id": "r9", "record": {}}, prefer=prefer)
    assert (mixed.headers["Content-Range"], mixed.headers["X-Documents-Updated"]) == ("*/3", "2")
    same = client.upsert(*rows, prefer=prefer)
    assert (same.headers["Content-Range"], same.headers.get("X-Documents-Updated")) == ("*/0", None)


@pytest.mark.parametrize("record", [{"a": 1}, {"a": 2}], ids=["same", "changed"])
def test_tombstone__comes_back(client: Client, clean_store: stacks.Stack, record: dict[str, int]) -> None:
    """A tombstone whose record is written again, changed or not, is alive, and readers are told when."""
    client.upsert({"record": {"a": 1}})
    alive = client.read()["updated_at"]
    clean_store.execute("update api.knack set deleted_at = clock_timestamp()")
    dead = client.read()
    assert dead["deleted_at"] is not None
    assert dead["updated_at"] > alive
    client.upsert({"record": record})
    back = client.read()
    assert back["deleted_at"] is None
    assert back["record"] == record
    assert back["updated_at"] > dead["updated_at"]


def test_tombstone__put_document_brings_back(client: Client, clean_store: stacks.Stack) -> None:
    """The way for the odd few brings a tombstone back as well, and says that it changed something."""
    assert client.put(b'{"a":1}') == "inserted"
    assert client.put(b'{"a":1}') == "unchanged"
    clean_store.execute("update api.knack set deleted_at = clock_timestamp()")
    assert client.put(b'{"a":1}') == "updated"
    assert client.read()["deleted_at"] is None


def test_rename__same_record_under_another_key(client: Client, clean_store: stacks.Stack) -> None:
    """An operator who moves documents to another app by SQL is not told "done" while nothing moved."""
    client.upsert({"record": {"a": 1}})
    before = client.read()["updated_at"]
    clean_store.execute("update api.knack set app_id = 'a2'")
    assert clean_store.execute("select app_id from api.knack") == [("a2",)]
    assert client.read()["updated_at"] > before


def test_updated_at__never_stands_still(client: Client, clean_store: stacks.Stack) -> None:
    """It grows with every change, within a transaction, and where the clock was set back."""
    times = []
    with psycopg.connect(clean_store.database_url) as connection:
        connection.execute("insert into api.knack values ('a1', 'object_1', 'r1', '0')")
        for n in range(50):
            connection.execute("update api.knack set record = %s::text::json", [str(n + 1)])
            times += connection.execute("select updated_at from api.knack").fetchone()
    assert times == sorted(set(times))
    clean_store.execute("""
        alter table api.knack disable trigger knack_keep_document;
        update api.knack set updated_at = now() + interval '1 hour';
        alter table api.knack enable trigger knack_keep_document;
    """)
    future = client.read()["updated_at"]
    client.upsert({"record": {"a": "later"}})
    assert client.read()["updated_at"] > future


AS_THEY_CAME = {
    "duplicate keys": b'{"id":"r1","id":"r2","a":1,"a":2}',
    "whitespace": b'{ "id" :\t"r1",\n\n  "a": [ 1 ,2 ] }',
    "key order": b'{"z":1,"a":2,"field_10":3,"field_9":4}',
    "numbers": b'{"a":1.10,"b":1e5,"c":-0,"d":12345678901234567890123,"e":0.1000}',
    "a megabyte": b'{"a":"' + b"x" * 1_000_000 + b'"}',
    "deep": b'{"a":' * 200 + b"[]" + b"}" * 200,
    "emoji": '{"a":"🛴 naïve \u2028 Ünïcode"}'.encode(),
    "escapes": rb'{"a":"\ud83d\udef4 \u00e9 \/ \b\f\n\r\t \u001f"}',
    "sql": rb"""{"a":"'; drop table api.knack; --","b":"$1 $$ E'\\' %s %(x)s {0}"}""",
    "postgrest": rb'{"a":"in.(1,2),eq.\"x\"","and=(b.is.null)":"*,record->>a","<script>":"&amp;"}',
    "scalar": b'"just a text"',
}


@pytest.mark.parametrize("record", AS_THEY_CAME.values(), ids=AS_THEY_CAME.keys())
def test_record__byte_for_byte(client: Client, record: bytes) -> None:
    """A record is kept and served as the very bytes that were sent, by either way in."""
    assert client.post(record).status_code == 201
    assert client.read_bytes() == record
    assert client.put(record, "r2") == "inserted"
    assert client.read_bytes("r2") == record
    assert client.put(record) == "unchanged"


@pytest.mark.parametrize(
    "record", [rb'{"a":"null \u0000 within"}', rb'{"a":"half \ud83d of a pair"}', rb'{"\udef4":["\u0000"]}']
)
def test_put_document__what_upsert_refuses(client: Client, record: bytes) -> None:
    r"""Records with \u0000 or half a surrogate pair, refused by the upsert, are kept as they are."""
    assert client.post(record).status_code == 400
    assert client.put(record) == "inserted"
    assert client.put(record) == "unchanged"
    body = client.http.get(client.url, params={"select": "record"}).content
    assert body == b'[{"record":' + record + b"}]"
    assert client.put(record + b" ") == "updated"


def test_put_document__no_json(client: Client) -> None:
    """Text that is no JSON is refused there too, and so is a table that is no source."""
    answer = client.call("put_document", source="knack", **KEY, record_id="r1", record='{"a":')
    assert (answer.status_code, answer.json()["code"]) == (400, "22P02")
    for source in ("runs", "knack; drop table api.knack", "pg_catalog.pg_class", ""):
        answer = client.call("put_document", source=source, **KEY, record_id="r", record="1")
        assert answer.status_code >= 400
    assert client.http.get(client.url).json() == []


def load(client: Client, record_ids: list[str], *records: bytes, source: str = "knack") -> requests.Response:
    """Documents as a load sends them."""
    head = {"source": source, "app_id": "a1", "container_id": "object_1", "record_ids": record_ids}
    return client.http.post(
        client.url.replace("/knack", "/rpc/load_documents"),
        data=b"".join(part + b"\x1e" for part in [json.dumps(head).encode(), *records]),
        headers={"Content-Type": "text/plain"},
        timeout=30,
    )


def test_load_documents__keeps_bytes_and_counts(client: Client) -> None:
    r"""Documents are kept byte for byte, also with the escapes that the upsert refuses; what changed is counted."""
    records = {"r1": b'{"a": "\xc3\xa9"}', 'r"2': rb'["\u0000","\ud83d"]', "r\u001e3": b" null "}
    assert load(client, list(records), *records.values()).json() == {"changed": 3, "updated": 0}
    body = client.http.get(client.url, params={"select": "record", "order": "record_id"}).content
    kept = [records["r\u001e3"], records['r"2'], records["r1"]]
    assert body.replace(b", \n ", b",") == b'[{"record":' + b'},{"record":'.join(kept) + b"}]"
    assert load(client, list(records), *records.values()).json() == {"changed": 0, "updated": 0}
    assert load(client, ["r1", "new"], b"{}", b"{}").json() == {"changed": 2, "updated": 1}


@pytest.mark.parametrize(
    ("record_ids", "records", "code"),
    [
        (["r1"], [b'{"a":1}\x1e{"b":2}'], "22023"),
        (["r1", "r2"], [b"{}"], "22023"),
        (["r1", "r2"], [b'{"a":"x\x1ey"}', b"{}"], "22023"),
        (["r1"], [b'{"a":'], "22P02"),
        (["r1"], [b""], "22P02"),
        (["r1"], [b'"\xff"'], "22021"),
        (["r1"], [b'{}\x00{"b":2}'], "22023"),
        ([None], [b"{}"], "23502"),
    ],
)
def test_load_documents__all_or_none(
    client: Client, record_ids: list[str], records: list[bytes], code: str
) -> None:
    """No document can pass for two, or for another one's; what does not fit is refused with all that came with it."""
    answer = load(client, ["good", *record_ids], b"{}", *records)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert client.http.get(client.url).json() == []


@pytest.mark.parametrize("source", ["runs", "knack; drop table api.knack", "pg_catalog.pg_class", ""])
def test_load_documents__sources_only(client: Client, source: str) -> None:
    """A table that is no source takes no documents."""
    assert load(client, ["r1"], b"{}", source=source).status_code >= 400
    assert client.http.get(client.url).json() == []


def read_watermark(client: Client) -> str:
    """The store's watermark now, as PostgREST writes times."""
    answer = client.call("watermark")
    assert answer.status_code == 200
    return str(answer.json())


def read_ids_since(client: Client, since: str) -> set[str]:
    """What an incremental read from a watermark on finds."""
    rows = client.http.get(client.url, params={"updated_at": f"gte.{since}", "select": "record_id"}).json()
    return {row["record_id"] for row in rows}


@pytest.mark.parametrize("table", ["knack", "odk"])
def test_watermark__late_commit(clean_store: stacks.Stack, table: str) -> None:
    """Rows of a transaction that is open while others are read are found by the next incremental read."""
    client = Client(clean_store, table=table)
    client.upsert({"record_id": "late update", "record": {"a": 1}})
    with psycopg.connect(clean_store.database_url) as writer:
        writer.execute(f"insert into api.{table} values ('a1', 'object_1', 'late insert', '1')")
        writer.execute(f"update api.{table} set record = '2' where record_id = 'late update'")
        # Later in time, yet to be seen earlier: what a clock alone would take for the end of it all.
        client.upsert({"record_id": "early", "record": {}})
        first = read_watermark(client)
        assert "late insert" not in read_ids_since(client, "2020-01-01")
        writer.commit()
    assert read_ids_since(client, first) >= {"late insert", "late update"}
    # Once nobody writes any more, what was delivered is behind the watermark.
    assert read_ids_since(client, read_watermark(client)) == set()


def test_watermark__several_writers(clean_store: stacks.Stack) -> None:
    """With several writers open the oldest counts, whichever ends first; a rolled back one counts no more."""
    client = Client(clean_store)
    with (
        psycopg.connect(clean_store.database_url) as one,
        psycopg.connect(clean_store.database_url) as two,
    ):
        one.execute("insert into api.knack values ('a1', 'object_1', 'one', '1')")
        held = read_watermark(client)
        two.execute("insert into api.odk values ('a1', 'object_1', 'two', '1')")
        assert read_watermark(client) == held
        two.commit()
        assert read_watermark(client) == held
        one.rollback()
        assert read_watermark(client) > held


def test_watermark__savepoint(clean_store: stacks.Stack) -> None:
    """A writer that rolled back to a savepoint and writes again shows itself again, by one lock."""
    client = Client(clean_store)
    with psycopg.connect(clean_store.database_url) as writer:
        writer.execute("select 1")
        with pytest.raises(ZeroDivisionError), writer.transaction():
            writer.execute("insert into api.knack values ('a1', 'object_1', 'undone', '1')")
            raise ZeroDivisionError
        assert read_watermark(client) < read_watermark(client)
        writer.execute("insert into api.knack values ('a1', 'object_1', 'kept', '1')")
        writer.execute("insert into api.odk values ('a1', 'object_1', 'kept', '1')")
        held = read_watermark(client)
        assert read_watermark(client) == held
        locks = writer.execute("select count(*) from pg_locks where classid = 82717").fetchone()
        assert locks == (1,)
        writer.commit()
    assert read_ids_since(client, held) == {"kept"}


def test_watermark__while_many_write(clean_store: stacks.Stack) -> None:
    """Readers that move on by the watermark while others write miss not one document."""
    client = Client(clean_store)
    done = threading.Event()
    wanted: set[str] = set()

    def write(name: str) -> None:
        with psycopg.connect(clean_store.database_url) as connection:
            for n in range(40):
                keys = [f"{name}-{n}-{i}" for i in range(3)]
                for key in keys:
                    connection.execute("insert into api.knack values ('a1', 'object_1', %s, '1')", [key])
                    connection.execute("select pg_sleep(0.002)")
                connection.commit()
                wanted.update(keys)

    writers = [threading.Thread(target=write, args=(name,)) for name in ("x", "y", "z")]

    def wait_for_all() -> None:
        for writer in writers:
            writer.join()
        done.set()

    for thread in [*writers, threading.Thread(target=wait_for_all)]:
        thread.start()
    seen: set[str] = set()
    since, last = "2020-01-01", False
    while not last:
        last = done.is_set()
        following = read_watermark(client)
        seen |= read_ids_since(client, since)
        since = following
    assert len(wanted) == 360
    assert seen == wanted


@pytest.mark.parametrize(
    ("condition", "order", "index"),
    [
        (
            "updated_at >= '2024-01-01' and (updated_at > '2024-01-01' or record_id > 'r5')",
            "updated_at, record_id",
            "odk_app_id_container_id_updated_at_record_id_idx",
        ),
        ("deleted_at is null and record_id > 'r5'", "record_id", "odk_pkey"),
    ],
)
def test_read__index(clean_store: stacks.Stack, condition: str, order: str, index: str) -> None:
    """A page of a big container is read off an index, in its order: no table scan and no sort."""
    clean_store.execute("""
        insert into api.odk (app_id, container_id, record_id, record)
        select 'a1', 'object_' || n % 5, 'r' || n, '{}' from generate_series(1, 3000) n
    """)
    clean_store.execute("analyze api.odk")
    rows = clean_store.execute(
        "explain (costs off) select record_id, record, updated_at, deleted_at from api.odk "
        f"where app_id = 'a1' and container_id = 'object_1' and {condition} order by {order} limit 20"
    )
    plan = "\n".join(row[0] for row in rows)
    assert index in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


def test_collation__order_never_changes(client: Client) -> None:
    """Keys are ordered by bytes: the pages of a read fit together whatever the server's language."""
    keys = ["a", "B", "ä", "Z", "_", "1", "🛴", "a b"]
    client.upsert(*({"record_id": key, "record": {}} for key in keys))
    rows = client.http.get(client.url, params={"order": "record_id", "select": "record_id"}).json()
    assert [row["record_id"] for row in rows] == sorted(keys, key=str.encode)


def test_metadata__trigger(clean_store: stacks.Stack) -> None:
    """Metadata, once written, move their updated_at only when they change."""
    client = Client(clean_store, table="knack_metadata")
    times = []
    for name in ("x", "x", "y"):
        row = {"app_id": "a1", "metadata": {"application": {"name": name}}}
        answer = client.http.post(client.url, json=row, headers={"Prefer": "resolution=merge-duplicates"})
        assert answer.status_code in (200, 201)
        times.append(client.http.get(client.url).json()[0]["updated_at"])
    assert times[0] == times[1] < times[2]
