"""An ODK form into the store: everything that can happen to a submission shows after the next run."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from dev import stack as stacks
from dev.simulators.base import Request
from services.utils import session
from services.utils.errors import ConfigError, SourceError
from services.utils.odk.fetch import PAGE_BYTES
from tests.survey import FIELDS, FORM, Survey, open_survey

BRANCHES = [{"length": 2.5, "leaf": [{"colour": "green"}, {"colour": "red"}]}, {"length": 1.0}]


@pytest.fixture(autouse=True)
def fast() -> Iterator[None]:
    """Waits between two tries take a hundredth of their time."""
    session.set_testing(0.01)
    yield
    session.set_testing(1.0)


@pytest.fixture
def survey(clean_store: stacks.Stack) -> Iterator[Survey]:
    """A form without submissions, an empty store."""
    with open_survey(clean_store) as survey:
        yield survey


@pytest.fixture
def loaded(survey: Survey) -> Survey:
    """The form with four submissions, all of them loaded, and nothing new for a day."""
    survey.add("oak", values={"branch": BRANCHES, "site": {"place": "43.2 76.9 750 4.5"}})
    survey.add("elm", values={"photo": "elm.jpg"}, attachments={"elm.jpg": b"elm"})
    survey.add("ash", values={"photo": "ash.jpg"})
    survey.add("fir", values={"UUID": "fir-1"})
    survey.wait()
    survey.load()
    survey.wait()
    survey.follow()
    assert survey.agrees()
    survey.wait()
    return survey


def name_ids(survey: Survey) -> dict[str, str]:
    """{species: __id} of all that were added."""
    return {values["species"]: one for one, values in survey.given.items()}


def count_feed(survey: Survey) -> int:
    """How many requests went to the feed."""
    return survey.central.count(path=r"\.svc/Submissions")


# -- documents -------------------------------------------------------------------------------------


def test_load__byte_for_byte(survey: Survey) -> None:
    """A submission is one document with its repeats nested, each byte as Central sent it, keyed by its __id."""
    first = survey.add("oak", values={"branch": BRANCHES})
    survey.add("вяз 🌳", values={"site": {"place": "43.2 76.9 750 4.5"}})
    counts = survey.load()
    assert (counts.read, counts.inserted) == (2, 2)
    assert survey.documents() == survey.feed()
    record = msgspec.json.decode(survey.documents()[first])
    assert [branch["length"] for branch in record["branch"]] == [2.5, 1.0]
    assert len(record["branch"][0]["leaf"]) == 2
    assert "branch@odata.navigationLink" in record


def test_load__again(loaded: Survey) -> None:
    """A second full load finds nothing to do and moves no time."""
    times = loaded.stack.execute("select record_id, updated_at from api.odk order by 1")
    counts = loaded.load()
    assert (counts.read, counts.unchanged) == (4, 4)
    assert counts.inserted + counts.updated + counts.deleted + counts.rejected == 0
    assert loaded.stack.execute("select record_id, updated_at from api.odk order by 1") == times


def test_load__empty_form(survey: Survey) -> None:
    """A form without submissions is loaded like any other; what comes later is an incremental run."""
    assert survey.load().read == 0
    survey.add("oak")
    assert survey.follow().inserted == 1
    assert survey.agrees()


def test_load__names_that_need_encoding(clean_store: stacks.Stack) -> None:
    """A form id with spaces and a slash's kin, a title that is not ASCII: paths are encoded rightly."""
    with open_survey(clean_store) as survey:
        survey.form_id = "анкета 2+2 #1"
        survey.central.create_form(survey.project, survey.form_id, FIELDS, title="Тұрғын сауалнамасы")
        survey.add("oak")
        survey.load()
        assert survey.agrees()
        assert survey.follow().inserted == 0


def test_load__links_to_a_public_address(clean_store: stacks.Stack) -> None:
    """Next links begin with the public domain, which is not reachable from here: only path and query count."""
    with open_survey(clean_store, public_url="https://odk.example.org") as survey:
        survey.rows = survey.rows_most = 3
        for number in range(10):
            survey.add(f"tree {number}")
        survey.load()
        assert survey.agrees()
        assert count_feed(survey) > 2


def test_load__metadata(survey: Survey) -> None:
    """The first load brings the form's metadata; the next one leaves them as they are."""
    survey.load()
    metadata = survey.store.require_metadata()
    assert metadata["form"]["name"] == "Trees of the park"
    assert metadata["version"] == "1"
    assert [one["path"] for one in metadata["fields"]][:2] == ["/species", "/UUID"]
    assert "draftToken" not in metadata["form"]
    survey.follow()
    assert survey.central.count(path="/fields") == 0


