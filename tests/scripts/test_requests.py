"""How much a run asks of others where there is nothing to do: schedulers start thousands of those a day."""

from __future__ import annotations

from dev.simulators.postgrest import PostgrestWire
from tests.scripts.conftest import WORK_ORDERS, Way


def test_load__nothing_new_takes_three_requests(way: Way) -> None:
    """A load that goes on asks Knack once and the store twice: a call opens its run and tells all that it needs to
    know, another closes it."""
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    # Knack filters by whole days, so the last day's edits come again: here there are none.
    way.stack.execute("update api.runs set watermark = watermark + interval '3 days'")
    before = way.runs()[-1]["watermark"]
    way.knack.requests.clear()
    with PostgrestWire(way.stack.url) as wire:
        done = way.run("records_to_postgrest", "-c", WORK_ORDERS, "--since-last", PGREST_ENDPOINT=wire.url)
        assert (done.code, done.summary["status"], done.summary["read"]) == (0, "ok", 0), done.stderr
        assert [seen.path for seen in wire.requests] == ["/rpc/start_run", "/rpc/close_run"]
    assert [seen.path for seen in way.knack.requests] == [f"/v1/objects/{WORK_ORDERS}/records"]
    assert done.summary["since"] == before


def test_publish__nothing_new_takes_few_requests(way: Way) -> None:
    """A publisher that goes on reads the newest document, what filled the columns, and the documents that changed."""
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    for script in ("records_to_socrata", "records_to_agol"):
        assert way.run(script, "-c", WORK_ORDERS).code == 0
        with PostgrestWire(way.stack.url) as wire:
            done = way.run(script, "-c", WORK_ORDERS, "--since-last", PGREST_ENDPOINT=wire.url)
            assert (done.code, done.summary["status"], done.summary["read"]) == (0, "ok", 0), done.stderr
            asked = sorted(seen.path for seen in wire.requests)
        assert asked == ["/knack", "/knack", "/published_columns", "/rpc/close_run", "/rpc/start_run"]
