"""sql/ applied to databases of their own: from nothing, from every earlier version, twice, at once."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from dev import stack as stacks
from services.utils import migrations
from services.utils.errors import ConfigError, StoreError

NUMBERS = [path.name[:4] for path in migrations.list_migrations()]

# What the schemas are made of, as sorted lines of text that say nothing of when or in what order it was made.
CATALOGUE = """
select 'table ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || coalesce(c.reloptions::text, '')
from pg_class c where c.relnamespace = any (%(schemas)s) and c.relkind in ('r', 'v', 'm', 'p', 'S')
union all
select concat_ws(' ', 'column', c.oid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
    a.attnotnull, a.attidentity, a.attcompression, co.collname, pg_get_expr(d.adbin, d.adrelid))
from pg_attribute a
join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'v', 'm', 'p')
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
left join pg_collation co on co.oid = a.attcollation
where c.relnamespace = any (%(schemas)s) and a.attnum > 0 and not a.attisdropped
union all
select 'index ' || pg_get_indexdef(i.indexrelid)
from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace = any (%(schemas)s)
union all
select concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid))
from pg_constraint where connamespace = any (%(schemas)s)
union all
select 'trigger ' || pg_get_triggerdef(t.oid)
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where c.relnamespace = any (%(schemas)s) and not t.tgisinternal
union all
select 'function ' || pg_get_functiondef(oid) from pg_proc where pronamespace = any (%(schemas)s)
union all
select concat_ws(' ', 'grant', c.oid::regclass, g.grantor::regrole, g.grantee, g.privilege_type)
from pg_class c, aclexplode(c.relacl) g where c.relnamespace = any (%(schemas)s)
union all
select concat_ws(' ', 'grant', p.oid::regprocedure, g.grantee, g.privilege_type)
from pg_proc p, aclexplode(p.proacl) g where p.pronamespace = any (%(schemas)s)
union all
select concat_ws(' ', 'grant', n.nspname, g.grantee, g.privilege_type)
from pg_namespace n, aclexplode(n.nspacl) g where n.oid = any (%(schemas)s)
union all
select concat_ws(' ', 'default', n.nspname, d.defaclobjtype, d.defaclacl)
from pg_default_acl d join pg_namespace n on n.oid = d.defaclnamespace where n.oid = any (%(schemas)s)
union all
select concat_ws(' ', 'comment', pg_describe_object(classoid, objoid, objsubid), description)
from pg_description
where pg_describe_object(classoid, objoid, objsubid) ~ '(schema|table|index) (api|bi|store)|function (api|bi)'
order by 1
"""
SCHEMAS = ["api", "bi", "store"]

# One row or more for every table that a migration made, keyed by that migration.
ROWS = {
    "0001": """
        insert into api.knack (app_id, container_id, record_id, record) values ('a', 'object_1', 'r', '{"a": 1}');
        insert into api.knack (app_id, container_id, record_id, record, deleted_at)
            values ('a', 'object_1', 'gone', '{"a":  2}', now());
        insert into api.odk (app_id, container_id, record_id, record) values ('h/1', 'form', 'uuid:1', '[]');
    """,
    "0002": """
        insert into api.knack_metadata (app_id, metadata) values ('a', '{"application":  {}}');
        insert into api.odk_metadata (app_id, container_id, metadata) values ('h/1', 'form', '{}');
        insert into api.odk_attachments (app_id, container_id, record_id, name) values ('h/1', 'form', 'u', 'a.jpg');
    """,
    "0004": """
        insert into api.runs (run_id, script, destination)
            values ('00000000-0000-4000-8000-000000000001', 'records_to_postgrest', 'store:knack/a/object_1');
        insert into api.rejects (run_id, destination, record_id, reason, content)
            values ('00000000-0000-4000-8000-000000000001', 'store:knack/a/object_1', 'r', 'too big', '{}');
    """,
    "0005": """
        insert into api.load_pages (run_id, page, record_ids)
            values ('00000000-0000-4000-8000-000000000001', 1, '{r}');
    """,
    "0010": """
        insert into api.odk_loads (app_id, container_id, digest) values ('h/1', 'form', 'd41d8cd9');
    """,
    "0012": """
        insert into api.counts (app, container, env, place, destination, held)
            values ('trees', 'form', 'prod', 'store', 'store:odk/h/1/form', 1);
    """,
    "0015": """
        insert into api.replaces (replace_id, destination, shards)
            values ('00000000-0000-4000-8000-000000000002', 'store:knack/a/object_1', 2);
        insert into api.shards (replace_id, shard, run_id, delivered_to, pages, records)
            values ('00000000-0000-4000-8000-000000000002', 1, '00000000-0000-4000-8000-000000000001', now(), 1, 1);
    """,
    "0016": """
        insert into api.published_columns (destination, app, container, columns)
            values ('socrata:h/abcd-1234', 'trees', 'form', '{"name": {"field": "name", "name": "name"}}');
    """,
}


@contextmanager
def new_database(stack: stacks.Stack) -> Iterator[str]:
    """An empty database on the session's server; its URL."""
    name = f"m_{uuid.uuid4().hex[:12]}"
    stack.execute(f"create database {name}")
    try:
        yield stack.database_url.rpartition("/")[0] + f"/{name}"
    finally:
        stack.execute(f"drop database {name} with (force)")