# -- the table of events -----------------------------------------------------------------------------


def create(survey: Survey, ids: dict[str, str]) -> None:
    """A new submission, also one with repeats."""
    survey.add("new", values={"branch": BRANCHES})


def edit(survey: Survey, ids: dict[str, str]) -> None:
    """New values; the first branch goes, so the second takes its place."""
    survey.edit(ids["oak"], species="great oak", branch=BRANCHES[1:])


def review(survey: Survey, ids: dict[str, str]) -> None:
    """A review state."""
    survey.do("review", ids["elm"], "hasIssues")


def delete(survey: Survey, ids: dict[str, str]) -> None:
    """A soft delete, also of one that is known by its UUID field."""
    survey.do("delete", ids["oak"])
    survey.do("delete", ids["fir"])


def delete_and_restore(survey: Survey, ids: dict[str, str]) -> None:
    """Deleted and restored between two runs."""
    survey.do("delete", ids["oak"])
    survey.wait()
    survey.do("restore", ids["oak"])


def restore(survey: Survey, ids: dict[str, str]) -> None:
    """Restored when some runs have seen it deleted, also one that is known by its UUID field."""
    delete(survey, ids)
    for _ in range(3):
        survey.wait()
        survey.follow()
        assert len(survey.documents()) == 2
    survey.wait()
    survey.do("restore", ids["oak"])
    survey.do("restore", ids["fir"])


def upload_late(survey: Survey, ids: dict[str, str]) -> None:
    """An attachment that arrives later; updatedAt does not move."""
    survey.do("put_attachment", ids["ash"], "ash.jpg", b"ash")


def replace_attachment(survey: Survey, ids: dict[str, str]) -> None:
    """An attachment's content replaced: the submission shows nothing of it."""
    survey.do("put_attachment", ids["elm"], "elm.jpg", b"another elm")


def remove_attachment(survey: Survey, ids: dict[str, str]) -> None:
    """An attachment taken away from a submission that had all of its media."""
    survey.do("remove_attachment", ids["elm"], "elm.jpg")


def publish_version(survey: Survey, ids: dict[str, str]) -> None:
    """A new version: a field removed, one added, one moved; every row's shape changes."""
    fields = [one for one in FIELDS if one[0] not in ("height", "photo")]
    survey.do("publish_version", [*fields, ("age", "int"), ("site/photo", "image")])


def purge_deleted(survey: Survey, ids: dict[str, str]) -> None:
    """Deleted and purged between two runs: it is gone from every answer."""
    survey.do("delete", ids["oak"])
    survey.do("purge", ids["oak"])


def purge_known(survey: Survey, ids: dict[str, str]) -> None:
    """Purged after a run has seen it deleted."""
    survey.do("delete", ids["oak"])
    survey.wait()
    survey.follow()
    survey.do("purge", ids["oak"])


def close_form(survey: Survey, ids: dict[str, str]) -> None:
    """A closed form still gives what it has."""
    survey.add("last")
    survey.do("close_form")


EVENTS = (
    create,
    edit,
    review,
    delete,
    delete_and_restore,
    restore,
    upload_late,
    replace_attachment,
    remove_attachment,
    publish_version,
    purge_deleted,
    purge_known,
    close_form,
)


@pytest.mark.parametrize("event", EVENTS, ids=[event.__name__ for event in EVENTS])
def test_load_changes__event(loaded: Survey, event: Callable[[Survey, dict[str, str]], None]) -> None:
    """Whatever happened at Central, the store holds exactly the feed after the next run, and the one after rests."""
    event(loaded, name_ids(loaded))
    loaded.wait()
    loaded.follow()
    assert loaded.agrees()
    loaded.wait()
    counts = loaded.follow()
    assert counts.inserted + counts.updated + counts.deleted + counts.rejected == 0
    assert loaded.agrees()
    assert len(loaded.central.requests) <= 3 + 2  # agrees() signs in and reads the feed itself


@pytest.mark.parametrize("event", EVENTS, ids=[event.__name__ for event in EVENTS])
def test_load_all__event(loaded: Survey, event: Callable[[Survey, dict[str, str]], None]) -> None:
    """The same by a full load."""
    event(loaded, name_ids(loaded))
    loaded.load()
    assert loaded.agrees()


