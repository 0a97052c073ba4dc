"""Views as a scheduler gets them: metadata_to_postgrest.py builds them and lets them follow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scripts.conftest import SIGNALS, WORK_ORDERS, Way


@pytest.fixture
def no_views(way: Way) -> Iterator[Way]:
    """The way, with schema bi empty."""
    for name in read_views(way):
        way.stack.execute(f'drop view bi."{name}" cascade')
    yield way


def read_views(way: Way) -> list[str]:
    """The views there are."""
    rows = way.stack.execute("select viewname::text from pg_views where schemaname = 'bi' order by 1")
    return [name for (name,) in rows]


def test_metadata__builds_views(no_views: Way) -> None:
    """After metadata and a load, every configured container has a view with all its records; once, and quietly."""
    way = no_views
    assert way.run("metadata_to_postgrest", "--dry-run").code == 0
    assert read_views(way) == []
    first = way.run("metadata_to_postgrest")
    assert (first.code, first.stderr.count(" created: ")) == (0, 2)
    for container in (SIGNALS, WORK_ORDERS):
        way.load(container)
    views = read_views(way)
    counts = {way.stack.execute(f'select count(*) from bi."{name}"')[0][0] for name in views}
    assert counts == {len(way.source(container)) for container in (SIGNALS, WORK_ORDERS)}
    again = way.run("metadata_to_postgrest")
    assert (again.code, again.stderr.count("view bi.")) == (0, 0)


def test_metadata__one_container(no_views: Way) -> None:
    """-c builds the views of that container alone."""
    done = no_views.run("metadata_to_postgrest", "-c", SIGNALS)
    assert (done.code, done.stderr.count(" created: ")) == (0, 1)
    assert len(read_views(no_views)) == 1


def test_metadata__a_view_that_cannot_follow(no_views: Way) -> None:
    """A container that the app does not have, or a view that is held: the others follow, the run fails and says why."""
    way = no_views
    config = way.config / "knack.py"
    config.write_text(
        config.read_text(encoding="utf-8").replace(f'"{SIGNALS}":', '"view_9999":'), encoding="utf-8"
    )
    done = way.run("metadata_to_postgrest")
    assert (done.code, done.summary["status"], len(done.errors)) == (1, "failed", 2)
    assert "view_9999" in done.errors[0]
    assert "the store has no such metadata" in done.errors[0]
    assert "The metadata are stored, but the views of view_9999 do not follow them" in done.errors[1]
    assert len(read_views(way)) == 1
