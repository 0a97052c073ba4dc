"""Publishing to a Socrata portal: what readers see, what is refused, what survives trouble."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import tracemalloc

import pytest

from dev.simulators.socrata import SocrataSimulator
from services.utils import socrata
from services.utils.errors import ConfigError, OutcomeUnknown, PublishError, RequestRefused
from services.utils.guard import DeleteGuard
from services.utils.records import Counts, Row
from services.utils.session import Backoff

ID = "abcd-1234"
COLUMNS = {"id": "text", "name": "text", "n": "number", "when": "calendar_date", "place": "point"}
PATH = rf"/resource/{ID}\.json"
QUICK = Backoff(attempts=4, factor_s=0.01, max_wait_s=0.02, jitter_s=0.0, deadline_s=5.0)
ONE_BY_ONE = socrata.Limits(lag_s=2.0, poll_s=0.01)
BATCHES = socrata.Limits(put_rows=0, batch_rows=10, lag_s=2.0, poll_s=0.01)
SECRET = "s3cret-value"


@pytest.fixture
def portal():
    """A portal with one empty dataset whose row identifier is the text column `id`."""
    with SocrataSimulator(seed=7) as simulator:
        simulator.create_dataset(ID, COLUMNS, row_id="id")
        yield simulator


def connect(portal, **changes):
    """A signed-in session that does not wait long."""
    sign_in = {
        "username": portal.username,
        "password": portal.password,
        "app_token": portal.app_token,
        **changes,
    }
    return socrata.connect(portal.url, **sign_in, backoff=QUICK)


def build_rows(numbers, text="a"):
    """Rows as a source formats them, keyed R0000 ..."""
    return [
        Row(
            f"R{number:04}",
            {
                "id": f"R{number:04}",
                "name": f"{text} {number}",
                "n": str(number),
                "when": "2025-03-09T16:05:00-05:00",
                "place": {"latitude": 30.0, "longitude": -97.0},
            },
        )
        for number in numbers
    ]


def kill(row):
    """The tombstone of a row."""
    return Row(row.record_id, row.values, deleted=True)


def publish(
    portal, rows, *, replace=True, limits=ONE_BY_ONE, guard=None, rejects=None, four_by_four=ID, **more
):
    """Publish rows; refused ones are added to `rejects`, and there must be none where it is None."""
    refused = [] if rejects is None else rejects
    dataset = socrata.open_dataset(connect(portal), four_by_four)
    counts = socrata.publish(
        iter(rows),
        dataset,
        replace=replace,
        guard=guard or DeleteGuard(),
        on_reject=refused.append,
        limits=limits,
        **more,
    )
    assert rejects is not None or not refused
    assert counts.rejected == len(refused)
    return counts


def ids(portal, four_by_four=ID):
    """The row identifiers that are truly there."""
    return sorted(row["id"] for row in portal.rows(four_by_four))


def keys(numbers):
    """The row identifiers of `build_rows`."""
    return [f"R{number:04}" for number in numbers]


# Shapes and the two ways


def test_open_dataset__hides_the_portals_own_columns(portal):
    """Columns come with their types and without computed ones; the row identifier by its field name."""
    dataset = socrata.open_dataset(connect(portal), ID)
    assert dataset.columns == COLUMNS
    assert dataset.row_id == "id"
    assert socrata.geo_columns(dataset) == ["place"]


def test_publish__one_request_fills_a_dataset_and_never_replaces_what_stays(portal):
    """A small dataset is filled by one PUT and kept by upserts; rows read back as the types say."""
    publish(portal, build_rows(range(4)))
    portal.watch(ID)
    counts = publish(portal, build_rows(range(1, 6), "b"), guard=DeleteGuard(50))
    assert counts == Counts(read=5, inserted=2, updated=3, deleted=1)
    assert [write.method for write in portal.writes(ID)] == ["PUT", "POST", "POST"]
    assert ids(portal) == keys(range(1, 6))
    assert portal.row(ID, "R0001") == {
        "id": "R0001",
        "name": "b 1",
        "n": "1",
        "when": "2025-03-09T16:05:00.000",
        "place": {"type": "Point", "coordinates": [-97.0, 30.0]},
    }
    assert portal.min_count(ID) == 4


def test_publish__large_replace_goes_in_batches(portal):
    """A large dataset is upserted in batches of the given size, then unwanted rows are deleted."""
    publish(portal, build_rows(range(30)))
    portal.watch(ID)
    counts = publish(portal, build_rows(range(5, 40), "b"), limits=BATCHES)
    assert counts == Counts(read=35, inserted=10, updated=25, deleted=5)
    writes = portal.writes(ID)[1:]
    assert [(write.method, write.rows, write.deleted) for write in writes] == [
        ("POST", 10, 0),
        ("POST", 10, 0),
        ("POST", 10, 0),
        ("POST", 5, 0),
        ("POST", 5, 5),
    ]
    assert ids(portal) == keys(range(5, 40))
    assert portal.min_count(ID) >= 30


def test_publish__batches_are_cut_by_bytes(portal):
    """A batch stays below its limit of bytes."""
    limits = socrata.Limits(put_bytes=100, batch_bytes=2_000, lag_s=2.0, poll_s=0.01)
    publish(portal, build_rows(range(50)), limits=limits)
    assert {write.method for write in portal.writes(ID)} == {"POST"}
    assert max(write.bytes for write in portal.writes(ID)) <= 2_000
    assert len(ids(portal)) == 50


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__twice_is_the_same(portal, limits):
    """A second run with the same rows leaves the same rows and counts them as updated."""
    publish(portal, build_rows(range(25)), limits=limits)
    before = portal.rows(ID)
    counts = publish(portal, build_rows(range(25)), limits=limits)
    assert counts == Counts(read=25, updated=25)
    assert portal.rows(ID) == before


@pytest.mark.parametrize("style", ["all", "legacy", "short", "storage"])
@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__reads_every_style_of_answer(portal, style, limits):
    """Counts are read whichever keys the answer has, and of an array of results."""
    portal.switches.reply_style = style
    publish(portal, build_rows(range(12)), limits=limits)
    counts = publish(portal, build_rows(range(2, 14)), limits=limits)
    assert counts == Counts(read=12, inserted=2, updated=10, deleted=2)
    assert ids(portal) == keys(range(2, 14))


def test_publish__incremental_run_upserts_and_removes_tombstones(portal):
    """Without replace, rows not named stay, tombstones go, one that is gone already is no error."""
    publish(portal, build_rows(range(20)))
    rows = [*build_rows([3, 25], "b"), *(kill(row) for row in build_rows([4, 99]))]
    counts = publish(portal, rows, replace=False)
    assert counts == Counts(read=4, inserted=1, updated=1, deleted=1)
    assert ids(portal) == keys([n for n in range(20) if n != 4] + [25])
    assert portal.row(ID, "R0003")["name"] == "b 3"
    assert all(write.method == "POST" for write in portal.writes(ID)[1:])


def test_publish__null_clears_what_was_there(portal):
    """A field that became empty is cleared by an upsert."""
    publish(portal, build_rows([1]))
    row = Row("R0001", {**build_rows([1])[0].values, "name": "", "place": None})
    publish(portal, [row], replace=False)
    assert portal.row(ID, "R0001") == {"id": "R0001", "n": "1", "when": "2025-03-09T16:05:00.000"}


def test_publish__fields_that_appear_late_are_sent_for_all(portal):
    """A field that only later rows have is sent as null for the earlier ones."""
    publish(portal, build_rows([1, 2]))
    rows = [Row("R0001", {"id": "R0001", "n": 5}), *build_rows([2], "b")]
    publish(portal, rows, replace=False)
    assert portal.row(ID, "R0001") == {"id": "R0001", "n": "5"}


def test_publish__names_without_a_column_are_left_out_and_told_once(portal, caplog):
    """Fields without a column do not disturb; one log line names them all."""
    caplog.set_level(logging.INFO)
    rows = [Row(r.record_id, {"Zeta": SECRET, "alpha!": 1, **r.values}) for r in build_rows(range(3))]
    publish(portal, rows)
    lines = [line for line in caplog.messages if "left out" in line]
    assert len(lines) == 1
    assert lines[0].endswith("Zeta, alpha!")
    assert SECRET not in caplog.text


def test_publish__columns_that_no_field_feeds_keep_their_values(portal):
    """A column filled by hand survives a replace, which then goes in batches."""
    publish(portal, build_rows(range(3)))
    rows = [
        Row(r.record_id, {k: v for k, v in r.values.items() if k != "name"}) for r in build_rows([0, 1, 3])
    ]
    publish(portal, rows, guard=DeleteGuard(50))
    assert portal.row(ID, "R0001")["name"] == "a 1"
    assert ids(portal) == keys([0, 1, 3])
    assert {write.method for write in portal.writes(ID)[1:]} == {"POST"}


def test_publish__number_row_identifiers_agree_with_what_is_read(portal):
    """A numeric row identifier matches its own spelling as text: nothing is doubled or deleted."""
    portal.create_dataset("numb-0001", {"asset_id": "number", "name": "text"}, row_id="asset_id")
    rows = [
        Row(f"r{n}", {"Asset ID": value, "name": "a"}) for n, value in enumerate([1, "2.0", 3.0, "1,004"])
    ]
    for limits in (ONE_BY_ONE, BATCHES):
        publish(portal, rows, limits=limits, four_by_four="numb-0001")
    counts = publish(portal, rows[1:], limits=BATCHES, four_by_four="numb-0001", guard=DeleteGuard(50))
    assert counts == Counts(read=3, updated=3, deleted=1)
    assert sorted(row["asset_id"] for row in portal.rows("numb-0001")) in (
        ["1004", "2.0", "3.0"],
        ["1004", "2", "3"],
    )


# Refusals before anything is sent


def test_publish__without_a_row_identifier_sends_nothing(portal):
    """A dataset without a row identifier would get every row again: refused, in words that say what to do."""
    portal.create_dataset("norw-0001", COLUMNS, row_id=None)
    with pytest.raises(ConfigError, match=r"no row identifier.*Nothing was sent"):
        publish(portal, build_rows(range(3)), four_by_four="norw-0001")
    assert portal.writes("norw-0001") == []


def test_publish__without_the_key_field_sends_nothing(portal):
    """Rows that lack the row identifier's field are a mistake of configuration, not refused rows."""
    rows = [Row("1", {"name": "a", "number": 1})]
    with pytest.raises(ConfigError, match="row identifier column 'id'.*name, number"):
        publish(portal, rows)
    assert portal.writes(ID) == []


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__guard_stops_a_replace_that_removes_too_much(portal, limits):
    """More removals than agreed, or an empty source, change nothing."""
    publish(portal, build_rows(range(20)))
    written = len(portal.writes(ID))
    with pytest.raises(PublishError, match=r"6 of the 20 records.*Nothing was changed"):
        publish(portal, build_rows(range(14)), limits=limits)
    with pytest.raises(PublishError, match=r"holds 20 records and none would be left.*--allow-empty"):
        publish(portal, [], limits=limits)
    assert len(portal.writes(ID)) == written
    assert ids(portal) == keys(range(20))


