"""Two views of one object feed one dataset, as a city has it; and when each row was published."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from tests.scripts.conftest import APP, DATASETS, SIGNALS, WORK_ORDERS, Done, Way

OBJECT = "object_12"
ON, PLANNED = SIGNALS, "view_201"
STATES = {ON: "TURNED_ON", PLANNED: "DESIGN"}


@pytest.fixture
def siblings(way: Way) -> Way:
    """The signals in two views: those turned on and those planned; both feed the signals' dataset."""
    metadata = copy.deepcopy(way.city.metadata)
    scene = next(one for one in metadata["application"]["scenes"] if one["key"] == "scene_50")
    status = way.city.key(OBJECT, "Signal Status")
    views = []
    for key, state in STATES.items():
        view = copy.deepcopy(scene["views"][0])
        view["key"], view["name"] = key, f"signals {state}"
        view["source"]["criteria"]["rules"] = [{"field": status, "operator": "is", "value": state}]
        views.append(view)
    scene["views"] = views
    way.knack.replace_metadata(metadata)
    settings = {
        "modified_date_field_id": "field_246",
        "location_fields": ["field_212"],
        "socrata_resource_id": DATASETS[SIGNALS],
    }
    write_config(way, {ON: settings, PLANNED: settings})
    assert way.run("metadata_to_postgrest").code == 0
    return way


def write_config(way: Way, settings: dict[str, Any]) -> None:
    """The configuration of the app's containers."""
    (way.config / "knack.py").write_text(f"CONFIG = { ({APP: settings})!r}\n", encoding="utf-8")


def publish(way: Way, container: str, *flags: str) -> Done:
    """Publish a container and insist that it went well."""
    done = way.run("records_to_socrata", "-c", container, *flags)
    assert done.code == 0, done.stderr
    return done


def compare(way: Way, container: str, *flags: str) -> tuple[int, int, int]:
    """Compare a container with its dataset: the exit code, how many rows do not belong there, how many are others'."""
    done = way.run("reconcile", "-c", container, "--only", "socrata", *flags)
    others = re.findall(r"^socrata: (\d+) of the rows are of others$", done.stdout, re.MULTILINE)
    assert sum(done.summary[f"socrata_{kind}"] for kind in ("missing", "differing")) == 0, done.stdout
    return done.code, done.summary["socrata_extra"], int((others or [0])[-1])


def move(way: Way, record_id: str, container: str) -> None:
    """Let a record move to the other view."""
    status = way.city.key(OBJECT, "Signal Status")
    way.knack.edit_record(OBJECT, record_id, {status: STATES[container]})


def expect(way: Way) -> set[str]:
    """What the dataset is to hold: what both views show."""
    return set(way.source(ON)) | set(way.source(PLANNED))


def test_siblings__nothing_of_the_others_is_lost(siblings: Way) -> None:
    """Loads and publishes of both, full and incremental, through a move, a delete and an emptied side."""
    way = siblings
    for container in STATES:
        way.load(container)
        publish(way, container)
    first = expect(way)
    on, planned = sorted(way.source(ON)), sorted(way.source(PLANNED))
    assert len(on) > 8 and len(planned) > 4
    assert set(way.dataset(SIGNALS)) == first == {*on, *planned}

    # A full publish of one takes nothing of the other.
    for container in STATES:
        assert publish(way, container).summary["deleted"] == 0
    assert set(way.dataset(SIGNALS)) == first

    # Nor is what the other view shows a difference.
    assert compare(way, ON) == (0, 0, len(planned)) and compare(way, PLANNED) == (0, 0, len(on))

    # One moves each way, one is deleted on either side, one is edited.
    move(way, on[0], PLANNED)
    move(way, planned[0], ON)
    way.knack.delete_record(OBJECT, on[1])
    way.knack.delete_record(OBJECT, planned[1])
    way.knack.edit_record(OBJECT, on[2], {way.city.key(OBJECT, "Timing Sheet"): "https://example.org/new"})
    way.socrata.watch(DATASETS[SIGNALS])
    for container in STATES:
        way.load(container, "--since-last")
        publish(way, container, "--since-last")
    # What left a view shows only in a full load of it.
    assert set(way.dataset(SIGNALS)) == first
    for container in STATES:
        way.load(container)
    for container in STATES:
        publish(way, container, "--since-last")
    wanted = expect(way)
    assert set(way.dataset(SIGNALS)) == wanted == first - {on[1], planned[1]}
    assert way.dataset(SIGNALS)[on[2]]["timing_sheet"]["url"] == "https://example.org/new"
    assert way.dataset(SIGNALS)[on[0]]["signal_status"] == "DESIGN"
    assert way.socrata.min_count(DATASETS[SIGNALS]) == len(wanted)

    # One side loses all that it has to the other.
    for record_id in way.source(PLANNED):
        move(way, record_id, ON)
    way.load(ON)
    refused = way.run("records_to_postgrest", "-c", PLANNED)
    assert refused.code == 1 and "none would be left" in refused.stderr
    way.load(PLANNED, "--allow-empty", "--max-delete-pct", "100")
    for flags in (["--since-last"], []):
        for container in (PLANNED, ON):
            publish(way, container, *flags)
            assert set(way.dataset(SIGNALS)) == expect(way) == wanted
    assert {row["signal_status"] for row in way.dataset(SIGNALS).values()} == {"TURNED_ON"}

    # It is filled again, and all of the first side goes: what the other has stays.
    kept = sorted(way.source(ON))[:5]
    for record_id in kept:
        move(way, record_id, PLANNED)
    way.load(PLANNED)
    for record_id in way.source(ON):
        way.knack.delete_record(OBJECT, record_id)
    way.load(ON, "--allow-empty", "--max-delete-pct", "100")
    stopped = way.run("records_to_socrata", "-c", ON)
    assert stopped.code == 1 and "--max-delete-pct" in stopped.stderr
    assert set(way.dataset(SIGNALS)) == wanted
    publish(way, ON, "--max-delete-pct", "100")
    publish(way, PLANNED)
    assert set(way.dataset(SIGNALS)) == expect(way) == set(kept)


