"""The published client against the simulator: it must find what the real Knack gives, traps included."""

import copy

import knackpy
import pytest
import requests

from dev.simulators.city import (
    LOCATIONS_VIEW,
    SIGNALS,
    SIGNALS_VIEW,
    WIDE,
    WORK_ORDERS_VIEW,
    build_wide_app,
    wide_records,
)
from dev.simulators.knack import KnackSimulator
from tests.simulators.knack.conftest import ANSWERS, RECORDS, rule


@pytest.fixture
def wide():
    """2,500 small records in one object: three pages of 1,000."""
    records = list(wide_records(2500, fields=6, size=100))
    with KnackSimulator(build_wide_app(6), {WIDE: records}, seed=1, rate_limit=None) as knack:
        yield knack


def read_raw(knack, container, **more):
    """Records as knackpy's lowest call gives them."""
    where = {"obj": container} if container.startswith("object") else {"view": container}
    if "view" in where:
        where["scene"] = knack.app.containers[container].scene
    return knackpy.api.get(app_id=knack.app_id, api_key=knack.api_key, **where, **more)


def open_app(knack, **more):
    """knackpy's App, which fetches the metadata itself."""
    return knackpy.App(app_id=knack.app_id, api_key=knack.api_key, max_attempts=1, **more)


@pytest.mark.parametrize("container", sorted(RECORDS))
def test_get__objects(sample, point_knackpy, container):
    """An object's records arrive as they are held."""
    point_knackpy(sample)
    assert read_raw(sample, container) == RECORDS[container]


def test_get__view(sample, point_knackpy):
    """A view gives the recorded rows: its own fields, its own criteria, connected columns under their keys."""
    point_knackpy(sample)
    assert read_raw(sample, "view_31") == ANSWERS["view_31"]


def test_app__formats_all_of_a_city(town, small_city, point_knackpy):
    """App reads the metadata, finds every container and formats every record."""
    point_knackpy(town)
    app = open_app(town)
    assert app.info()["records"] == sum(len(held) for held in small_city.records.values())
    containers = [*small_city.records, SIGNALS_VIEW, WORK_ORDERS_VIEW, LOCATIONS_VIEW]
    for container in containers:
        rows = [record.format() for record in app.get(container)]
        assert {row["id"] for row in rows} == {record["id"] for record in town.records(container)}
    orders = app.get("object_31")
    assert "_id" in orders[0].format()


def test_app__view_shows_connected_address(town, small_city, point_knackpy):
    """A signal's row in the view carries the address of its location, under the location's own key."""
    point_knackpy(town)
    rows = {record["id"]: record.raw for record in open_app(town).get(SIGNALS_VIEW)}
    places = {place["id"]: place for place in small_city.records["object_11"]}
    checked = 0
    for signal in small_city.records[SIGNALS]:
        if signal["id"] not in rows:
            assert signal["field_244"] != "TURNED_ON"
            continue
        for link in signal["field_243_raw"]:
            assert rows[signal["id"]].get("field_212_raw") == places[link["id"]].get("field_212_raw")
            checked += 1
    assert checked > 10


def test_app__filters(sample, point_knackpy):
    """knackpy's filters reach the records that they describe."""
    point_knackpy(sample)
    found = open_app(sample).get("object_9", filters=[rule("field_46", "is", "Fail")])
    assert found
    assert {record["id"] for record in found} == {
        record["id"] for record in RECORDS["object_9"] if record["field_46"] == "Fail"
    }


def test_record__create_update_delete(sample, point_knackpy):
    """What knackpy writes is there to read, and what it deletes is gone."""
    point_knackpy(sample)
    app = open_app(sample)
    made = app.record(data={"field_41": "New swing", "field_44": 3}, method="create", obj="object_9")
    assert (made["field_40"], made["field_44_raw"]) == (26, 3)
    app.record(data={"id": made["id"], "field_41": "Old swing"}, method="update", obj="object_9")
    assert sample.record("object_9", made["id"])["field_41"] == "Old swing"
    assert sample.record("object_9", made["id"])["field_44"] == "3"
    assert app.record(data={"id": made["id"]}, method="delete", obj="object_9") == {"delete": True}
    assert sample.records("object_9") == RECORDS["object_9"]


def test_upload__file_comes_back(sample, point_knackpy, tmp_path):
    """An uploaded file is kept, named in the record and served under the record's URL."""
    point_knackpy(sample)
    paper = tmp_path / "plan é.pdf"
    paper.write_bytes(b"%PDF \x00\xff")
    record_id = RECORDS["object_9"][1]["id"]
    open_app(sample).upload(
        container="object_9", field="field_56", path=paper, asset_type="file", record_id=record_id
    )
    raw = sample.record("object_9", record_id)["field_56_raw"]
    assert raw["filename"] == "plan é.pdf"
    assert requests.get(raw["url"]).content == b"%PDF \x00\xff"


def test_request__refusals_are_retried(sample, point_knackpy):
    """knackpy repeats a 401 four times before it gives up: the simulator is asked five times."""
    point_knackpy(sample)
    with pytest.raises(requests.HTTPError) as refused:
        knackpy.api.get(app_id=sample.app_id, api_key="wrong", obj="object_9")
    assert (refused.value.response.status_code, refused.value.response.text) == (401, "Invalid API key")
    assert sample.count(path="object_9") == 5


def test_request__server_errors_are_survived(sample, point_knackpy):
    """Two 503s in a row end in the records."""
    point_knackpy(sample)
    sample.faults.add("503", path="/records", times=2)
    assert read_raw(sample, "object_9") == RECORDS["object_9"]


def test_get__one_wrongly_empty_page_ends_the_walk(wide, point_knackpy):
    """The documented trap: a page that is wrongly empty ends knackpy's loop without an error."""
    point_knackpy(wide)
    wide.faults.add("empty-page", path="/records", after=1)
    assert len(read_raw(wide, WIDE)) == 1000


def test_get__total_that_is_never_reached(wide, point_knackpy):
    """With 46 rows of page 1 that never come the total is never reached, and an empty page ends the walk."""
    point_knackpy(wide)
    withheld = wide.withhold(WIDE, 46)
    found = [record["id"] for record in read_raw(wide, WIDE)]
    assert len(found) == 2500 - 46
    assert not set(found) & set(withheld)
    assert wide.requests[-1].query["page"] == "4"


def test_get__delete_during_the_walk_loses_a_live_row(wide, point_knackpy):
    """Paging is by offset over the live table: a delete on page 1 moves a row of page 2 out of sight."""
    point_knackpy(wide)
    first, *_, last_of_page = list(wide.record_bytes(WIDE))[:1001]

    def delete_once(request):
        if request.query.get("page") == "2" and first in wide.record_bytes(WIDE):
            wide.delete_record(WIDE, first)

    wide.on_request = delete_once
    found = {record["id"] for record in read_raw(wide, WIDE)}
    assert last_of_page not in found
    assert last_of_page in wide.record_bytes(WIDE)


def test_app__metadata_newer_than_records(sample, point_knackpy):
    """A field that was added after the records were made is missing in them, which knackpy does not survive."""
    point_knackpy(sample)
    newer = copy.deepcopy(sample_metadata(sample))
    fields = newer["application"]["objects"][2]["fields"]
    fields.append({**fields[1], "key": "field_99", "name": "Brand new"})
    sample.replace_metadata(newer)
    with pytest.raises(KeyError, match="field_99"):
        open_app(sample).get("object_9")


def sample_metadata(knack):
    """The metadata as the simulator serves it."""
    return requests.get(f"{knack.url}/v1/applications/{knack.app_id}").json()