def test_publish__guard_stops_too_many_tombstones(portal):
    """An incremental run has the brake too; it counts only tombstones that are still published."""
    publish(portal, build_rows(range(20)))
    with pytest.raises(PublishError, match="6 of the 20 records"):
        publish(portal, [kill(row) for row in build_rows(range(6))], replace=False)
    assert len(ids(portal)) == 20
    long_gone = [kill(row) for row in build_rows(range(100, 200))]
    counts = publish(portal, [*long_gone, kill(build_rows([0])[0])], replace=False)
    assert counts == Counts(read=101, deleted=1)
    assert len(ids(portal)) == 19


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__allow_empty_empties(portal, limits):
    """An empty source that is meant empties the dataset."""
    publish(portal, build_rows(range(20)))
    counts = publish(portal, [], limits=limits, guard=DeleteGuard(allow_empty=True))
    assert counts == Counts(deleted=20)
    assert portal.rows(ID) == []


def test_publish__nothing_onto_nothing_sends_nothing(portal):
    """An empty source and an empty dataset need no request that writes."""
    assert publish(portal, []) == Counts()
    assert publish(portal, [], replace=False) == Counts()
    assert portal.writes(ID) == []


@pytest.mark.parametrize("replace", [True, False])
def test_publish__dry_run_writes_nothing(portal, replace):
    """A dry run counts what would be done and sends only reads."""
    publish(portal, build_rows(range(20)))
    rows = [*build_rows(range(1, 22)), kill(build_rows([0])[0])]
    written = portal.count("POST|PUT|DELETE")
    counts = publish(portal, rows, replace=replace, dry_run=True)
    assert counts == Counts(read=22, inserted=2, updated=19, deleted=1)
    assert portal.count("POST|PUT|DELETE") == written
    assert len(ids(portal)) == 20