def test_load_changes__delete_is_a_tombstone(loaded: Survey) -> None:
    """A deleted submission stays as a tombstone, with its last content, under its key."""
    before = loaded.documents()["fir-1"]
    loaded.do("delete", name_ids(loaded)["fir"])
    assert loaded.follow().deleted == 1
    assert len(loaded.central.requests) == 3
    assert loaded.documents(deleted=True) == {"fir-1": before}


def test_load_all__deleted_ones_need_no_asking(loaded: Survey) -> None:
    """A full load lists what is deleted, so that none of it is asked for one by one: four requests in all."""
    loaded.do("delete", name_ids(loaded)["fir"])
    assert loaded.load().deleted == 1
    assert len(loaded.central.requests) == 4


def test_load_all__leaves_deleted_ones_out(survey: Survey) -> None:
    """A full load brings nothing of what is deleted; when that is restored, the next run has it."""
    one = survey.add("oak")
    survey.add("elm")
    survey.do("delete", one)
    survey.wait()
    survey.load()
    assert len(survey.documents()) == 1 and survey.documents(deleted=True) == {}
    survey.wait()
    survey.do("restore", one)
    survey.wait()
    assert survey.follow().inserted == 1
    assert survey.agrees()


def test_load_changes__restored_after_a_run_that_died(loaded: Survey) -> None:
    """A run died after it made a tombstone and before it noted that: the restored one is found all the same."""
    ids = name_ids(loaded)
    kept = loaded.stack.execute("select digest, deleted::text, looked_until, updated_at from api.odk_loads")[
        0
    ]
    loaded.do("delete", ids["oak"])
    loaded.wait()
    loaded.follow()
    loaded.stack.execute(
        "update api.odk_loads set digest = %s, deleted = %s::json, looked_until = %s, updated_at = %s", kept
    )
    loaded.stack.execute("delete from api.runs where started_at = (select max(started_at) from api.runs)")
    loaded.wait()
    loaded.do("restore", ids["oak"])
    loaded.follow()
    assert loaded.agrees()


def test_load_changes__many_deleted(survey: Survey) -> None:
    """With hundreds of deleted ones they are listed in a request of their own, and restores are still found."""
    ids = [survey.add(f"tree {number}", minutes=0.1) for number in range(330)]
    for one in ids[:-5]:
        survey.do("delete", one)
    survey.wait()
    survey.load()
    survey.wait()
    survey.do("restore", ids[7])
    survey.do("delete", ids[-1])
    counts = survey.follow()
    assert (counts.inserted, counts.deleted) == (1, 1)
    assert survey.agrees()
    for _ in range(2):
        survey.wait()
        survey.follow()
    assert survey.central.requests[-1].answer_bytes < 300


def test_load_changes__many_wait_for_media(survey: Survey) -> None:
    """All submissions that wait for media are asked for in every run, in addresses that proxies take."""
    ids = [survey.add(f"tree {n}", minutes=0.1, values={"photo": f"{n}.jpg"}) for n in range(230)]
    survey.wait()
    survey.load()
    survey.wait()
    survey.do("put_attachment", ids[0], "0.jpg", b"x")
    survey.do("put_attachment", ids[229], "229.jpg", b"x")
    survey.central.switches.max_head_bytes = 8_000
    assert survey.follow().updated == 2
    assert survey.agrees()


def test_load_changes__media_removed_among_many(survey: Survey) -> None:
    """Submissions with all of their media are checked in turn: a file taken away shows after a few runs."""
    ids = [
        survey.add(f"tree {n}", minutes=0.1, values={"photo": f"{n}.jpg"}, attachments={f"{n}.jpg": b"x"})
        for n in range(250)
    ]
    survey.wait()
    survey.load()
    survey.wait()
    for one in (0, 120, 249):
        survey.do("remove_attachment", ids[one], f"{one}.jpg")
    assert sum(survey.follow().updated for _ in range(3)) == 3
    assert survey.agrees()


def test_load_changes__seen_late(loaded: Survey) -> None:
    """An upload stamped before the last run began, and seen only after it, is not lost."""
    hidden = loaded.add("slow", visible=False)
    loaded.central.clock.advance(90)
    loaded.add("quick")
    loaded.follow()
    assert hidden not in loaded.documents()
    loaded.do("show", hidden)
    loaded.central.clock.advance(60)
    loaded.follow()
    assert loaded.agrees()