def test_no_replace__a_full_publish_leaves_the_rows_of_others(way: Way) -> None:
    """With no_replace_socrata only tombstones are removed; without it a full publish makes the dataset its own."""
    settings = {"modified_date_field_id": "field_335", "socrata_resource_id": DATASETS[WORK_ORDERS]}
    write_config(way, {WORK_ORDERS: {**settings, "no_replace_socrata": True}})
    way.socrata.upsert(DATASETS[WORK_ORDERS], [{"id": "of-others", "title": "By hand"}])
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    publish(way, WORK_ORDERS)
    gone = min(way.source(WORK_ORDERS))
    way.knack.delete_record(WORK_ORDERS, gone)
    way.load(WORK_ORDERS)
    assert publish(way, WORK_ORDERS).summary["deleted"] == 1
    assert set(way.dataset(WORK_ORDERS)) == {*way.source(WORK_ORDERS), "of-others"}
    # Rows of others are no difference; one that a tombstone should have taken is.
    assert compare(way, WORK_ORDERS) == (0, 0, 1)
    way.socrata.upsert(DATASETS[WORK_ORDERS], [{"id": gone, "title": "Back by hand"}])
    assert compare(way, WORK_ORDERS) == (3, 1, 1)
    assert compare(way, WORK_ORDERS, "--repair") == (0, 0, 1)
    write_config(way, {WORK_ORDERS: settings})
    assert compare(way, WORK_ORDERS) == (3, 1, 0)
    assert publish(way, WORK_ORDERS).summary["deleted"] == 1
    assert set(way.dataset(WORK_ORDERS)) == set(way.source(WORK_ORDERS))


def test_stamps__rows_that_did_not_change_keep_theirs(way: Way) -> None:
    """Every published row says when; a later full publish sends and stamps only what changed."""
    settings = {"modified_date_field_id": "field_335", "socrata_resource_id": "stam-ped1"}
    write_config(way, {WORK_ORDERS: {**settings, "append_timestamps_socrata": {"key": "published"}}})
    columns = {"id": "text", "title": "text", "priority": "number", "due": "calendar_date"}
    way.socrata.create_dataset("stam-ped1", {**columns, "published": "calendar_date"}, row_id="id")
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    count = len(way.source(WORK_ORDERS))
    assert publish(way, WORK_ORDERS).summary["inserted"] == count
    before = {row["id"]: row["published"] for row in way.socrata.rows("stam-ped1")}
    edited = min(before)
    way.knack.edit_record(WORK_ORDERS, edited, {way.city.key(WORK_ORDERS, "Title"): "Edited"})
    way.load(WORK_ORDERS)
    summary = publish(way, WORK_ORDERS).summary
    assert (summary["updated"], summary["unchanged"]) == (1, count - 1)
    after = {row["id"]: row["published"] for row in way.socrata.rows("stam-ped1")}
    assert {key for key in after if after[key] != before[key]} <= {edited}
    assert after[edited] >= before[edited] and len(after) == count
    idle = publish(way, WORK_ORDERS, "--since-last").summary
    assert (idle["updated"], idle["read"]) == (0, 0)
    assert compare(way, WORK_ORDERS) == (0, 0, 0)
    write_config(way, {WORK_ORDERS: {**settings, "append_timestamps_socrata": {"key": "publishd"}}})
    wrong = way.run("records_to_socrata", "-c", WORK_ORDERS)
    assert wrong.code == 2 and "no column; nearest: published" in wrong.stderr