def test_publish__rows_that_cannot_be_shaped_are_refused_alone(portal):
    """A bad value, an empty or doubled key refuse their row; its published version stays; the rest goes on."""
    publish(portal, build_rows(range(10)))
    rows = build_rows(range(10), "b")
    rows[3] = Row("R0003", {**rows[3].values, "n": SECRET, "name": "half \ud800"})
    rows[4] = Row("R0004", {**rows[4].values, "name": "half \ud800"})
    rows.append(Row("R0010", {**rows[0].values, "id": ""}))
    rows.append(Row("R0011", {**rows[0].values}))
    rejects = []
    counts = publish(portal, rows, rejects=rejects)
    assert counts == Counts(read=12, updated=8, rejected=4)
    assert [reject.record_id for reject in rejects] == ["R0003", "R0004", "R0010", "R0011"]
    assert rejects[0].reason.startswith("n: ")
    assert rejects[0].content == rows[3].values
    assert "row identifier is empty" in rejects[2].reason
    assert "same row identifier" in rejects[3].reason
    assert not any(SECRET in reject.reason for reject in rejects)
    assert portal.row(ID, "R0003")["name"] == "a 3"
    assert portal.row(ID, "R0005")["name"] == "b 5"


# Datasets that others write to


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__shared_dataset_loses_only_tombstones(portal, limits):
    """A full run of one container leaves the other's rows alone and removes its own tombstones."""
    portal.upsert(ID, [{"id": "other", "name": "not ours"}])
    publish(portal, build_rows(range(10)), limits=limits, exclusive=False)
    counts = publish(
        portal, [*build_rows(range(2, 10)), kill(build_rows([0])[0])], limits=limits, exclusive=False
    )
    assert counts == Counts(read=9, updated=8, deleted=1)
    assert ids(portal) == [*keys(range(1, 10)), "other"]
    assert {write.method for write in portal.writes(ID)} == {"POST"}