@pytest.mark.parametrize("full", [True, False], ids=["full", "since-last"])
def test_load__edits_during_the_walk(loaded: Survey, full: bool) -> None:
    """What happens between two pages, behind and before the cursor, is there after the next run."""
    ids = [loaded.add(f"tree {number}") for number in range(30)]
    loaded.rows = loaded.rows_most = 10
    seen = 0

    def meddle(request: Request) -> None:
        nonlocal seen
        if request.query.get("$expand") != "*":
            return
        seen += 1
        if seen == (3 if full else 2):
            loaded.edit(ids[29], species="behind")
            loaded.edit(ids[1], species="before")
            loaded.do("delete", ids[2])
            loaded.do("delete", ids[28])
            loaded.add("newest")

    loaded.central.on_answer = meddle
    loaded.load() if full else loaded.follow()
    loaded.central.on_answer = None
    assert seen > 2
    loaded.wait()
    loaded.follow()
    assert loaded.agrees()


def test_load_all__restored_during_the_walk(loaded: Survey) -> None:
    """A submission that is restored while the form is walked, behind the cursor, is there after the next run."""
    ids = [loaded.add(f"tree {number}") for number in range(30)]
    loaded.do("delete", ids[29])
    loaded.rows = loaded.rows_most = 10
    seen = 0

    def meddle(request: Request) -> None:
        nonlocal seen
        seen += ".svc/" in request.path
        if seen == 3:
            seen += 1
            loaded.do("restore", ids[29])

    loaded.central.on_answer = meddle
    loaded.load()
    loaded.central.on_answer = None
    loaded.wait()
    loaded.follow()
    assert loaded.agrees()


def test_load__page_that_ends_early(loaded: Survey, caplog: pytest.LogCaptureFixture) -> None:
    """A purged cursor makes an empty last page under a 200: the walk is taken again, nothing is lost."""
    for number in range(60):
        loaded.add(f"tree {number}")
    doomed = loaded.add("doomed")
    for number in range(3):
        loaded.add(f"last {number}")
    loaded.rows = loaded.rows_most = 4
    purged = False

    def purge(request: Request) -> None:
        nonlocal purged
        if not purged and request.query.get("$expand") == "*":
            purged = True
            loaded.do("purge", doomed)

    loaded.central.on_answer = purge
    loaded.load()
    assert purged and "walking again" in caplog.text
    assert set(loaded.feed()) < {doomed, *loaded.documents(), name_ids(loaded)["fir"]}
    loaded.follow()
    assert loaded.agrees()


def test_load__never_complete(loaded: Survey) -> None:
    """A feed that ends early every time is an incomplete answer: nothing is removed, the time stands still."""
    for number in range(60):
        loaded.add(f"tree {number}")
    ids = list(loaded.given)
    loaded.do("delete", ids[0])
    loaded.rows = loaded.rows_most = 4

    def purge(request: Request) -> None:
        if request.query.get("$expand") == "*" and "$skiptoken" not in request.query:
            cursor = list(loaded.central.form(loaded.project, FORM).live())[3]
            loaded.do("purge", cursor.instance_id)

    loaded.central.on_answer = purge
    with pytest.raises(SourceError, match="three times: the answer is incomplete"):
        loaded.load()
    loaded.central.on_answer = None
    assert ids[0] in loaded.documents()


# -- keys --------------------------------------------------------------------------------------------


def test_load__key(survey: Survey) -> None:
    """The UUID field names a submission, where it is empty the __id does."""
    survey.add("oak", values={"UUID": "u-1"})
    elm = survey.add("elm")
    survey.load()
    assert set(survey.documents()) == {"u-1", elm}


@pytest.mark.parametrize(
    ("record_key", "key"),
    [("__id", "__id"), ("species", "oak"), ("meta/instanceID", "__id"), ("site/x", None)],
)
def test_load__key_is_a_setting(clean_store: stacks.Stack, record_key: str, key: str | None) -> None:
    """The choice of key is a setting; a submission without that key is refused, named and kept for people."""
    with open_survey(clean_store, record_key=record_key) as survey:
        one = survey.add("oak", values={"UUID": "u-1"})
        counts = survey.load()
        if key is None:
            assert counts.rejected == 1 and survey.documents() == {}
            assert survey.rejects() == {one: "no key: site/x is empty"}
            kept = survey.stack.execute("select content #>> '{}' from api.rejects")[0][0]
            assert msgspec.json.decode(kept)["species"] == "oak"
        else:
            assert set(survey.documents()) == {one if key == "__id" else key}