@pytest.fixture
def database(stack: stacks.Stack) -> Iterator[str]:
    """An empty database."""
    with new_database(stack) as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of sql/ that a test may spoil."""
    return Path(shutil.copytree(migrations.SQL, tmp_path / "sql"))


@pytest.fixture(scope="module")
def from_empty(stack: stacks.Stack) -> list[str]:
    """What a database looks like to which everything was applied at once."""
    with new_database(stack) as url:
        migrations.apply_migrations(url)
        return read_catalogue(url)


def query(url: str, sql: str, params: object = None) -> list[tuple]:
    """Rows of a query, or []."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def read_catalogue(url: str) -> list[str]:
    """Every object of our schemas, with its comment and who may do what with it."""
    oids = [
        row[0] for row in query(url, "select oid::int from pg_namespace where nspname = any (%s)", [SCHEMAS])
    ]
    return [row[0] for row in query(url, CATALOGUE, {"schemas": oids})]


def read_rows(url: str) -> dict[str, list[tuple]]:
    """All rows of all tables in api with their place in the file, columns by name."""
    tables = [r[0] for r in query(url, "select tablename from pg_tables where schemaname = 'api' order by 1")]
    return {t: query(url, f"select t.ctid::text, to_jsonb(t) from api.{t} t order by t.ctid") for t in tables}


def leave_out_new(rows: list[tuple], before: list[tuple]) -> list[tuple]:
    """The rows without the columns that were not there before."""
    known = before[0][1] if before else {}
    return [(place, {name: row[name] for name in row if name in known}) for place, row in rows]


def test_apply_migrations__from_empty(database: str, from_empty: list[str]) -> None:
    """All files are applied in order, each is noted with its digest, and there is something to see."""
    applied = migrations.apply_migrations(database)
    assert applied == [path.name for path in migrations.list_migrations()]
    noted = query(
        database, "select name, length(digest), applied_at <= now() from store.migrations order by 1"
    )
    assert noted == [(name, 64, True) for name in applied]
    assert read_catalogue(database) == from_empty
    for part in ("table api.knack r", "trigger ", "function ", "grant api.knack ", "comment table api.runs"):
        assert any(line.startswith(part) for line in from_empty), part


@pytest.mark.parametrize("version", NUMBERS[:-1])
def test_apply_migrations__from_earlier_version(
    stack: stacks.Stack, from_empty: list[str], version: str
) -> None:
    """A database of any earlier version, with rows in it, becomes the same as a new one and keeps its rows."""
    with new_database(stack) as url:
        first = migrations.apply_migrations(url, upto=version)
        for number, rows in ROWS.items():
            if number <= version:
                query(url, rows)
        before = read_rows(url)
        rest = migrations.apply_migrations(url)
        assert [name[:4] for name in first + rest] == NUMBERS
        assert read_catalogue(url) == from_empty
        after = read_rows(url)
        assert before
        assert {table: leave_out_new(after[table], before[table]) for table in before} == before


def test_apply_migrations__rows_cover_every_table(database: str) -> None:
    """The rows by which upgrades are tried fill every table, so that a new table is not forgotten there."""
    migrations.apply_migrations(database)
    for rows in ROWS.values():
        query(database, rows)
    assert [table for table, rows in read_rows(database).items() if not rows] == []


def test_apply_migrations__again(database: str) -> None:
    """A second time nothing is applied, no row is touched, and lost grants are given back."""
    migrations.apply_migrations(database)
    for rows in ROWS.values():
        query(database, rows)
    rows_before, before = read_rows(database), read_catalogue(database)
    query(database, "revoke select on api.knack from api_publisher; grant delete on api.knack to api_user")
    assert read_catalogue(database) != before
    assert migrations.apply_migrations(database) == []
    assert read_catalogue(database) == before
    assert read_rows(database) == rows_before


def test_apply_migrations__changed_file(database: str, folder: Path) -> None:
    """A file that was applied and then changed is refused, and nothing after it is applied."""
    migrations.apply_migrations(database, folder, upto=NUMBERS[1])
    first = migrations.list_migrations(folder)[0]
    first.write_text(first.read_text() + "\n-- a thought\n")
    with pytest.raises(ConfigError, match=f"{first.name} .*changed|{first.name}"):
        migrations.apply_migrations(database, folder)
    assert query(database, "select count(*) from store.migrations") == [(2,)]