def test_publish__tombstone_yields_to_a_live_row_of_the_same_key(portal):
    """A record deleted and made anew under the same key stays."""
    publish(portal, build_rows(range(8)))
    gone = Row("old", {**build_rows([1])[0].values}, deleted=True)
    counts = publish(portal, [gone, *build_rows([1], "new")], replace=False)
    assert counts == Counts(read=2, updated=1)
    assert portal.row(ID, "R0001")["name"] == "new 1"


def test_publish__doubled_tombstones_count_once(portal):
    """Two deleted records of one key are one removal, for the guard and in the counts."""
    publish(portal, build_rows(range(8)))
    gone = [Row(name, build_rows([1])[0].values, deleted=True) for name in ("x", "y", "z")]
    counts = publish(portal, [*gone, *build_rows([2])], exclusive=False, guard=DeleteGuard(15))
    assert counts == Counts(read=4, updated=1, deleted=1)


# Rows that the portal refuses


@pytest.mark.parametrize("replace", [True, False])
def test_publish__errors_inside_a_200_are_found(portal, replace):
    """Rows that the portal counts as errors are found by halving and refused; the others are saved."""
    publish(portal, build_rows(range(40)))
    portal.refuse_ids(ID, "R0007", "R0023", "R0041")
    rejects = []
    counts = publish(portal, build_rows(range(42), "b"), replace=replace, limits=BATCHES, rejects=rejects)
    assert {reject.record_id for reject in rejects} == {"R0007", "R0023", "R0041"}
    assert rejects[0].content["id"] == rejects[0].record_id
    assert "counts the row as an error" in rejects[0].reason
    assert counts == Counts(read=42, inserted=1, updated=38, rejected=3)
    assert portal.row(ID, "R0007")["name"] == "a 7"
    assert portal.row(ID, "R0008")["name"] == "b 8"


def test_publish__errors_that_do_not_come_again_are_healed(portal):
    """Rows that were not taken once are sent again and saved: nothing is refused."""
    portal.faults.add("partial-errors:3", method="POST", times=2)
    counts = publish(portal, build_rows(range(40)), limits=BATCHES)
    assert counts == Counts(read=40, inserted=40)
    assert len(ids(portal)) == 40


def test_publish__errors_in_the_one_request_are_sent_again_in_batches(portal):
    """A replace whose answer counts errors is completed by upserts."""
    portal.faults.add("partial-errors:2", method="PUT")
    assert publish(portal, build_rows(range(10))) == Counts(read=10, inserted=10)
    assert [write.method for write in portal.writes(ID)] == ["PUT", "POST"]
    assert len(ids(portal)) == 10


@pytest.mark.parametrize("errors", [1, 3])
def test_publish__deletions_counted_as_errors_are_looked_after(portal, errors):
    """A deletion counted as an error may be of a row that was gone, or that is still there: that is looked at."""
    publish(portal, build_rows(range(30)))
    fault = portal.faults.add(f"partial-errors:{errors}", body="deleted")
    rows = [*map(kill, build_rows([1, 2, 3, 99])), *build_rows([5], "b")]
    assert publish(portal, rows, replace=False).read == 5
    assert fault.fired == 1
    assert ids(portal) == keys([0, *range(4, 30)])


def test_publish__deletions_that_never_succeed_fail_the_run(portal):
    """Rows that are still there after two deletions are told, and the run fails."""
    publish(portal, build_rows(range(30)))
    portal.faults.add("partial-errors:3", body="deleted", times=None)
    with pytest.raises(PublishError, match="3 are there that were deleted"):
        publish(portal, [*map(kill, build_rows([1, 2, 3]))], replace=False)