def test_load__other_key_setting(clean_store: stacks.Stack) -> None:
    """With another choice of key everything is read again, and nothing stays under the old keys."""
    with open_survey(clean_store) as survey:
        one = survey.add("oak", values={"UUID": "u-1"})
        survey.wait()
        survey.load()
        survey.wait()
        survey.record_key = "__id"
        survey.follow()
        assert set(survey.documents()) == {one}


@pytest.mark.parametrize("full", [True, False], ids=["full", "since-last"])
def test_load__key_changed_by_an_edit(loaded: Survey, full: bool) -> None:
    """A submission whose UUID field was edited lives on under the new key, the old one is a tombstone."""
    ids = name_ids(loaded)
    loaded.edit(ids["fir"], UUID="fir-2")
    loaded.edit(ids["oak"], UUID="oak-1")
    counts = loaded.load() if full else loaded.follow()
    assert (counts.inserted, counts.deleted) == (2, 2)
    assert full or len(loaded.central.requests) == 3
    assert {"fir-2", "oak-1"} <= set(loaded.documents())
    assert set(loaded.documents(deleted=True)) == {"fir-1", ids["oak"]}
    assert loaded.agrees()


@pytest.mark.parametrize("full", [True, False], ids=["full", "since-last"])
def test_load__two_swap_their_keys(loaded: Survey, full: bool) -> None:
    """Two submissions that exchange their UUIDs end with each under its own, after at most one more run."""
    ids = name_ids(loaded)
    loaded.edit(ids["elm"], UUID="elm-1")
    loaded.follow()
    loaded.edit(ids["elm"], UUID="fir-1")
    loaded.edit(ids["fir"], UUID="elm-1")
    loaded.wait()
    for _ in range(2):
        loaded.load() if full else loaded.follow()
    assert loaded.agrees()
    assert loaded.rejects() == {}


@pytest.mark.parametrize("full", [True, False], ids=["full", "since-last"])
def test_load__conflict(loaded: Survey, full: bool) -> None:
    """A second submission with a key that is taken is refused in words that name both, and overwrites nothing."""
    first = name_ids(loaded)["fir"]
    before = loaded.documents()["fir-1"]
    second = loaded.add("fir again", values={"UUID": "fir-1"})
    counts = loaded.load() if full else loaded.follow()
    assert (counts.rejected, counts.deleted) == (1, 0)
    assert loaded.documents()["fir-1"] == before
    reason = loaded.rejects()[second]
    assert reason.startswith("conflict") and first in reason and second in reason


def test_load__conflict_in_one_walk(survey: Survey) -> None:
    """Of two new submissions with one key the older one is stored; a second run says the same."""
    first = survey.add("oak", values={"UUID": "u"})
    second = survey.add("elm", values={"UUID": "u"})
    for _ in range(2):
        survey.load()
        assert msgspec.json.decode(survey.documents()["u"])["__id"] == first
        assert set(survey.rejects()) == {second}


def test_load__conflict_across_pages(survey: Survey) -> None:
    """Two with one key far apart in one walk: one is stored, one refused, whatever page they are on."""
    survey.rows = survey.rows_most = 25
    ids = [survey.add("oak", values={"UUID": "u"})]
    for number in range(75):
        survey.add(f"tree {number}", minutes=0.1)
    ids.append(survey.add("elm", values={"UUID": "u"}))
    survey.load()
    stored = msgspec.json.decode(survey.documents()["u"])["__id"]
    assert {stored, *survey.rejects()} == set(ids)


def test_load_all__key_of_a_deleted_one(loaded: Survey) -> None:
    """A key whose holder was deleted is free at once: a full load stores the other submission under it."""
    loaded.do("delete", name_ids(loaded)["fir"])
    second = loaded.add("fir again", values={"UUID": "fir-1"})
    assert loaded.load().rejected == 0
    assert msgspec.json.decode(loaded.documents()["fir-1"])["__id"] == second
    assert loaded.agrees()


def test_load_changes__conflict_is_tried_again(loaded: Survey) -> None:
    """When the one that holds the key is deleted, the refused one takes its place, and its reject is closed."""
    second = loaded.add("fir again", values={"UUID": "fir-1"})
    for _ in range(3):
        loaded.follow()
        loaded.wait()
    assert set(loaded.rejects()) == {second}
    loaded.do("delete", name_ids(loaded)["fir"])
    loaded.follow()
    loaded.wait()
    loaded.follow()
    assert msgspec.json.decode(loaded.documents()["fir-1"])["__id"] == second
    assert loaded.rejects() == {}
    assert loaded.agrees()