def test_apply_migrations__broken_file(database: str, folder: Path) -> None:
    """A migration that fails leaves nothing of itself, keeps those before it, and can be mended."""
    bad = folder / "migrations" / "9000_break_halfway.sql"
    bad.write_text("create table api.half (id int);\nselect 1 / 0;\n")
    with pytest.raises(StoreError, match=r"22012.*division by zero.*rolled back") as caught:
        migrations.apply_migrations(database, folder)
    assert "\n" not in str(caught.value)
    assert query(database, "select to_regclass('api.half'), to_regclass('api.knack')::text") == [
        (None, "api.knack")
    ]
    bad.write_text("create table api.half (id int);\n")
    assert migrations.apply_migrations(database, folder) == [bad.name]


def test_apply_migrations__two_at_once(database: str, from_empty: list[str]) -> None:
    """Two that start together apply every file once between them, and neither fails."""
    start = threading.Barrier(2)
    applied: list[list[str]] = []

    def migrate() -> None:
        start.wait()
        applied.append(migrations.apply_migrations(database))

    threads = [threading.Thread(target=migrate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(names) for names in applied) == [0, len(NUMBERS)]
    assert read_catalogue(database) == from_empty


def test_apply_migrations__no_database(stack: stacks.Stack) -> None:
    """A database that is not there, and a URL that is none, are told in one line without the password."""
    url = stack.database_url.rpartition("/")[0] + "/nowhere"
    with pytest.raises(StoreError, match="nowhere") as caught:
        migrations.apply_migrations(url)
    assert stack.password not in str(caught.value)
    with pytest.raises(StoreError, match="not a libpq URL") as caught:
        migrations.apply_migrations("host=x password=hush nonsense")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["6_no_number.sql", "0006-dashes.sql", "0006_Upper.sql", "0001_again.sql"])
def test_list_migrations__names(folder: Path, name: str) -> None:
    """A file whose name is not NNNN_verb_what.sql, or whose number is taken, is refused by name."""
    (folder / "migrations" / name).write_text("select 1;")
    with pytest.raises(ConfigError, match="is no migration"):
        migrations.list_migrations(folder)


def test_list_migrations__none(tmp_path: Path) -> None:
    """A folder without migrations is an error, not an empty success."""
    with pytest.raises(ConfigError, match="No migrations in"):
        migrations.list_migrations(tmp_path)


def test_list_migrations__first_words() -> None:
    """Each file that is delivered says first why it is there and what it locks."""
    assert NUMBERS[0] == "0001"
    for path in migrations.list_migrations():
        head = path.read_text().split("\n\n")[0]
        assert all(line.startswith("-- ") for line in head.splitlines()), path.name
        assert "\n-- Locks: " in head, path.name


def test_comments__everywhere(stack: stacks.Stack) -> None:
    """Every table, column and function of api and bi has a comment: PostgREST serves them as documentation."""
    bare = stack.execute("""
        select c.oid::regclass || '.' || coalesce(a.attname, '(table)')
        from pg_class c
        left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace in ('api'::regnamespace, 'bi'::regnamespace)
            and c.relkind in ('r', 'v', 'm', 'p')
            and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)
        union all
        select p.oid::regprocedure::text
        from pg_proc p
        where p.pronamespace in ('api'::regnamespace, 'bi'::regnamespace) and obj_description(p.oid) is null
        union all
        select nspname from pg_namespace where nspname in ('api', 'bi', 'store') and obj_description(oid) is null
    """)
    assert bare == []
    assert stack.execute(
        "select count(*) > 40 from pg_description where objoid::regclass::text ~ '^api'"
    ) == [(True,)]


def test_grants__only_in_roles_sql() -> None:
    """Who may do what is one page: no migration grants or revokes."""
    for path in migrations.list_migrations():
        statements = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("--")]
        assert not [line for line in statements if line.lower().lstrip().startswith(("grant", "revoke"))], (
            path.name
        )


def test_names__house_style(stack: stacks.Stack) -> None:
    """Constraints and indexes are named <table>_<columns>_key|fkey|idx|check, or <table>_pkey."""
    names = stack.execute("""
        select c.relname, i.relname from pg_index x
        join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
        where c.relnamespace = 'api'::regnamespace
        union
        select c.relname, k.conname from pg_constraint k join pg_class c on c.oid = k.conrelid
        where c.relnamespace = 'api'::regnamespace and k.contype <> 'n'
    """)
    assert len(names) > 10
    odd = [
        name
        for table, name in names
        if not (name.startswith(f"{table}_") and name.endswith(("_pkey", "_key", "_fkey", "_idx", "_check")))
    ]
    assert odd == []
