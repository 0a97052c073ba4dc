"""The views in bi, on the server that is found on PATH and on the packaged one.

bi    a `Views` on an empty store without views; its tests run once on each server
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import requests
from psycopg import sql

from dev import stack as stacks
from tests.conftest import empty_tables


class Views:
    """The store as loaders fill it (through PostgREST) and as dashboards read it (as api_reader, by SQL)."""

    def __init__(self, stack: stacks.Stack, reader: psycopg.Connection[Any]) -> None:
        self.stack = stack
        self.reader = reader
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {stack.token('api_user')}"

    def call(self, function: str, **arguments: Any) -> requests.Response:
        """Call a database function as a loader does."""
        return self.http.post(f"{self.stack.url}/rpc/{function}", json=arguments, timeout=60)

    def put(
        self, source: str, container: str, records: dict[str, Any], app: str = "", source_text: bool = False
    ) -> None:
        """Store documents {record id: record}; source_text: the records are JSON already."""
        for record_id, record in records.items():
            body = record if source_text else json.dumps(record, ensure_ascii=False)
            key = {"app_id": app or APPS[source], "container_id": container, "record_id": record_id}
            answer = self.call("put_document", source=source, record=body, **key)
            assert answer.status_code == 200, answer.text

    def fill(self, source: str, container: str, records: dict[str, Any], app: str = "") -> None:
        """Store many documents at once, as JSON text or as values."""
        with psycopg.connect(self.stack.database_url, autocommit=True) as connection:
            columns = "app_id, container_id, record_id, record"
            with connection.cursor().copy(f"copy api.{source} ({columns}) from stdin") as copy:
                for record_id, record in records.items():
                    body = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)
                    copy.write_row((app or APPS[source], container, record_id, body))

    def put_app(self, metadata: dict[str, Any], app: str = "a") -> None:
        """Store the metadata of a Knack app."""
        self._upsert("knack_metadata", {"app_id": app, "metadata": metadata})

    def put_form(
        self,
        form_id: str,
        fields: list[dict[str, Any]],
        *,
        plain: list[dict[str, Any]] | None = None,
        title: str = "",
        app: str = "h/1",
    ) -> None:
        """Store the metadata of a form. fields: as /fields?odata=true gives them; plain: as /fields does."""
        metadata = {
            "projectId": 1,
            "form": {"xmlFormId": form_id, "name": title or form_id},
            "version": "1",
            "fields": fields,
            "plain_fields": plain if plain is not None else fields,
            "versions": {},
        }
        self._upsert("odk_metadata", {"app_id": app, "container_id": form_id, "metadata": metadata})

    def _upsert(self, table: str, row: dict[str, Any]) -> None:
        prefer = {"Prefer": "resolution=merge-duplicates"}
        answer = self.http.post(f"{self.stack.url}/{table}", json=row, headers=prefer, timeout=60)
        assert answer.status_code in (200, 201), answer.text

    def refresh(self, source: str, container: str, app: str = "") -> dict[str, Any]:
        """Refresh a container's views: {part: what was done}."""
        answer = self.call("refresh_views", source=source, app_id=app or APPS[source], container_id=container)
        assert answer.status_code == 200, answer.text
        return {view["part"]: view for view in answer.json()["views"]}

    def read(self, view: str, what: str = "*") -> list[dict[str, Any]]:
        """All rows of a view as a dashboard gets them, by id."""
        query = sql.SQL("select {} from bi.{} order by id").format(sql.SQL(what), sql.Identifier(view))
        cursor = self.reader.execute(query)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def types(self, view: str) -> dict[str, str]:
        """{column: SQL type} of a view, in order."""
        return dict(
            self.stack.execute(
                "select a.attname::text, format_type(a.atttypid, a.atttypmod) from pg_attribute a "
                "join pg_class c on c.oid = a.attrelid "
                "where c.relnamespace = 'bi'::regnamespace and c.relname = %s and a.attnum > 0 order by a.attnum",
                [view],
            )
        )

    def names(self) -> list[str]:
        """The views there are."""
        rows = self.stack.execute("select viewname::text from pg_views where schemaname = 'bi' order by 1")
        return [name for (name,) in rows]

    def drop(self) -> None:
        """Drop every view in bi."""
        for name in self.names():
            statement = sql.SQL("drop view if exists bi.{} cascade").format(sql.Identifier(name))
            with psycopg.connect(self.stack.database_url, autocommit=True) as connection:
                connection.execute(statement)


APPS = {"knack": "a", "odk": "h/1"}


@pytest.fixture(scope="session")
def packaged_stack() -> Iterator[stacks.Stack]:
    """The newest PostgreSQL we have: the one of the PyPI package."""
    with stacks.run(search_path="") as running:
        yield running


@pytest.fixture(params=["found", "packaged"])
def bi(request: pytest.FixtureRequest) -> Iterator[Views]:
    """An empty store without views, loader and dashboard; on both servers."""
    stack = request.getfixturevalue("stack" if request.param == "found" else "packaged_stack")
    stack.start_database()
    stack.start_postgrest()
    empty_tables(stack)
    with psycopg.connect(stack.database_url, autocommit=True) as reader:
        reader.execute("set role api_reader")
        reader.execute("set time zone 'UTC'")
        views = Views(stack, reader)
        views.drop()
        yield views
        views.drop()


def field(path: str, type_: str = "string", **more: Any) -> dict[str, Any]:
    """A field as Central gives it; many=True: select-multiple."""
    return {
        "path": path,
        "name": path.rpartition("/")[2],
        "type": type_,
        "binary": True if type_ == "binary" else None,
        "selectMultiple": True if more.get("many") else None,
    }