def test_load_changes__conflict_does_not_hold_up_the_time(loaded: Survey) -> None:
    """A submission that stays refused is asked for by itself: later runs do not read everything since it came."""
    loaded.add("fir again", values={"UUID": "fir-1"})
    loaded.follow()
    loaded.wait()
    for number in range(5):
        loaded.add(f"tree {number}")
    loaded.wait()
    loaded.follow()
    loaded.wait()
    counts = loaded.follow()
    assert (counts.read, counts.rejected) == (3, 1)  # the refused one, and two with media


# -- versions ----------------------------------------------------------------------------------------


def test_load_changes__new_version_said(loaded: Survey, caplog: pytest.LogCaptureFixture) -> None:
    """A new version is said, everything is read once, metadata follow, and the old version's fields are kept."""
    caplog.set_level(logging.INFO)
    publish_version(loaded, {})
    loaded.follow()
    assert "version 2 is new here" in caplog.text
    metadata = loaded.store.require_metadata()
    assert metadata["version"] == "2"
    assert "/height" in [one["path"] for one in metadata["versions"]["1"]["fields"]]
    caplog.clear()
    assert loaded.follow().updated == 0
    assert "is new here" not in caplog.text


def test_load_changes__new_version_after_metadata(loaded: Survey) -> None:
    """Metadata loaded by themselves meanwhile do not hide from the load that every document has another shape."""
    publish_version(loaded, {})
    central = __import__("services.utils.odk", fromlist=["odk"])
    client = central.Central(loaded.central.url, loaded.central.user, loaded.central.password)
    feed = central.FormFeed(client, str(loaded.project), FORM)
    loaded.store.load_metadata(feed.fetch_metadata(None))
    loaded.follow()
    assert loaded.agrees()


def test_load_changes__new_version_and_a_run_that_failed(loaded: Survey) -> None:
    """A full pass that failed midway is taken again by the next run."""
    publish_version(loaded, {})
    loaded.rows = loaded.rows_most = 2
    loaded.central.faults.add("400", path=r"\.svc/Submissions", after=1, times=None)
    with pytest.raises(SourceError):
        loaded.follow()
    loaded.central.faults.clear()
    loaded.follow()
    assert loaded.agrees()


# -- guard, dry run, dates -----------------------------------------------------------------------------


def test_load_changes__guard(loaded: Survey) -> None:
    """More deletions than the guard allows: nothing is removed, the time stands still, the next run sees them again."""
    ids = name_ids(loaded)
    loaded.do("delete", ids["oak"])
    loaded.do("delete", ids["elm"])
    with pytest.raises(SourceError, match="2 of the 4 records .* would be removed"):
        loaded.follow(max_delete_pct=25.0)
    assert len(loaded.documents()) == 4
    loaded.wait()
    assert loaded.follow(max_delete_pct=50.0).deleted == 2
    assert loaded.agrees()


def test_load__guard_empty(loaded: Survey) -> None:
    """A form that has lost everything stops a full load before anything is written."""
    for one in name_ids(loaded).values():
        loaded.do("delete", one)
    with pytest.raises(SourceError, match="none would be left"):
        loaded.load(allow_empty=False)
    with pytest.raises(SourceError, match="none would be left"):
        loaded.follow(allow_empty=False)
    assert len(loaded.documents()) == 4
    assert loaded.load().deleted == 4


@pytest.mark.parametrize("full", [True, False], ids=["full", "since-last"])
def test_load__dry_run(loaded: Survey, full: bool) -> None:
    """A dry run says what would happen and writes nothing at all."""
    ids = name_ids(loaded)
    loaded.add("new")
    loaded.edit(ids["oak"], species="great oak")
    loaded.do("delete", ids["elm"])
    tables = ("odk", "odk_loads", "odk_metadata", "runs", "rejects", "load_pages")

    def look() -> list[Any]:
        return [loaded.stack.execute(f"select t::text from api.{table} t order by 1") for table in tables]

    before = look()
    counts = loaded.load(since_last=not full, dry_run=True)
    assert (counts.inserted, counts.updated, counts.deleted) == (1, 1, 1)
    assert look() == before
    counts = loaded.load(since_last=not full)
    assert (counts.inserted, counts.updated, counts.deleted) == (1, 1, 1)


def test_load__from_a_date(loaded: Survey) -> None:
    """-d loads what changed since then and does not move the time over the gap before it."""
    loaded.add("early")
    loaded.wait()
    moment = loaded.central.clock.now()
    loaded.add("late")
    assert loaded.load(date=moment).inserted == 1
    assert not loaded.agrees()
    loaded.follow()
    assert loaded.agrees()