def test_publish__unseen_deletions_counted_as_errors_fail_the_run(portal):
    """Where readers do not see the writes in time, nobody knows what an error of a deletion meant."""
    publish(portal, build_rows(range(30)))
    portal.switches.replica_lag_reads = 10_000
    portal.faults.add("partial-errors:1", body="deleted")
    limits = dataclasses.replace(ONE_BY_ONE, lag_s=0.03)
    with pytest.raises(PublishError, match="1 deletions were counted as errors"):
        publish(portal, [kill(build_rows([1])[0])], replace=False, limits=limits)


def test_publish__errors_never_take_a_row_away(portal):
    """Rows that a replace counts as errors stay as they were until they are saved."""
    publish(portal, build_rows(range(30)))
    portal.watch(ID)
    portal.faults.add("partial-errors:5", method="POST|PUT", times=2)
    assert publish(portal, build_rows(range(30), "b")).updated == 30
    assert portal.min_count(ID) == 30


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__poison_rows_are_found_by_400(portal, limits, caplog):
    """A row that makes the portal refuse its whole request is found and refused, without its values told."""
    caplog.set_level(logging.DEBUG)
    publish(portal, build_rows(range(30)))
    portal.faults.add("400", body=f"poison {SECRET}", times=None)
    rows = build_rows(range(30), "b")
    rows[11] = Row("R0011", {**rows[11].values, "name": f"poison {SECRET}"})
    rejects = []
    counts = publish(portal, rows, limits=limits, rejects=rejects)
    assert counts == Counts(read=30, updated=29, rejected=1)
    assert rejects[0].record_id == "R0011"
    assert "400" in rejects[0].reason
    assert SECRET not in rejects[0].reason + caplog.text
    assert portal.row(ID, "R0011")["name"] == "a 11"
    assert portal.row(ID, "R0012")["name"] == "b 12"


def test_publish__poison_rows_are_found_by_500(portal):
    """A row on which the portal always fails is told from an outage by a row that it takes."""
    portal.faults.add("502", body='"poison"', times=None)
    rows = build_rows(range(30))
    for number in (0, 12, 13):
        rows[number] = Row(rows[number].record_id, {**rows[number].values, "name": "poison"})
    rejects = []
    counts = publish(portal, rows, limits=BATCHES, rejects=rejects)
    assert counts == Counts(read=30, inserted=27, rejected=3)
    assert {reject.record_id for reject in rejects} == set(keys([0, 12, 13]))


def test_publish__column_dropped_meanwhile_stops_the_run(portal):
    """A field that the dataset no longer has refuses every row: told at once, not row by row."""
    dataset = socrata.open_dataset(connect(portal), ID)
    dataset.columns["gone"] = "text"
    rows = [Row(r.record_id, {**r.values, "gone": "x"}) for r in build_rows(range(30))]
    with pytest.raises(PublishError, match="a field that the dataset does not have.*0 of 30 rows"):
        socrata.publish(
            rows, dataset, replace=True, guard=DeleteGuard(), on_reject=pytest.fail, limits=BATCHES
        )
    assert len(portal.writes(ID)) == 1


def test_publish__every_row_refused_stops_the_run(portal):
    """When one row after the other is refused and none saved, the dataset is at fault: the run stops."""
    portal.faults.add("400", method="POST|PUT", times=None)
    rejects = []
    with pytest.raises(PublishError, match="26 rows were refused one by one"):
        publish(portal, build_rows(range(100)), rejects=rejects)
    assert len(rejects) == 26


def test_publish__413_halves_and_remembers(portal):
    """A body too large is halved, and later batches are made smaller at once."""
    portal.switches.max_body_bytes = 1_500
    limits = socrata.Limits(batch_rows=40, lag_s=2.0, poll_s=0.01)
    assert publish(portal, build_rows(range(120)), limits=limits) == Counts(read=120, inserted=120)
    writes = portal.writes(ID)
    assert writes[0].method == "PUT"
    assert sum(write.status == 413 for write in writes) <= 5
    assert writes[-1].status == 200
    assert len(ids(portal)) == 120


def test_publish__row_that_alone_is_too_large_is_refused(portal):
    """A single row above the portal's limit is refused alone."""
    portal.switches.max_body_bytes = 1_500
    rows = build_rows(range(5))
    rows[2] = Row("R0002", {**rows[2].values, "name": "x" * 3_000})
    rejects = []
    publish(portal, rows, limits=BATCHES, rejects=rejects)
    assert [reject.record_id for reject in rejects] == ["R0002"]
    assert "413" in rejects[0].reason
    assert ids(portal) == keys([0, 1, 3, 4])


# Trouble on the way

ANSWERS_LOST = [
    "after-reset",
    "after-504",
    "cut",
    "after-html",
    "saved",
    "after-ticket",
    "ticket",
    "html",
    "reset",
]


