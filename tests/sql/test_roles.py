"""Least power: what each role can do, asked through PostgREST and in the database itself."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import jwt
import psycopg
import pytest
import requests

from dev import stack as stacks

TABLES = (
    "knack",
    "odk",
    "knack_metadata",
    "odk_metadata",
    "odk_attachments",
    "runs",
    "rejects",
    "counts",
    "replaces",
    "shards",
    "published_columns",
    "load_pages",
    "odk_loads",
)
DOCUMENTS = TABLES[:5]
ROLES = ("api_user", "api_publisher", "api_monitor", "api_reader", "anon")
KEY = {"app_id": "a", "container_id": "c", "record_id": "r"}
FUNCTIONS = {
    "watermark": {},
    "migrations": {},
    "clear_load_pages": {},
    "put_document": {"source": "knack", **KEY, "record": "{}"},
    "same_documents": {
        "source": "knack",
        "app_id": "a",
        "container_id": "c",
        "record_ids": ["r"],
        "digests": [""],
    },
    "find_replace": {
        "destination": "x",
        "app": "a",
        "container": "c",
        "env": "prod",
        "shards": 2,
        "round": "",
    },
    "beat_run": {"run_id": "00000000-0000-4000-8000-000000000001"},
    "keep_rejects": {"run_id": "00000000-0000-4000-8000-000000000001", "rejects": []},
    "status": {},
    "recent_runs": {"most": 3},
    "count_documents": {"places": [{"source": "knack", "app_id": "a", "container_id": "c"}]},
    "count_waiting": {"marks": []},
    "sample_documents": {"source": "knack", "app_id": "a", "container_id": "c", "every": 1, "most": 3},
    "keep_counts": {"app": "a", "container": "c", "env": "prod", "places": []},
    "find_submissions": {"app_id": "a", "container_id": "c", "record_ids": ["r"], "instance_ids": ["i"]},
    "purge_tombstones": {
        "source": "knack",
        "app_id": "a",
        "container_id": "c",
        "before": "2020-01-01T00:00:00Z",
    },
}
LEDGER_FUNCTIONS = {
    "migrations",
    "watermark",
    "beat_run",
    "keep_rejects",
    "keep_counts",
    "same_documents",
    "find_submissions",
}
STATUS_FUNCTIONS = {"status", "recent_runs", "count_documents", "count_waiting", "sample_documents"}


def ask(
    stack: stacks.Stack,
    token: str,
    method: str = "GET",
    path: str = "/knack",
    content_type: str = "",
    **more: object,
) -> requests.Response:
    """One request with a token, or without one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if content_type:
        headers["Content-Type"] = content_type
    return requests.request(method, stack.url + path, headers=headers, timeout=30, **more)


@pytest.fixture
def filled(clean_store: stacks.Stack) -> stacks.Stack:
    """A store with a document, which nobody may see or change unasked."""
    clean_store.execute("insert into api.knack values ('a', 'c', 'r', '{\"secret\": 1}')")
    return clean_store


@pytest.mark.parametrize("table", TABLES)
def test_select__by_role(filled: stacks.Stack, table: str) -> None:
    """Loaders and publishers read the tables they need; the reader and strangers none."""
    got = {role: ask(filled, filled.token(role), path=f"/{table}").status_code for role in ROLES}
    publisher = 403 if table in ("load_pages", "odk_loads", "replaces", "shards") else 200
    # Of what was refused, the monitor may not see the content.
    hidden = (
        "load_pages",
        "odk_loads",
        "odk_attachments",
        "rejects",
        "replaces",
        "shards",
        "published_columns",
    )
    monitor = 403 if table in hidden else 200
    assert got == {
        "api_user": 200,
        "api_publisher": publisher,
        "api_monitor": monitor,
        "api_reader": 403,
        "anon": 401,
    }
    assert ask(filled, "", path=f"/{table}").status_code == 401


@pytest.mark.parametrize("role", ["api_publisher", "api_monitor", "api_reader", "anon"])
def test_documents__changed_by_loaders_only(filled: stacks.Stack, role: str) -> None:
    """A publisher, a reader, a stranger can neither add, change nor remove a document, by table or by function."""
    token = filled.token(role)
    new = {**KEY, "record_id": "new", "record": {}}
    refused = [
        ask(filled, token, "POST", json=new),
        ask(filled, token, "PATCH", "/knack?record_id=eq.r", json={"record": {}}),
        ask(filled, token, "DELETE", "/knack?record_id=eq.r"),
        ask(filled, token, "POST", "/rpc/put_document", json=FUNCTIONS["put_document"]),
        ask(filled, token, "POST", "/rpc/purge_tombstones", json=FUNCTIONS["purge_tombstones"]),
        ask(
            filled,
            token,
            "POST",
            "/rpc/load_documents",
            data=b'{"source":"knack","app_id":"a","container_id":"c","record_ids":["r"]}\x1e{}\x1e',
            content_type="text/plain",
        ),
        ask(
            filled,
            token,
            "POST",
            "/rpc/remove_documents",
            json={
                "run_id": FUNCTIONS["beat_run"]["run_id"],
                "source": "knack",
                "app_id": "a",
                "container_id": "c",
                "record_ids": ["r"],
            },
        ),
    ]
    assert {answer.status_code for answer in refused} == {401 if role == "anon" else 403}
    assert filled.execute("select record_id, record::text, deleted_at from api.knack") == [
        ("r", '{"secret": 1}', None)
    ]