def test_load__date_finer_than_a_millisecond(loaded: Survey) -> None:
    """A date finer than Central's milliseconds is rounded down, so that its own submission comes."""
    moment = loaded.central.clock.now() + dt.timedelta(minutes=1)
    loaded.add("oak 2")
    assert loaded.load(date=moment + dt.timedelta(microseconds=900)).inserted == 1


def test_load__watermark(loaded: Survey) -> None:
    """The watermark is Central's clock as the run began, less the overlap; only a run that ended well has one."""
    loaded.central.clock.set("2026-05-05T12:00:00.700Z")
    loaded.follow()
    assert loaded.last is not None
    assert loaded.last.watermark == "2026-05-05T11:50:00+00:00"
    loaded.central.faults.add("400", path=r"\.svc", times=None)
    with pytest.raises(SourceError):
        loaded.follow()
    marks = loaded.stack.execute("select watermark from api.runs where status = 'failed'")
    assert marks == [(None,)]


# -- cost ----------------------------------------------------------------------------------------------


def test_load_changes__nothing_new(loaded: Survey) -> None:
    """A run with nothing new is three requests."""
    counts = loaded.follow()
    assert len(loaded.central.requests) == 3
    assert counts.inserted + counts.updated + counts.deleted + counts.rejected == 0


def test_find_submissions__without_statistics(survey: Survey) -> None:
    """Looking up a page's submissions in the store reads an index for each, also right after the first load."""
    survey.stack.execute(
        """
        insert into api.odk (app_id, container_id, record_id, record)
        select 'h/1', 'f', 'k' || g, json_build_object('__id', 'uuid:' || g, 'x', repeat('x', 900))
        from generate_series(1, 4000) g
        """
    )
    keys, ids = [f"k{n}" for n in range(4000)], [f"uuid:{n}" for n in range(4000)]
    for asked in ((keys[:100], []), (keys, []), (keys[:1], ids)):
        rows = survey.stack.execute("select api.find_submissions('h/1', 'f', %s, %s)", asked)
        assert {found[0] for found in rows[0][0]} == {f"k{n}" for n in range(1, max(map(len, asked)))}