@pytest.mark.parametrize("kind", ANSWERS_LOST)
@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__lost_answers_double_nothing(portal, kind, limits):
    """Whether a write was carried out or not, without its answer it is sent again: no row is doubled or lost."""
    publish(portal, build_rows(range(30)))
    portal.faults.add(kind, method="POST|PUT", times=2)
    counts = publish(portal, build_rows(range(3, 36), "b"), limits=limits)
    assert counts == Counts(read=33, inserted=6, updated=27, deleted=3)
    assert ids(portal) == keys(range(3, 36))


@pytest.mark.parametrize(("limits", "writes"), [(ONE_BY_ONE, 1), (BATCHES, 4)])
def test_publish__saved_with_a_400_is_saved(portal, limits, writes):
    """A 400 that says the rows were saved is no refusal: nothing is sent twice."""
    portal.faults.add("saved", method="POST|PUT", times=None)
    assert publish(portal, build_rows(range(40)), limits=limits).read == 40
    assert len(portal.writes(ID)) == writes
    assert len(ids(portal)) == 40


@pytest.mark.parametrize("status", ["409", "429", "500", "503", "408"])
def test_publish__passing_trouble_is_waited_out(portal, status):
    """Another writer, throttling and server errors pass: the same request again does it."""
    portal.faults.add(status, times=2, method="GET")
    portal.faults.add(status, times=2, method="PUT")
    assert publish(portal, build_rows(range(5))) == Counts(read=5, inserted=5)


def test_publish__accepted_is_not_done(portal):
    """A 202 is no success: the same replace is sent again."""
    portal.faults.add("ticket", method="PUT")
    assert publish(portal, build_rows(range(5))) == Counts(read=5, inserted=5)
    writes = [(seen.method, seen.status) for seen in portal.requests if seen.method != "GET"]
    assert writes == [("PUT", 202), ("PUT", 200)]


def test_publish__outage_that_ends_in_time_refuses_no_row(portal):
    """A row that seemed bad while the portal was ill is sent again before it is refused."""
    portal.faults.add("502", method="POST", times=QUICK.attempts + 3 * 3)
    assert publish(portal, build_rows(range(10)), limits=BATCHES) == Counts(read=10, inserted=10)
    assert len(ids(portal)) == 10


def test_publish__another_writer_is_waited_for(portal):
    """While somebody else holds the dataset's lock, the write is tried again."""
    portal.switches.lock_wait_s = 0.0
    lock = portal._datasets[ID].writer
    lock.acquire()
    seen = []

    def free(request):
        if request.method == "PUT":
            seen.append(request)
            if len(seen) == 3:
                lock.release()

    portal.on_request = free
    assert publish(portal, build_rows(range(5))) == Counts(read=5, inserted=5)
    assert [write.status for write in portal.writes(ID)] == [409, 409, 200]


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__outage_tells_what_was_saved(portal, limits):
    """When the portal stops answering, the error says how many rows are surely there; a new run completes."""
    publish(portal, build_rows(range(40)))
    portal.watch(ID)
    fault = portal.faults.add("503", method="POST|PUT", after=2 if limits is BATCHES else 0, times=None)
    with pytest.raises(PublishError, match=r"503.*(0|20) of 45 rows of dataset abcd-1234 were surely saved"):
        publish(portal, build_rows(range(5, 50), "b"), limits=limits)
    assert fault.fired < 60
    portal.faults.clear()
    publish(portal, build_rows(range(5, 50), "b"), limits=limits)
    assert ids(portal) == keys(range(5, 50))
    assert {row["name"][0] for row in portal.rows(ID)} == {"b"}
    assert portal.min_count(ID) >= 40


def test_publish__dead_portal_is_not_searched_for_bad_rows(portal):
    """A portal that answers nothing at all ends the run after the usual tries."""
    dataset = socrata.open_dataset(connect(portal), ID)
    portal.faults.add("503", after=2, times=None)
    with pytest.raises(PublishError):
        socrata.publish(
            build_rows(range(9)),
            dataset,
            replace=True,
            guard=DeleteGuard(),
            on_reject=pytest.fail,
            limits=BATCHES,
        )
    assert portal.count("POST") == QUICK.attempts


@pytest.mark.parametrize("after", range(1, 6))
def test_publish__aborted_anywhere_then_run_again_converges(portal, after):
    """A run that dies at any of its requests leaves no fewer rows than before, and the next one ends it."""
    publish(portal, build_rows(range(30)))
    portal.watch(ID)
    portal.faults.add("403", method="POST", after=after - 1, times=1)
    want = keys(range(4, 34))
    if after <= 4:
        with pytest.raises(PublishError, match="Running again is safe"):
            publish(portal, build_rows(range(4, 34), "b"), limits=BATCHES)
    portal.faults.clear()
    publish(portal, build_rows(range(4, 34), "b"), limits=BATCHES)
    assert ids(portal) == want
    assert {row["name"][0] for row in portal.rows(ID)} == {"b"}
    assert portal.min_count(ID) >= 30