@pytest.mark.parametrize("table", DOCUMENTS)
def test_delete__nobody(filled: stacks.Stack, table: str) -> None:
    """Nobody deletes rows of documents, metadata or media through PostgREST, loaders included."""
    for role in ROLES:
        answer = ask(filled, filled.token(role), "DELETE", f"/{table}?app_id=eq.a")
        assert answer.status_code == (401 if role == "anon" else 403), role
    assert filled.execute("select count(*) from api.knack") == [(1,)]


def test_delete__ledger(filled: stacks.Stack) -> None:
    """The ledger, the rejects and the counts are not deleted either: they are what happened."""
    for role in ROLES:
        for table in ("runs", "rejects", "counts", "published_columns"):
            path = f"/{table}?destination=eq.x"
            status = ask(filled, filled.token(role), "DELETE", path).status_code
            assert status == (401 if role == "anon" else 403), (role, table)


def test_functions__by_role(filled: stacks.Stack) -> None:
    """Loaders may call every function, publishers those that keep the ledger or compare, monitors those that look."""
    for name, arguments in FUNCTIONS.items():
        got = {
            role: ask(filled, filled.token(role), "POST", f"/rpc/{name}", json=arguments).status_code < 300
            for role in ROLES
        }
        allowed = {"api_user", "api_publisher"} if name in LEDGER_FUNCTIONS else {"api_user"}
        allowed = {"api_user", "api_publisher", "api_monitor"} if name in STATUS_FUNCTIONS else allowed
        assert {role for role, ok in got.items() if ok} == allowed, name


def test_monitor__looks_and_writes_nothing(filled: stacks.Stack) -> None:
    """The monitor sees why a record was refused but not what it held, and can write to no table at all."""
    token = filled.token("api_monitor")
    assert ask(filled, token, path="/rejects?select=record_id,reason").status_code == 200
    assert ask(filled, token, path="/rejects?select=content").status_code == 403
    for table in TABLES:
        for method, path in (("POST", f"/{table}"), ("PATCH", f"/{table}?app_id=eq.a")):
            assert ask(filled, token, method, path, json={"app_id": "a"}).status_code in (400, 403), table
    grants = filled.execute("""
        select distinct privilege_type
        from information_schema.table_privileges
        where grantee = 'api_monitor'
        union
        select distinct privilege_type from information_schema.column_privileges where grantee = 'api_monitor'
    """)
    assert grants == [("SELECT",)]


def test_functions__all_are_granted_to_somebody(stack: stacks.Stack) -> None:
    """No function is open to everybody, and none but the triggers' own is closed to loaders, or to readers in bi."""
    rows = stack.execute("""
        select p.proname, coalesce(p.proacl is null or bool_or(g.grantee = 0), false),
            coalesce(
                bool_or(
                    g.grantee::regrole::text
                        = case when p.pronamespace = 'bi'::regnamespace then 'api_reader' else 'api_user' end
                ),
                false
            )
        from pg_proc p left join lateral aclexplode(p.proacl) g on true
        where p.pronamespace in ('api'::regnamespace, 'bi'::regnamespace)
            and p.prorettype <> 'trigger'::regtype
        group by p.oid
    """)
    assert len(rows) > 10
    assert [row for row in rows if row[1] or not row[2]] == []


@pytest.fixture
def view(stack: stacks.Stack) -> Iterator[None]:
    """A view in bi over the documents, made after the grants as views are."""
    stack.execute(
        "create view bi.signals_seen as select record_id, record ->> 'secret' as secret from api.knack"
    )
    yield
    stack.execute("drop view bi.signals_seen")


