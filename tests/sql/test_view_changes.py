"""Views over time: what follows new metadata, what stays for dashboards' sake, what they are called, who may see."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
import requests

from tests.sql.conftest import Views, field
from tests.sql.test_views import build_app

V1 = [
    field("/name"),
    field("/floors", "int"),
    field("/notes"),
    field("/d", "decimal"),
    field("/kids", "repeat"),
]
V1 += [field("/kids/age", "int")]


def read_notes(bi: Views, view: str) -> dict[str | None, str]:
    """{column, None for the view: comment}."""
    return dict(
        bi.stack.execute(
            "select a.attname::text, d.description from pg_class c "
            "join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass "
            "left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and a.attnum > 0 "
            "where c.relnamespace = 'bi'::regnamespace and c.relname = %s",
            [view],
        )
    )


def read_oids(bi: Views) -> dict[str, Any]:
    """{view: what tells whether it was touched}."""
    return dict(
        bi.stack.execute(
            "select c.relname::text, (c.oid, c.xmin, r.xmin) from pg_class c join pg_rewrite r on r.ev_class = c.oid "
            "where c.relnamespace = 'bi'::regnamespace"
        )
    )


# --- documents --------------------------------------------------------------------------------------


def test_living__only(bi: Views) -> None:
    """A tombstone is in no view, a document that comes back is; other containers and apps stay out."""
    bi.put_form("f", V1)
    bi.fill("odk", "f", {"a": {"name": "a", "kids": [{"age": 1}]}, "b": {"name": "b", "kids": [{"age": 2}]}})
    bi.fill("odk", "g", {"c": {"name": "other form"}})
    bi.fill("odk", "f", {"d": {"name": "other project"}}, app="h/2")
    bi.refresh("odk", "f")
    for view in ("f", "f_unified", "f_kids"):
        assert len(bi.read(view)) == 2
    bi.stack.execute("update api.odk set deleted_at = clock_timestamp() where record_id = 'a'")
    for view in ("f", "f_unified", "f_kids"):
        assert [row["id"][0] for row in bi.read(view)] == ["b"]
    bi.put("odk", "f", {"a": {"name": "back", "kids": [{"age": 3}]}})
    assert [row["name"] for row in bi.read("f")] == ["back", "b"]


def test_refresh__before_any_document(bi: Views) -> None:
    """A view may be built before there is anything to show."""
    bi.put_form("f", V1)
    done = bi.refresh("odk", "f")
    assert {part: view["state"] for part, view in done.items()} == {
        "main": "created",
        "repeat:kids": "created",
        "unified": "created",
    }
    assert bi.read("f") == bi.read("f_kids") == []


# --- new versions -------------------------------------------------------------------------------------


def test_refresh__unchanged(bi: Views) -> None:
    """The same metadata again touch nothing: no view is replaced, and no dashboard waited for."""
    bi.put_form("f", V1)
    bi.put_app(build_app("short_text", "number"))
    bi.refresh("odk", "f")
    bi.refresh("knack", "object_1")
    before = read_oids(bi)
    with psycopg.connect(bi.stack.database_url) as dashboard:
        dashboard.execute("select * from bi.f, bi.f_unified, bi.things")
        for view in [*bi.refresh("odk", "f").values(), *bi.refresh("knack", "object_1").values()]:
            assert (view["state"], view["added"], view["notices"]) == ("unchanged", [], [])
    assert read_oids(bi) == before


def test_refresh__new_version(bi: Views) -> None:
    """Fields added, removed, moved and retyped: columns are only added, in place, and it is said, once."""
    bi.put_form("f", V1)
    bi.fill("odk", "f", {"a": {"name": "A", "floors": 3, "notes": "n", "d": 1.5, "kids": [{"age": 1}]}})
    bi.refresh("odk", "f")
    before = {view: bi.types(view) for view in bi.names()}
    # What a dashboard keeps: a view of its own upon ours.
    bi.stack.execute(
        "create schema if not exists dash; create or replace view dash.mine as select floors, notes from bi.f"
    )
    v2 = [
        *(
            field("/name"),
            field("/floors"),
            field("/phone"),
            field("/g", "structure"),
            field("/g/d", "decimal"),
        ),
        *(field("/kids", "repeat"), field("/kids/age", "int"), field("/kids/toy"), field("/pets", "repeat")),
        field("/pets/kind"),
    ]
    bi.put_form("f", v2)
    bi.fill(
        "odk",
        "f",
        {"b": {"name": "B", "floors": "two", "phone": "1", "g": {"d": 2.5}, "kids": [{"toy": "t"}]}},
    )
    done = bi.refresh("odk", "f")
    assert {part: view["state"] for part, view in done.items()} == {
        "main": "changed",
        "repeat:kids": "changed",
        "repeat:pets": "created",
        "unified": "changed",
    }
    for view, types in before.items():
        assert list(bi.types(view).items())[: len(types)] == list(types.items())
    assert list(bi.types("f"))[len(before["f"]) :] == done["main"]["added"] == ["floors_text", "phone", "g_d"]
    assert done["repeat:kids"]["added"] == ["toy"]
    assert done["unified"]["added"] == ["floors_text", "phone", "g_d", "pets"]
    rows = {row["id"]: row for row in bi.read("f")}
    # Old documents are shown in their old shape until they are read again.
    assert [rows["a"][name] for name in ("floors", "floors_text", "notes", "d", "g_d")] == [
        3,
        "3",
        None,
        None,
        None,
    ]
    assert [rows["b"][name] for name in ("floors", "floors_text", "phone", "g_d")] == [None, "two", "1", 2.5]
    assert bi.types("f")["floors_text"] == "text"
    assert bi.stack.execute("select * from dash.mine order by 1") == [(3, None), (None, None)]
    notices = "\n".join(done["main"]["notices"])
    assert (
        "floors: the field /floors was int and is string now; this column shows what of it is bigint"
        in notices
    )
    assert "notes: the field /notes is gone; the column stays, and is null" in notices
    assert len(done["main"]["notices"]) == 3
    again = bi.refresh("odk", "f")
    assert [view["notices"] for view in again.values()] == [[], [], [], []]
    # The first version again: what was gone is back in its old place.
    bi.put_form("f", V1)
    back = bi.refresh("odk", "f")["main"]
    assert back["added"] == []
    assert [row["notes"] for row in bi.read("f")] == ["n", None]
    bi.stack.execute("drop schema dash cascade")


def test_refresh__removed_repeat(bi: Views) -> None:
    """A repeat that a form no more has keeps its view, and its column in the unified one."""
    bi.put_form("f", V1)
    bi.fill("odk", "f", {"a": {"kids": [{"age": 1}]}})
    bi.refresh("odk", "f")
    bi.put_form("f", V1[:4])
    answer = bi.call("refresh_views", source="odk", app_id="h/1", container_id="f").json()
    assert answer["left"] == ["f_kids"]
    assert "f_kids" in bi.names()
    assert bi.read("f_unified")[0]["kids"] is None


def test_refresh__knack_changes(bi: Views) -> None:
    """A field that is renamed, retyped or made anew under its name: dashboards keep their columns."""
    bi.put_app(
        build_app(
            ("Site", "short_text"), ("Count", "short_text"), ("Status", "short_text"), ("When", "date_time")
        )
    )
    at = {"unix_timestamp": 1741536300000}
    bi.fill(
        "knack",
        "object_1",
        {"r": {"field_1": "s", "field_2": "12", "field_3": "old", "field_4": "03/09", "field_4_raw": at}},
    )
    bi.refresh("knack", "object_1")
    before = bi.types("things")
    metadata = build_app(("Place", "short_text"), ("Count", "number"), ("x", "x"), ("When", "short_text"))
    fields = metadata["application"]["objects"][0]["fields"]
    fields[2] = {"key": "field_9", "name": "Status", "type": "short_text"}
    bi.put_app(metadata)
    bi.put(
        "knack", "object_1", {"r": {"field_1": "s", "field_2_raw": 12, "field_9": "new", "field_4": "03/09"}}
    )
    done = bi.refresh("knack", "object_1")["main"]
    types = bi.types("things")
    assert list(types.items())[: len(before)] == list(before.items())
    assert done["added"] == ["place", "count_numeric", "when_text"]
    [row] = bi.read("things")
    assert (row["site"], row["place"], row["count"], row["count_numeric"]) == ("s", "s", "12", 12)
    assert (row["status"], row["when"], row["when_text"]) == ("new", None, "03/09")
    notices = "\n".join(done["notices"])
    assert "site: the field field_1 is called place now" in notices
    assert "status: the field field_3 is gone; the column shows field_9 now" in notices
    assert bi.refresh("knack", "object_1")["main"]["state"] == "unchanged"


def test_refresh__new_field_of_an_old_name(bi: Views) -> None:
    """A new field before an old one of its name does not take over the old one's column."""
    bi.put_app(build_app(("Other", "short_text"), ("Name", "short_text")))
    bi.fill("knack", "object_1", {"r": {"field_1": "first", "field_2": "second"}})
    bi.refresh("knack", "object_1")
    bi.put_app(build_app(("Name", "short_text"), ("Name", "short_text")))
    done = bi.refresh("knack", "object_1")["main"]
    [row] = bi.read("things")
    assert row["name"] == "second"
    assert [row[name] for name in done["added"]] == ["first"]