def test_walk__pages_by_size(survey: Survey) -> None:
    """Pages become bigger or smaller so that each is about a few MB."""
    survey.rows = 2
    for number in range(12):
        survey.add(f"tree {number} " + "x" * 600_000)
    survey.load()
    assert survey.agrees()
    pages = [seen for seen in survey.central.requests if "$top" in seen.query and "$expand" in seen.query]
    assert [int(seen.query["$top"]) for seen in pages] == [2, PAGE_BYTES // 600_000, PAGE_BYTES // 600_000]


# -- trouble -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["503", "504", "429", "reset", "after-reset", "cut", "html", "after-html"])
def test_load__passing_trouble(survey: Survey, kind: str) -> None:
    """Trouble that passes is outlived on every kind of request: sign-in, form, pages, metadata."""
    survey.rows = survey.rows_most = 3
    for number in range(8):
        survey.add(f"tree {number}", values={"branch": BRANCHES})
    for path in ("/sessions", r"/forms/trees$", r"\.svc/Submissions", "/fields"):
        survey.central.faults.add(kind, path=path)
    survey.load()
    assert survey.agrees()


def test_load__pages_that_fail_become_smaller(survey: Survey, caplog: pytest.LogCaptureFixture) -> None:
    """A page that fails every time is asked for in smaller ones."""
    caplog.set_level(logging.INFO)
    for number in range(40):
        survey.add(f"tree {number}")
    survey.central.faults.add("504", path=r"\.svc/Submissions", after=1, times=6)
    survey.load()
    assert "going on with 125 rows a page" in caplog.text
    assert survey.agrees()


def test_load__not_supported_is_not_repeated(survey: Survey) -> None:
    """A 501 is a permanent answer: it is asked for once."""
    survey.load()
    survey.central.faults.add("501", path=r"\.svc/Submissions", times=None)
    with pytest.raises(SourceError, match="does not know the option"):
        survey.follow()
    assert count_feed(survey) == 1


def test_load__session_that_ends(survey: Survey) -> None:
    """A session that ends in the middle of a walk is renewed once, and the walk goes on."""
    survey.rows = survey.rows_most = 3
    for number in range(40):
        survey.add(f"tree {number}")
    pages = 0
    heads: list[dict[str, str]] = []

    def expire(request: Request) -> None:
        nonlocal pages
        heads.append(request.headers)
        if request.query.get("$expand") == "*":
            pages += 1
            if pages == 1:
                survey.central.expire_sessions()

    survey.central.on_answer = expire
    survey.load()
    assert [seen.status for seen in survey.central.requests].count(401) == 1
    assert not any("Cookie" in seen for seen in heads)
    assert survey.agrees()


def test_load__older_central(clean_store: stacks.Stack, caplog: pytest.LogCaptureFixture) -> None:
    """A Central before v2024.3 cannot list deleted ones: it is said, and a full load finds what is gone."""
    with open_survey(clean_store, deleted_filter=False) as survey:
        one = survey.add("oak")
        two = survey.add("elm")
        survey.load()
        assert "older than v2024.3" in caplog.text
        survey.wait()
        survey.edit(one, species="great oak")
        assert survey.follow().updated == 1
        survey.do("delete", two)
        survey.load()
        assert survey.agrees()


@pytest.mark.parametrize("odd", ["my_id/1 ж", "o'brien", "a b?c#d", "100%25", "a" * 300])
def test_load__odd_ids(survey: Survey, odd: str) -> None:
    """Ids that no filter can hold and no key address are loaded, deleted, restored and waited for like others."""
    survey.add("oak", values={"photo": "a.jpg"}, instance_id=odd)
    survey.load()
    assert survey.agrees()
    survey.wait()
    survey.do("put_attachment", odd, "a.jpg", b"x")
    assert survey.follow().updated == 1
    survey.do("delete", odd)
    assert survey.follow().deleted == 1
    survey.wait()
    survey.do("restore", odd)
    survey.follow()
    assert survey.agrees()
    survey.do("purge", odd)
    survey.load()
    assert survey.documents() == {}


# -- what is wrong is told apart -----------------------------------------------------------------------


def test_load__wrong_password(survey: Survey) -> None:
    """A refused sign-in is one line that names the variables, and is tried once."""
    with pytest.raises(SourceError, match="check ODATA_USER and ODATA_PASS") as caught:
        survey.load(password="not it")
    assert "not it" not in str(caught.value)
    assert len(survey.central.requests) == 1


def test_load__no_project(survey: Survey) -> None:
    """A project that is not there is told from a form that is not there."""
    with pytest.raises(ConfigError, match="no project 99"):
        survey.load(project="99")


def test_load__no_form(survey: Survey) -> None:
    """A form that is not there is named, with the nearest one."""
    survey.form_id = "Trees"
    with pytest.raises(ConfigError, match="no form 'Trees'; nearest: trees"):
        survey.load()


def test_load__draft_only(survey: Survey) -> None:
    """A form that was never published has no submissions to give, which is said."""
    survey.form_id = "plan"
    survey.central.create_form(survey.project, "plan", FIELDS, publish=False)
    with pytest.raises(ConfigError, match="plan is a draft that was never published"):
        survey.load()


def test_load__deleted_form(loaded: Survey) -> None:
    """A form that was deleted at Central removes nothing from the store."""
    loaded.do("delete_form")
    with pytest.raises(ConfigError, match="no form 'trees'"):
        loaded.follow()
    assert len(loaded.documents()) == 4


def test_load__data_collector(survey: Survey) -> None:
    """A user who may only submit is told which role is needed."""
    central = survey.central
    with pytest.raises(SourceError, match="give it the role Project Viewer"):
        survey.load(user=central.collector, password=central.collector_password)


def test_load__viewer(loaded: Survey) -> None:
    """The role Project Viewer is enough for everything."""
    ids = name_ids(loaded)
    loaded.do("delete", ids["oak"])
    loaded.edit(ids["elm"], species="great elm")
    loaded.follow(user=loaded.central.viewer, password=loaded.central.viewer_password)
    assert loaded.agrees()


def test_load__encrypted(survey: Survey, caplog: pytest.LogCaptureFixture) -> None:
    """Submissions of an encrypted form are stored as they come, ids and times, and a warning says so."""
    survey.form_id = "secret"
    survey.central.create_form(survey.project, "secret", FIELDS, key="MIIBIjANBgkq")
    survey.add("oak")
    survey.load()
    assert "secret is encrypted" in caplog.text
    assert survey.agrees()


def test_load__closed(loaded: Survey, caplog: pytest.LogCaptureFixture) -> None:
    """A closed form is said to be closed, and read."""
    caplog.set_level(logging.INFO)
    close_form(loaded, {})
    loaded.follow()
    assert "trees is closed" in caplog.text
    assert loaded.agrees()