def test_api_reader__views_only(filled: stacks.Stack, view: None) -> None:
    """The reader selects from views in bi, made before or after the grants, and from nothing else."""
    with psycopg.connect(filled.database_url, autocommit=True) as connection:
        connection.execute("set role api_reader")
        assert connection.execute("select * from bi.signals_seen").fetchall() == [("r", "1")]
        for statement in (
            "select * from api.knack",
            "select api.watermark()",
            "insert into bi.signals_seen (record_id) values ('x')",
            "create table bi.mine (id int)",
            "select * from store.migrations",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.parametrize("role", ["api_user", "api_publisher", "api_monitor", "anon"])
def test_bi__closed_to_others(filled: stacks.Stack, view: None, role: str) -> None:
    """Views are the reader's: no other role of PostgREST's is let into bi or into migrate's own schema."""
    with psycopg.connect(filled.database_url, autocommit=True) as connection:
        connection.execute(f"set role {role}")
        for table in ("bi.signals_seen", "store.migrations"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select * from {table}")
    assert ask(filled, filled.token(role), path="/signals_seen").status_code in (401, 404)


def test_anon__nothing_at_all(filled: stacks.Stack) -> None:
    """Without a token there is nothing to read, call or even see: the API's own description is empty."""
    description = ask(filled, "", path="/")
    assert description.status_code in (200, 401)
    assert not [name for name in (*TABLES, *FUNCTIONS) if name in description.text.replace("postgrest", "")]
    assert ask(filled, "", "POST", "/rpc/watermark", json={}).status_code == 401
    assert ask(filled, "", "POST", json={**KEY, "record": {}}).status_code == 401
    # Neither by name nor as one of everybody.
    grants = filled.execute("""
        with granted as (
            select c.oid::regclass::text as what, g.grantee
            from pg_class c, aclexplode(c.relacl) g
            where c.relnamespace::regnamespace::text in ('api', 'bi', 'store')
            union all
            select n.nspname, g.grantee
            from pg_namespace n, aclexplode(n.nspacl) g
            where n.nspname in ('api', 'bi', 'store')
            union all
            select p.proname, g.grantee
            from pg_proc p, aclexplode(p.proacl) g
            where p.pronamespace::regnamespace::text in ('api', 'bi', 'store')
        )
        select * from granted where grantee = 0 or grantee = 'anon'::regrole
    """)
    assert grants == []


def test_api_user__tables_are_described(filled: stacks.Stack) -> None:
    """For a loader the description names the tables, so the test of the stranger's can fail."""
    text = ask(filled, filled.token("api_user"), path="/").text
    assert all(f'"/{table}"' in text for table in TABLES)


def _unsigned(claims: dict[str, object]) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "postgres"},
        {"role": "authenticator"},
        {"role": "pg_read_all_data"},
        {"role": "nobody_there"},
        {"role": ""},
        {"role": 7},
        {"role": "api_user", "exp": 1},
        {"role": "api_user", "nbf": 4_000_000_000},
        {"role": "anon"},
        {"sub": "api_user"},
        {},
    ],
    ids=str,
)
def test_token__claims(filled: stacks.Stack, claims: dict[str, object]) -> None:
    """A token rightly signed for a role that is not to be had, or out of its time, opens nothing."""
    claims = {"exp": int(time.time()) + 600, **claims}
    answer = ask(filled, jwt.encode(claims, filled.jwt_secret, "HS256"))
    assert answer.status_code in (400, 401, 403)
    assert "secret" not in answer.text


def test_token__signatures(filled: stacks.Stack) -> None:
    """A token with a wrong signature, another algorithm or none opens nothing; the right one does."""
    claims = {"role": "api_user", "exp": int(time.time()) + 600}
    right = jwt.encode(claims, filled.jwt_secret, "HS256")
    head, body, signature = right.split(".")
    reader = jwt.encode({**claims, "role": "api_reader"}, filled.jwt_secret, "HS256")
    wrong = {
        "wrong secret": jwt.encode(claims, "x" * 64, "HS256"),
        "alg none": _unsigned(claims),
        "alg none, signature kept": _unsigned(claims) + signature,
        "no signature": f"{head}.{body}.",
        "another's body": f"{reader.split('.')[0]}.{body}.{reader.split('.')[2]}",
        "not a token": "api_user",
    }
    for what, token in wrong.items():
        answer = ask(filled, token)
        assert answer.status_code == 401, what
        assert "secret" not in answer.text
    assert ask(filled, right).json()[0]["record"] == {"secret": 1}


def test_authenticator__nothing_of_its_own(filled: stacks.Stack) -> None:
    """PostgREST's own login inherits nothing: only by becoming one of the four can it do anything."""
    members = filled.execute("""
        select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid
        where m.member = 'authenticator'::regrole order by 1
    """)
    assert [name for (name,) in members] == sorted(ROLES)
    assert filled.execute(
        "select rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolcanlogin from pg_roles "
        "where rolname = 'authenticator'"
    ) == [(False, False, False, False, False, True)]
    url = filled.database_url.replace(
        f"postgres:{filled.password}", f"authenticator:{filled.authenticator_password}"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            "select * from api.knack",
            "insert into api.runs (script, destination) values ('x', 'y')",
            "select api.watermark()",
            "select * from store.migrations",
            "set role postgres",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("set role api_user")
        assert connection.execute("select count(*) from api.knack").fetchall() == [(1,)]


def test_roles__cannot_log_in(stack: stacks.Stack) -> None:
    """The four roles are for tokens: none of them has a login or any power beyond its grants."""
    assert (
        stack.execute(
            "select rolname from pg_roles where rolname = any (%s) and (rolcanlogin or rolsuper or rolcreaterole "
            "or rolcreatedb or rolbypassrls or rolreplication)",
            [list(ROLES)],
        )
        == []
    )


def test_roles__inheriting_authenticator_is_mended(stack: stacks.Stack) -> None:
    """An authenticator that was made by hand with inheritance loses it when the schema is applied."""
    from services.utils import migrations

    stack.execute("alter role authenticator inherit")
    migrations.apply_migrations(stack.database_url)
    assert stack.execute("select rolinherit from pg_roles where rolname = 'authenticator'") == [(False,)]
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute("set session authorization authenticator")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from api.knack")