def test_refresh__after_somebodys_hand(bi: Views) -> None:
    """A dropped view is made again, a column that somebody added stays, another's view is not touched."""
    bi.stack.execute("create view bi.f as select 1 as id, 'mine' as name")
    bi.put_form("f", V1)
    name = bi.refresh("odk", "f")["main"]["name"]
    assert name == "f_h_1"
    assert bi.read("f") == [{"id": 1, "name": "mine"}]
    bi.stack.execute("drop view bi.f_h_1_kids; comment on view bi.f_h_1_unified is 'Our dashboard'")
    done = bi.refresh("odk", "f")
    assert (done["repeat:kids"]["state"], done["repeat:kids"]["name"]) == ("created", "f_h_1_kids")
    assert done["unified"]["state"] == "created"
    assert done["unified"]["name"] not in ("f_h_1_unified", "f")


# --- names ----------------------------------------------------------------------------------------------


def test_names__collisions(bi: Views) -> None:
    """Forms and objects of one name, in several apps and projects, each have a view of their own, for good."""
    for app in ("a", "b"):
        metadata = build_app("short_text")
        metadata["application"]["slug"] = f"town-{app}"
        objects = metadata["application"]["objects"]
        objects.append({**objects[0], "key": "object_2"})
        bi.put_app(metadata, app=app)
    for app in ("h/1", "h/2", "central.example.org:8443/1"):
        bi.put_form("Things!", [field("/app"), field("/unified", "repeat"), field("/unified/x")], app=app)
    made = []
    for _ in range(2):
        made.append(
            [
                bi.refresh("knack", key, app=app)["main"]["name"]
                for app in ("a", "b")
                for key in ("object_1", "object_2")
            ]
            + [
                view["name"]
                for app in ("h/1", "h/2", "central.example.org:8443/1")
                for view in bi.refresh("odk", "Things!", app=app).values()
            ]
        )
    assert made[0] == made[1]
    assert len(set(made[0])) == len(made[0]) == 13
    assert made[0][:5] == [
        "things",
        "things_object_2",
        "things_object_1",
        "things_object_2_town_b",
        "things_h_1",
    ]
    assert made[0][7] == "things_h_2"
    assert all(name.startswith("things_central_example_org_8443_1") for name in made[0][10:])


