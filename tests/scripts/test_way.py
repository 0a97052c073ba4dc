"""The whole way, script by script, as a scheduler runs it."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tests.scripts.conftest import DATASETS, LAYERS, SERVICE, SIGNALS, WORK_ORDERS, Way

KEYS = [
    *("script", "app", "container", "env", "status", "since", "watermark"),
    *("read", "inserted", "updated", "unchanged", "deleted", "rejected", "seconds"),
]


def test_way__from_source_to_both_destinations(way: Way) -> None:
    """Metadata, load and both publishes bring every record to store, dataset and layer."""
    assert way.run("metadata_to_postgrest").code == 0
    for container in (SIGNALS, WORK_ORDERS):
        loaded = way.load(container)
        source = way.source(container)
        assert loaded.summary["inserted"] == loaded.summary["read"] == len(source) > 20
        assert way.documents(container) == source
        for script in ("records_to_socrata", "records_to_agol"):
            done = way.run(script, "-c", container)
            assert (done.code, done.summary["status"]) == (0, "ok"), done.stderr
            assert done.summary["inserted"] == len(source)
        assert way.dataset(container).keys() == way.features(container).keys() == source.keys()
    assert [run["status"] for run in way.runs()] == ["ok"] * 7


def test_way__summary_line_has_every_promised_key(way: Way) -> None:
    """The last line of stdout is one JSON object with the promised keys, whatever the outcome."""
    good = way.load(SIGNALS)
    bad = way.run("records_to_postgrest", "-c", "nowhere")
    for done in (good, bad):
        assert list(done.summary) == KEYS
        assert len(done.stdout.strip().splitlines()) == 1
    assert good.summary["script"] == "records_to_postgrest"
    assert (good.summary["app"], good.summary["container"], good.summary["env"]) == (
        "traffic-operations",
        SIGNALS,
        "prod",
    )
    assert bad.summary["status"] == "failed"


def test_way__as_module_does_the_same(way: Way) -> None:
    """`python -m services.NAME` is the same command as `python services/NAME.py`."""
    done = way.run("records_to_postgrest", "-c", SIGNALS, module=True)
    assert done.code == 0, done.stderr
    assert way.documents(SIGNALS) == way.source(SIGNALS)


def test_load__twice_changes_nothing(way: Way) -> None:
    """The second load of the same records reports all unchanged and moves no updated_at."""
    way.load(WORK_ORDERS)
    before = way.times(WORK_ORDERS)
    again = way.load(WORK_ORDERS).summary
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0)
    assert again["unchanged"] == again["read"] == len(before)
    assert way.times(WORK_ORDERS) == before


def test_publish__twice_changes_nothing_in_arcgis(way: Way) -> None:
    """The second publish finds every feature unchanged and sends no edit."""
    way.run("metadata_to_postgrest")
    way.load(SIGNALS)
    way.run("records_to_agol", "-c", SIGNALS)
    edits = len(way.agol.edits)
    again = way.run("records_to_agol", "-c", SIGNALS).summary
    assert again["unchanged"] == again["read"] > 20
    assert len(way.agol.edits) == edits


def test_way__edits_deletes_and_adds_travel(way: Way) -> None:
    """After an incremental and a full load, --since-last brings edits, deletes and adds to both destinations."""
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    for script in ("records_to_socrata", "records_to_agol"):
        assert way.run(script, "-c", WORK_ORDERS).code == 0
    title = way.city.key(WORK_ORDERS, "Title")
    ids = sorted(way.source(WORK_ORDERS))
    edited, deleted = ids[:7], ids[7:10]
    for record_id in edited:
        way.knack.edit_record(WORK_ORDERS, record_id, {title: "Edited"})
    for record_id in deleted:
        way.knack.delete_record(WORK_ORDERS, record_id)
    added = way.knack.add_record(WORK_ORDERS, {title: "Added"})

    incremental = way.load(WORK_ORDERS, "--since-last").summary
    assert (incremental["updated"], incremental["inserted"], incremental["deleted"]) == (7, 1, 0)
    assert incremental["read"] < len(ids) / 2
    full = way.load(WORK_ORDERS).summary
    assert full["deleted"] == 3
    assert set(way.documents(WORK_ORDERS, deleted=True)) == set(deleted)
    for script in ("records_to_socrata", "records_to_agol"):
        done = way.run(script, "-c", WORK_ORDERS, "--since-last")
        assert (done.code, done.summary["deleted"]) == (0, 3), done.stderr
        assert 11 <= done.summary["read"] < len(ids)
    source = way.source(WORK_ORDERS)
    assert way.dataset(WORK_ORDERS).keys() == way.features(WORK_ORDERS).keys() == source.keys()
    assert added in source
    assert {way.dataset(WORK_ORDERS)[one]["title"] for one in edited} == {"Edited"}
    assert {way.features(WORK_ORDERS)[one]["attributes"]["title"] for one in edited} == {"Edited"}
    idle = way.run("records_to_socrata", "-c", WORK_ORDERS, "--since-last").summary
    assert (idle["status"], idle["read"], idle["updated"]) == ("ok", 0, 0)


def test_way__a_returned_record_comes_back_everywhere(way: Way) -> None:
    """A record that left and came back is alive in store, dataset and layer again."""
    way.run("metadata_to_postgrest")
    record = json.loads(way.source(SIGNALS)[min(way.source(SIGNALS))])
    rule = way.city.key("object_12", "Signal Status")
    way.load(SIGNALS)
    for status in ("REMOVED", record[rule]):
        way.knack.edit_record("object_12", record["id"], {rule: status})
        way.load(SIGNALS)
        for script in ("records_to_socrata", "records_to_agol"):
            assert way.run(script, "-c", SIGNALS).code == 0
        there = record["id"] in way.source(SIGNALS)
        assert there is (status != "REMOVED")
        for held in (way.documents(SIGNALS), way.dataset(SIGNALS), way.features(SIGNALS)):
            assert (record["id"] in held) is there


def test_way__nobody_ever_sees_fewer_records(way: Way) -> None:
    """While a full load and full publishes run over changed data, no reader sees fewer than belong there."""
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    for script in ("records_to_socrata", "records_to_agol"):
        way.run(script, "-c", WORK_ORDERS)
    ids = sorted(way.source(WORK_ORDERS))
    for record_id in ids[:5]:
        way.knack.delete_record(WORK_ORDERS, record_id)
    fewest = len(ids) - 5
    seen: list[int] = []
    way.knack.on_request = lambda request: seen.append(len(way.documents(WORK_ORDERS)))
    way.load(WORK_ORDERS)
    watch = way.agol.watch(SERVICE, LAYERS[WORK_ORDERS])
    way.socrata.watch(DATASETS[WORK_ORDERS])
    for script in ("records_to_socrata", "records_to_agol"):
        assert way.run(script, "-c", WORK_ORDERS).code == 0
    assert seen and min(seen) >= fewest
    assert way.socrata.min_count(DATASETS[WORK_ORDERS]) >= fewest
    assert watch.min_count >= fewest


def test_publish__by_date_sends_only_what_changed(way: Way) -> None:
    """-d takes documents changed at or after that time, and a time without a zone means UTC."""
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    way.run("records_to_socrata", "-c", WORK_ORDERS)
    middle = way.stack.execute("select clock_timestamp()")[0][0]
    title = way.city.key(WORK_ORDERS, "Title")
    edited = min(way.source(WORK_ORDERS))
    way.knack.edit_record(WORK_ORDERS, edited, {title: "Edited"})
    way.load(WORK_ORDERS)
    text = middle.astimezone(dt.UTC).replace(tzinfo=None).isoformat()
    done = way.run("records_to_socrata", "-c", WORK_ORDERS, "-d", text)
    assert done.summary["read"] == sum(at >= middle for at in way.times(WORK_ORDERS).values()) > 0
    assert way.dataset(WORK_ORDERS)[edited]["title"] == "Edited"
    assert done.summary["since"].startswith(text)


@pytest.mark.parametrize("script", ["records_to_postgrest", "records_to_socrata", "records_to_agol"])
def test_dry_run__writes_nothing_and_says_what_it_would(way: Way, script: str) -> None:
    """--dry-run counts as a real run would, and sends no write to store or destination."""
    way.run("metadata_to_postgrest")
    if script != "records_to_postgrest":
        way.load(SIGNALS)
    rows = way.count_rows()
    way.socrata.requests.clear()
    done = way.run(script, "-c", SIGNALS, "--dry-run")
    assert done.code == 0, done.stderr
    assert done.summary["inserted"] == len(way.source(SIGNALS))
    assert way.count_rows() == rows
    assert {seen.method for seen in way.socrata.requests} <= {"GET"}
    assert way.dataset(SIGNALS) == way.features(SIGNALS) == {}
    assert not way.agol.edits
    assert way.run(script, "-c", SIGNALS).summary["inserted"] == done.summary["inserted"]


def test_dry_run__of_a_load_counts_removals(way: Way) -> None:
    """A dry full load says how many records it would remove, and removes none."""
    way.load(WORK_ORDERS)
    gone = sorted(way.source(WORK_ORDERS))[:3]
    for record_id in gone:
        way.knack.delete_record(WORK_ORDERS, record_id)
    done = way.run("records_to_postgrest", "-c", WORK_ORDERS, "--dry-run")
    assert done.summary["deleted"] == 3
    assert set(gone) <= set(way.documents(WORK_ORDERS))


def test_load__refuses_to_remove_too_much(way: Way) -> None:
    """A source that lost half its records changes nothing without --max-delete-pct; with it, it does."""
    way.load(WORK_ORDERS)
    before = way.documents(WORK_ORDERS)
    for record_id in sorted(before)[: len(before) // 2]:
        way.knack.delete_record(WORK_ORDERS, record_id)
    done = way.run("records_to_postgrest", "-c", WORK_ORDERS)
    assert (done.code, done.summary["status"]) == (1, "failed")
    assert "--max-delete-pct" in done.errors[0]
    assert way.documents(WORK_ORDERS) == before
    assert way.load(WORK_ORDERS, "--max-delete-pct", "60").summary["deleted"] == len(before) // 2


def test_load__an_empty_source_needs_the_word(way: Way) -> None:
    """An empty answer removes nothing unless --allow-empty says that it is meant."""
    way.load(SIGNALS)
    before = way.documents(SIGNALS)
    for record in way.knack.records("object_12"):
        way.knack.delete_record("object_12", record["id"])
    done = way.run("records_to_postgrest", "-c", SIGNALS)
    assert done.code == 1
    assert "--allow-empty" in done.errors[0]
    assert way.documents(SIGNALS) == before
    assert way.load(SIGNALS, "--allow-empty").summary["deleted"] == len(before)
    assert way.documents(SIGNALS) == {}


def test_publish__refused_rows_end_with_exit_3(way: Way) -> None:
    """A row that a destination refuses is kept in api.rejects, the others go on, and a later success closes it."""
    way.run("metadata_to_postgrest")
    record_id = min(way.source(SIGNALS))
    name = way.city.key("object_12", "Signal Name")
    way.knack.edit_record("object_12", record_id, {name: "x" * 5000})
    way.load(SIGNALS)
    done = way.run("records_to_agol", "-c", SIGNALS)
    assert (done.code, done.summary["status"], done.summary["rejected"]) == (3, "partial", 1), done.stderr
    assert way.features(SIGNALS).keys() == way.source(SIGNALS).keys() - {record_id}
    rejects = way.stack.execute("select record_id, reason from api.rejects where closed_at is null")
    assert [row[0] for row in rejects] == [record_id]
    assert "signal_name" in rejects[0][1] and "xxxx" not in rejects[0][1]
    assert way.runs()[-1]["watermark"] is None
    way.knack.edit_record("object_12", record_id, {name: "Short again"})
    way.load(SIGNALS)
    assert way.run("records_to_agol", "-c", SIGNALS).code == 0
    assert way.stack.execute("select count(*) from api.rejects where closed_at is null") == [(0,)]