# What readers see


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__waits_for_lagging_readers(portal, limits):
    """Replicas that lag are waited for before keys are read and before the result is compared."""
    publish(portal, build_rows(range(30)))
    portal.switches.replica_lag_reads = 3
    portal.watch(ID)
    for first in (2, 4):
        counts = publish(portal, build_rows(range(first, 30 + first)), limits=limits)
        assert counts == Counts(read=30, inserted=2, updated=28, deleted=2)
    assert ids(portal) == keys(range(4, 34))
    assert portal.min_count(ID) >= 30


def test_publish__rows_that_readers_do_not_see_yet_are_not_forgotten(portal):
    """What was written just before is waited for: a replace removes it though replicas hid it at first."""
    publish(portal, build_rows(range(10)))
    portal.switches.replica_lag_reads = 5
    portal.upsert(ID, [{"id": "late"}])
    assert publish(portal, build_rows(range(10)), limits=BATCHES) == Counts(read=10, updated=10, deleted=1)
    assert ids(portal) == keys(range(10))


def test_publish__lag_without_end_is_told_not_failed(portal, caplog):
    """Readers that never catch up in time cannot be compared: a warning, the rows were acknowledged."""
    portal.switches.replica_lag_reads = 10_000
    limits = socrata.Limits(lag_s=0.05, poll_s=0.01)
    assert publish(portal, build_rows(range(5)), limits=limits) == Counts(read=5, inserted=5)
    assert "the comparison was left out" in caplog.text


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__rows_lost_after_being_acknowledged_are_sent_again(portal, limits):
    """Rows that were acknowledged and are not there are found by comparing, and sent once more."""
    lost = []

    def lose(request):
        if request.query.get("$select") == "count(*)" and portal.writes(ID) and not lost:
            lost.append(True)
            portal.upsert(ID, [{"id": key, ":deleted": True} for key in keys([3, 4])])

    portal.on_request = lose
    assert publish(portal, build_rows(range(15)), limits=limits) == Counts(read=15, inserted=15)
    assert lost
    assert len(ids(portal)) == 15


class ForgetfulPortal(SocrataSimulator):
    """Drops a row of every write of several, and every row called "forget me", without counting an error."""

    def answer(self, request):
        if request.method in ("POST", "PUT"):
            rows = [row for row in request.json() if row.get("name") != "forget me"]
            request.body = json.dumps(rows[: max(1, len(rows) - 1)]).encode()
        return super().answer(request)


@pytest.mark.parametrize("limits", [ONE_BY_ONE, BATCHES])
def test_publish__counts_must_account_for_every_row(limits):
    """An answer of fewer rows than were sent is not taken for success, also where readers cannot be asked."""
    limits = dataclasses.replace(limits, lag_s=0.03)
    with ForgetfulPortal(seed=7, replica_lag_reads=10_000) as portal:
        portal.create_dataset(ID, COLUMNS, row_id="id")
        rows = build_rows(range(20))
        rows[5].values["name"] = "forget me"
        rejects = []
        counts = publish(portal, rows, limits=limits, rejects=rejects)
        assert counts == Counts(read=20, inserted=19, rejected=1)
        assert [reject.record_id for reject in rejects] == ["R0005"]
        assert len(ids(portal)) == 19


def test_publish__rows_that_stay_missing_fail_the_run(portal):
    """Rows that vanish again are a failure, with their number."""

    def lose(request):
        if request.query.get("$select") == "count(*)" and portal.writes(ID) and "R0003" in ids(portal):
            portal.upsert(ID, [{"id": "R0003", ":deleted": True}])

    portal.on_request = lose
    with pytest.raises(PublishError, match="1 rows are missing"):
        publish(portal, build_rows(range(15)))


def test_publish__pages_of_keys_are_all_read(portal, monkeypatch):
    """A dataset of more rows than one page gives holds no row back from being deleted."""
    monkeypatch.setattr("services.utils.socrata.read.fetch_keys.__defaults__", (7,))
    publish(portal, build_rows(range(30)))
    counts = publish(portal, build_rows(range(5, 30)), limits=BATCHES)
    assert counts == Counts(read=25, updated=25, deleted=5)
    assert portal.count("GET", PATH) > 10


# Sign-in and refusals