def test_names__long_and_foreign(bi: Views) -> None:
    """Names that PostgreSQL would cut stay apart; names in other alphabets stay what they are."""
    long = "a_form_with_a_name_that_somebody_made_up_on_a_long_afternoon_in_may"
    group = "/group_with_a_long_name/and_another_group_within_it_that_is_long_too"
    for form in (f"{long}_1", f"{long}_2", "Анкета 2", "!!!", "2026"):
        bi.put_form(form, [field(f"{group}/a"), field(f"{group}/b"), field("/x", "repeat"), field("/x/y")])
        bi.fill("odk", form, {form: {}})
        bi.refresh("odk", form)
    names = bi.names()
    assert len(names) == 15
    assert all(len(name.encode()) <= 63 for name in names)
    assert {"анкета_2", "анкета_2_unified", "form", "2026", "2026_x"} <= set(names)
    for name in names:
        assert all(row["id"] for row in bi.read(name))
    columns = [name for name in bi.types("2026") if name.startswith("group")]
    assert len(columns) == 2


def test_names__too_many_columns(bi: Views) -> None:
    """A form of more fields than a view can have shows as many as it can, and says how many it cannot."""
    fields = [field(f"/f{number}", "int") for number in range(1700)]
    bi.put_form("wide", fields)
    bi.fill("odk", "wide", {"a": {"f0": 1, "f1500": 2}})
    done = bi.refresh("odk", "wide")["main"]
    assert done["notices"] == ["112 columns are left out: a view has at most 1600"]
    assert len(bi.types("wide")) == 1600
    [row] = bi.read("wide")
    assert (row["f0"], row["f1500"]) == (1, 2)