def test_open_dataset__password_of_any_letters(portal):
    """A password may have letters of every alphabet: it is sent in UTF-8."""
    for word in ("пароль", "mot de passé", "密码"):
        portal.switches.logins["publisher"] = word
        client = connect(portal, username="publisher", password=word)
        assert socrata.open_dataset(client, ID).row_id == "id"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong"}, "401 the sign-in is wrong; correct SOCRATA_USERNAME"),
        ({"app_token": "wrong"}, "403 the app token is not valid; correct SOCRATA_APP_TOKEN"),
    ],
)
def test_open_dataset__tells_what_is_wrong_with_the_sign_in(portal, changes, words):
    """A wrong password and a wrong app token are told apart, at once and without showing them."""
    with pytest.raises(PublishError, match=re.escape(words)) as caught:
        socrata.open_dataset(connect(portal, **changes), ID)
    assert "wrong;" not in str(caught.value).replace("is wrong;", "")
    assert isinstance(caught.value, RequestRefused)
    assert len(portal.requests) == 1


def test_open_dataset__tells_a_missing_dataset(portal):
    """An id that the portal does not have is named with what to correct; one that is none is not asked for."""
    with pytest.raises(PublishError, match="/api/views/zzzz-9999.json.*correct socrata_resource_id"):
        socrata.open_dataset(connect(portal), "zzzz-9999")
    with pytest.raises(ConfigError, match="not the id of a Socrata dataset"):
        socrata.open_dataset(connect(portal), "zzzz-9999/../x")
    assert len(portal.requests) == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [("synced", "synced copy"), ("viewer", "this user may not do that"), ("anonymous", "wants a sign-in")],
)
def test_publish__tells_why_it_may_not_write(portal, how, words):
    """A synced copy, a reader's account and no account at all are told apart; no row was saved."""
    portal.create_dataset("sync-0001", COLUMNS, synced=True)
    if how == "viewer":
        portal.switches.viewers.add(portal.username)
    client = connect(portal, **({"username": "", "password": ""} if how == "anonymous" else {}))
    dataset = socrata.open_dataset(client, "sync-0001" if how == "synced" else ID)
    with pytest.raises(PublishError, match=f"403 .*{words}.*request id.*0 of 3 rows"):
        socrata.publish(
            build_rows(range(3)), dataset, replace=True, guard=DeleteGuard(), on_reject=pytest.fail
        )
    assert portal.count("PUT") == 1


def test_connect__refuses_what_is_no_portal():
    """An address with credentials in it, half a sign-in and no address are mistakes of configuration."""
    for url in ("https://user:secret@example.org", "ftp://example.org", ""):
        with pytest.raises(ConfigError, match="SOCRATA_URL") as caught:
            socrata.connect(url, "u", "p")
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="go together"):
        socrata.connect("http://127.0.0.1:1", "u", "")


def test_connect__warns_once_of_a_missing_token(portal, caplog):
    """Without an app token there is one line from us, none from the client library, and no token header."""
    caplog.set_level(logging.DEBUG)
    tokens = []
    portal.on_request = lambda request: tokens.append(request.header("X-App-Token"))
    socrata.open_dataset(connect(portal, app_token=None), ID)
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == [
        "services.utils.socrata.client"
    ]
    assert tokens == [""]


def test_publish__logs_no_secret_and_no_value(portal, caplog):
    """At the finest level the log has request ids, and neither password, token nor values of rows."""
    caplog.set_level(logging.DEBUG)
    rows = [Row(r.record_id, {**r.values, "name": SECRET}) for r in build_rows(range(5))]
    portal.faults.add("503", method="PUT")
    publish(portal, rows)
    assert "request id" in caplog.text
    for word in (SECRET, portal.password, portal.app_token, "Basic "):
        assert word not in caplog.text
    assert portal.password not in repr(socrata.open_dataset(connect(portal), ID))


def test_publish__unknown_outcome_keeps_its_kind(portal):
    """An error after lost answers is chained to the failure that caused it."""
    portal.faults.add("reset", method="PUT|POST", times=None)
    with pytest.raises(PublishError) as caught:
        publish(portal, build_rows(range(1)))
    assert isinstance(caught.value.__cause__, OutcomeUnknown | RequestRefused | None)
    assert "connection was lost" in str(caught.value)


def test_publish__memory_stays_flat(portal):
    """Memory does not grow with the number of rows."""

    def measure(number):
        tracemalloc.start()
        dataset = socrata.open_dataset(connect(portal), ID)
        socrata.publish(
            (Row(f"k{n}", {"id": f"k{n}", "name": "x" * 300}) for n in range(number)),
            dataset,
            replace=False,
            guard=DeleteGuard(),
            dry_run=True,
            on_reject=pytest.fail,
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    measure(100)
    assert measure(8_000) < measure(1_000) + 500_000