def test_comments__say_where_it_comes_from(bi: Views) -> None:
    """The comment of each view and column names source, app, container and field."""
    bi.put_form("f", V1, title="My form")
    bi.put_app(build_app(("Site", "address", {"enable_geocoding": True}), "number"))
    bi.refresh("odk", "f")
    bi.refresh("knack", "object_1")
    for view in bi.names():
        source = ("Knack object_1 (Things), app a", "ODK form f (My form), app h/1")[view.startswith("f")]
        notes = read_notes(bi, view)
        assert set(notes) == {None, *bi.types(view)}
        assert all(source in note for note in notes.values())
    assert "/kids/age" in read_notes(bi, "f_kids")["age"]
    assert "field_1" in read_notes(bi, "things")["site_latitude"]


# --- who may ------------------------------------------------------------------------------------------


def test_rights__readers_see_views_alone(bi: Views) -> None:
    """The reader reads every view and nothing beneath; loaders build views and cannot read them."""
    bi.put_form("f", V1)
    bi.fill("odk", "f", {"a": {"name": "x", "kids": [{"age": 1}]}})
    bi.refresh("odk", "f")
    assert all(bi.read(view) for view in bi.names())
    for statement in (
        "select * from api.odk_living",
        "select * from api.odk",
        "select * from api.odk_attachments",
        "select api.refresh_views('odk', 'h/1', 'f')",
        "create view bi.mine as select 1",
        "drop view bi.f",
        "delete from bi.f",
    ):
        with pytest.raises(psycopg.Error) as caught:
            bi.reader.execute(statement)
        assert caught.value.sqlstate == "42501", statement
    with psycopg.connect(bi.stack.database_url, autocommit=True) as connection:
        for role in ("api_user", "api_publisher", "anon"):
            connection.execute(f"set role {role}")
            for statement in ("select * from bi.f", "select * from api.odk_living"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
    for role in ("api_publisher", "api_reader", "anon"):
        answer = requests.post(
            f"{bi.stack.url}/rpc/refresh_views",
            json={"source": "odk", "app_id": "h/1", "container_id": "f"},
            headers={"Authorization": f"Bearer {bi.stack.token(role)}"},
            timeout=30,
        )
        assert answer.status_code in (401, 403)


def test_rights__nothing_leaks(bi: Views) -> None:
    """A function that a reader brings along is shown no document but those of the view."""
    bi.put_form("f", V1)
    bi.fill("odk", "f", {"a": {"name": "open"}})
    bi.fill("odk", "hidden", {"b": {"name": "secret"}})
    bi.fill("odk", "f", {"c": {"name": "deleted"}})
    bi.stack.execute("update api.odk set deleted_at = now() where record_id = 'c'")
    bi.stack.execute("analyze api.odk")
    bi.refresh("odk", "f")
    bi.reader.execute(
        "create function pg_temp.peek(text) returns boolean language plpgsql cost 0.0000001 as "
        "$$ begin raise notice '%', $1; return true; end $$"
    )
    heard: list[str] = []
    bi.reader.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
    for column in ("name", "id"):
        bi.reader.execute(f"select count(*) from bi.f where pg_temp.peek({column})")
    assert heard == ["open", "a"]


def test_refresh__refusals(bi: Views) -> None:
    """Without metadata, without such a container or without fields there is an error, and what there is stays."""
    bi.put_form("f", V1)
    bi.put_app(build_app("short_text"))
    bi.refresh("odk", "f")
    before = read_oids(bi)
    bi.put_form("f", [])
    broken = build_app("short_text", zone="Mars")
    bi.put_app(broken, app="mars")
    calls = {
        ("odk", "h/1", "f"): 404,
        ("odk", "h/1", "g"): 404,
        ("odk", "h/9", "f"): 404,
        ("knack", "a", "object_7"): 404,
        ("knack", "b", "object_1"): 404,
        ("knack", "mars", "object_1"): 422,
        ("socrata", "a", "object_1"): 400,
        ("", "", ""): 400,
        ("knack; drop schema bi", "a", "object_1"): 400,
    }
    for (source, app, container), status in calls.items():
        answer = bi.call("refresh_views", source=source, app_id=app, container_id=container)
        assert answer.status_code == status, answer.text
    assert read_oids(bi) == before


def test_refresh__at_once(bi: Views) -> None:
    """Refreshing by several loaders at once makes each view once."""
    for number in range(4):
        bi.put_form("f", V1, app=f"h/{number}")
    answers: list[int] = []

    def refresh(number: int) -> None:
        key = {"source": "odk", "app_id": f"h/{number % 4}", "container_id": "f"}
        headers = dict(bi.http.headers)
        answers.append(
            requests.post(
                f"{bi.stack.url}/rpc/refresh_views", json=key, headers=headers, timeout=60
            ).status_code
        )

    threads = [threading.Thread(target=refresh, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(bi.names()) == 12


# --- speed --------------------------------------------------------------------------------------------


def explain(bi: Views, query: str) -> str:
    """The plan of a dashboard's query."""
    return "\n".join(line for (line,) in bi.reader.execute(f"explain verbose {query}").fetchall())


def test_plans__read_what_they_need(bi: Views) -> None:
    """Counting reads no document, one row is found by its key, and workers share the reading of many."""
    bi.put_form("f", V1)
    record = {"name": "x" * 200, "floors": 3, "kids": [{"age": 1}, {"age": 2}]}
    bi.fill("odk", "f", {f"s{number:05}": {**record, "d": number} for number in range(3000)})
    bi.stack.execute("analyze api.odk")
    bi.refresh("odk", "f")
    assert "read_record" not in explain(bi, "select count(*) from bi.f_unified")
    for query in (
        "select * from bi.f_unified where id = 's00007'",
        "select * from bi.f_kids where submission_id = 's00007'",
    ):
        assert "Index Cond" in explain(bi, query)
    bi.reader.execute("set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0")
    for query in (
        "select floors, avg(d) from bi.f_unified where d > 7 group by 1",
        "select age, count(*) from bi.f_kids group by 1",
    ):
        lines = explain(bi, query).splitlines()
        assert any("Parallel" in line for line in lines)
        # Once for each row, not for each column.
        assert max(line.count("read_record") for line in lines if "Output:" in line) == 1
        assert bi.reader.execute(query).fetchall()
    assert bi.reader.execute("select count(*), sum(d) from bi.f where d >= 1000").fetchall() == [
        (2000, 3999000)
    ]


def test_refresh__held_by_a_dashboard(bi: Views) -> None:
    """A view that a query holds is not waited for for ever: it stays as it was, and other readers go on."""
    bi.put_form("f", V1)
    bi.refresh("odk", "f")
    bi.put_form("f", [*V1, field("/more")])
    bi.stack.execute("alter function api.refresh_views set lock_timeout = '100ms'")
    try:
        with psycopg.connect(bi.stack.database_url) as dashboard:
            dashboard.execute("select * from bi.f")
            answer = bi.call("refresh_views", source="odk", app_id="h/1", container_id="f")
            assert (answer.status_code, answer.json()["code"]) == (500, "55P03")
            assert "more" not in bi.types("f")
        assert bi.refresh("odk", "f")["main"]["added"] == ["more"]
    finally:
        bi.stack.execute("alter function api.refresh_views set lock_timeout = '20s'")
