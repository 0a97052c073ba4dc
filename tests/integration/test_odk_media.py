"""A form's media from a simulated ODK Central to a simulated S3, noted in the real store."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from dev import stack as stacks
from dev.simulators.base import Answer, Request
from dev.simulators.odk.pictures import draw_png
from dev.simulators.s3 import Stored
from services.utils import env, odk, s3, session
from services.utils.copying import copier as copier_module
from services.utils.errors import PublishError, SourceError
from services.utils.records import Counts
from tests.media import FIELDS, FORM, Content, Media, fill, jpeg, open_media


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """No waiting between tries."""
    session.set_testing(0.01, 5.0)
    yield
    session.set_testing(1.0)


@pytest.fixture
def media(clean_store: stacks.Stack) -> Iterator[Media]:
    """An ordinary Central."""
    with open_media(clean_store) as world:
        yield world


@pytest.fixture(params=[False, True], ids=["own files", "files in S3"])
def either(request: pytest.FixtureRequest, clean_store: stacks.Stack) -> Iterator[Media]:
    """A Central that keeps its files itself, and one that sends on to its own S3."""
    with open_media(clean_store, s3=request.param) as world:
        yield world


# -- what is copied ------------------------------------------------------------------------------


def test_copy__every_file_of_every_field(either: Media) -> None:
    """Fields in groups, in repeats of repeats, the audit: each under its key, as what it truly is."""
    media = either
    first = media.add(
        "A",
        {
            "a.jpg": jpeg("a"),
            "фото дома 1.jpg": (draw_png(b"front seed"), "application/octet-stream"),
            "p1.jpg": jpeg("p1"),
            "p2.jpg": jpeg("p2"),
            "a b+c&d#e%20.png": draw_png(b"scan  scan"),
            "audit.csv": (b"event,node\n", "text/csv"),
        },
        photo="a.jpg",
        building={"façade": "фото дома 1.jpg"},
        person=[{"portrait": "p1.jpg"}, {"portrait": "p2.jpg", "paper": [{"scan": "a b+c&d#e%20.png"}]}],
        meta={"audit": "audit.csv", "instanceID": "my_id/1 ж"},
    )
    assert first == "my_id/1 ж"
    media.load()
    counts = media.copy()
    assert counts == Counts(read=6, inserted=6) and media.status == "ok"
    base = "media/rental=20survey/my_id=2F1=20=D0=B6/"
    rows = media.rows()
    assert {
        name: (row["field_path"], row["key"].removeprefix(base), row["content_type"])
        for (_, name), row in rows.items()
    } == {
        "a.jpg": ("photo", "photo/a.jpg", "image/jpeg"),
        "фото дома 1.jpg": (
            "building/façade",
            "building/fa=C3=A7ade/=D1=84=D0=BE=D1=82=D0=BE=20=D0=B4=D0=BE=D0=BC=D0=B0=201.jpg",
            "image/png",
        ),
        "p1.jpg": ("person[1]/portrait", "person/portrait/p1.jpg", "image/jpeg"),
        "p2.jpg": ("person[2]/portrait", "person/portrait/p2.jpg", "image/jpeg"),
        "a b+c&d#e%20.png": (
            "person[2]/paper[1]/scan",
            "person/paper/scan/a=20b=2Bc=26d=23e=2520.png",
            "image/png",
        ),
        "audit.csv": ("meta/audit", "meta/audit/audit.csv", "text/csv; charset=utf-8"),
    }
    for row in rows.values():
        assert media.s3.object(row["key"]).content_type == row["content_type"]
        assert s3.decode_part(row["key"].rpartition("/")[2]) == row["name"]
        assert row["state"] == "stored" and row["stored_at"]
    media.check(sent=6)


def test_copy__again_sends_nothing(either: Media) -> None:
    """A second run, full or not, downloads nothing and sends nothing."""
    media = either
    fill(media, 5)
    media.load()
    assert media.copy() == Counts(read=10, inserted=10)
    before = media.rows()
    for follow in (False, True):
        counts = media.copy(follow=follow)
        assert counts == Counts(read=10, unchanged=10)
        assert media.downloads() == [] and media.s3.writes == []
    after = media.rows()
    assert {place: row["updated_at"] for place, row in after.items()} == {
        place: row["updated_at"] for place, row in before.items()
    }
    assert all(after[place]["checked_at"] > before[place]["checked_at"] for place in before)
    media.check(sent=0)


def test_copy__nothing_to_do_asks_nothing(media: Media) -> None:
    """An incremental run of a form without media sends nothing at all, to Central or to S3."""
    media.add("A")
    media.load()
    assert media.copy() == Counts()
    assert media.central.count(path="/attachments") == 0
    media.copy(follow=True)
    assert media.central.requests == [] and media.s3.requests == []


def test_copy__missing_is_awaited(either: Media) -> None:
    """A file that Central expects and lacks is no failure: it is noted, counted, and comes when it is there."""
    media = either
    one = media.add("A", {"a.jpg": jpeg("a")}, photo="a.jpg", building={"façade": "b.jpg"})
    media.load()
    assert media.copy() == Counts(read=2, inserted=1)
    assert (media.status, media.more) == ("ok", {"missing": 1})
    assert media.states() == {"a.jpg": "stored", "b.jpg": "missing"}
    assert media.rows()[one, "b.jpg"]["field_path"] == "building/façade"
    media.put(one, "b.jpg", jpeg("b"))
    # Nothing is loaded in between: nothing at Central tells of it either.
    assert media.copy(follow=True).inserted == 1
    assert media.more == {"missing": 0}
    media.check(sent=1)


def test_copy__replaced_is_sent_again(either: Media) -> None:
    """Another file under the same name has another ETag: the object is replaced, under the same key."""
    media = either
    fill(media, 3)
    media.load()
    media.copy()
    (instance_id, name), row = next(iter(media.rows().items()))
    media.put(instance_id, name, jpeg("another"))
    assert media.copy(follow=True) == Counts(read=6, updated=1, unchanged=5)
    after = media.rows()[instance_id, name]
    assert after["key"] == row["key"] and after["stored_at"] > row["stored_at"]
    assert len(media.downloads()) == 1
    media.check(sent=1)


def test_copy__replaced_in_turn(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many files each incremental run compares some, in turn, until each was."""
    monkeypatch.setattr(copier_module, "COMPARE_AGAIN", 4)
    fill(media, 6)
    media.load()
    media.copy()
    media.copy(follow=True)
    for place in list(media.rows()):
        media.put(*place, jpeg(f"another {place}"))
    updated = [media.copy(follow=True).updated for _ in range(4)]
    assert updated == [4, 4, 4, 0]


def test_copy__taken_away(media: Media) -> None:
    """A file that was removed at Central is awaited again; its object stays."""
    fill(media, 1)
    media.load()
    media.copy()
    (instance_id, name), row = next(iter(media.rows().items()))
    media.do("remove_attachment", instance_id, name)
    assert media.copy(follow=True) == Counts(read=2, unchanged=1)
    after = media.rows()[instance_id, name]
    assert (after["state"], after["key"], after["digest"]) == ("missing", row["key"], row["digest"])
    assert row["key"] in media.s3.objects()
    media.put(instance_id, name, jpeg(name))
    assert media.copy(follow=True) == Counts(read=2, unchanged=2)
    assert media.rows()[instance_id, name]["state"] == "stored"
    media.check(sent=0)


def test_copy__edit_drops_and_brings(either: Media) -> None:
    """After an edit a dropped file is noted as deleted, a kept one stays, a new one comes."""
    media = either
    one = media.add(
        "A", {"a.jpg": jpeg("a"), "b.jpg": jpeg("b")}, photo="a.jpg", building={"façade": "b.jpg"}
    )
    media.load()
    media.copy()
    media.edit(one, {"c.jpg": jpeg("c")}, name="A", photo="c.jpg", building={"façade": "b.jpg"})
    counts = media.follow()
    assert counts == Counts(read=2, inserted=1, unchanged=1, deleted=1)
    assert media.states() == {"a.jpg": "deleted", "b.jpg": "stored", "c.jpg": "stored"}
    assert media.rows()[one, "a.jpg"]["key"] in media.s3.objects()
    assert media.follow().deleted == 0
    # And back again: the object is there still.
    media.edit(one, {"a.jpg": jpeg("a")}, name="A", photo="a.jpg", building={"façade": "b.jpg"})
    counts = media.follow()
    assert (counts.inserted, counts.updated, counts.deleted) == (0, 0, 1)
    assert media.states()["a.jpg"] == "stored" and media.s3.writes == []


def test_copy__edit_between_load_and_copy(media: Media) -> None:
    """A file that the stored document does not name yet waits for the next load, and gets its right key then."""
    one = media.add("A", {"a.jpg": jpeg("a")}, photo="a.jpg")
    media.load()
    media.edit(one, {"b.jpg": jpeg("b")}, name="A", photo="a.jpg", building={"façade": "b.jpg"})
    assert media.copy() == Counts(read=1, inserted=1)
    assert media.follow().inserted == 1
    assert media.rows()[one, "b.jpg"]["key"].endswith("/building/fa=C3=A7ade/b.jpg")
    media.check(sent=1)


def test_copy__row_of_a_repeat_taken_out(media: Media) -> None:
    """Files of rows that move up keep their keys; their path says where they are now."""
    one = media.add(
        "A",
        {name: jpeg(name) for name in ("1.jpg", "2.jpg")},
        person=[{"portrait": "1.jpg"}, {"portrait": "2.jpg"}],
    )
    media.load()
    media.copy()
    key = media.rows()[one, "2.jpg"]["key"]
    media.edit(one, name="A", person=[{"portrait": "2.jpg"}])
    assert media.follow() == Counts(read=1, unchanged=1, deleted=1)
    row = media.rows()[one, "2.jpg"]
    assert (row["key"], row["field_path"]) == (key, "person[1]/portrait") and media.s3.writes == []


def test_copy__file_moves_to_another_field(media: Media) -> None:
    """A file that an edit moves to another field keeps its key, and is not sent again."""
    one = media.add("A", {"a.jpg": jpeg("a")}, photo="a.jpg")
    media.load()
    media.copy()
    key = media.rows()[one, "a.jpg"]["key"]
    media.edit(one, name="A", building={"façade": "a.jpg"})
    assert media.follow() == Counts(read=1, unchanged=1)
    row = media.rows()[one, "a.jpg"]
    assert (row["key"], row["field_path"]) == (key, "building/façade") and key.endswith("/photo/a.jpg")
    media.check(sent=0)


def test_copy__deleted_at_central_does_not_stop_the_turn(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of a submission that was deleted, and is not in the store as such yet, do not take the others' turn."""
    monkeypatch.setattr(copier_module, "COMPARE_AGAIN", 2)
    fill(media, 2)
    media.load()
    media.copy()
    media.copy(follow=True)
    first = min(media.rows().items(), key=lambda item: item[1]["checked_at"])[0][0]
    media.do("delete", first)
    other = next(place for place in media.rows() if place[0] != first)
    media.put(*other, jpeg("another"))
    assert sum(media.copy(follow=True).updated for _ in range(3)) == 1


def test_copy__field_removed_in_a_new_version(media: Media) -> None:
    """A file whose field is gone keeps its key; one that came since stands under a dash."""
    fields = [spec for spec in FIELDS if spec[0] != "photo"]
    media.add("A", {"a.jpg": jpeg("a")}, photo="a.jpg")
    media.load()
    media.copy()
    late = media.add("B", {"b.jpg": jpeg("b")}, photo="b.jpg")
    media.central.publish_version(media.project, FORM, fields)
    media.load()
    counts = media.copy()
    assert counts == Counts(read=2, inserted=1, unchanged=1)
    assert media.rows()[late, "b.jpg"]["key"].endswith("/-/b.jpg")
    assert media.rows()[late, "b.jpg"]["field_path"] == ""
    media.check(sent=1)


def test_copy__deleted_and_restored(media: Media) -> None:
    """The files of a deleted submission are kept and noted; restored, they count again without being sent."""
    fill(media, 2)
    one = next(iter(media.files))[0]
    media.load()
    media.copy()
    media.do("delete", one)
    # Before the store knows of it.
    assert media.copy(follow=True) == Counts(read=2, unchanged=2)
    assert media.follow() == Counts(read=2, unchanged=2, deleted=2)
    assert sorted(media.states().values()) == ["deleted", "deleted", "stored", "stored"]
    assert len(media.s3.objects()) == 4
    media.do("restore", one)
    assert media.follow() == Counts(read=4, unchanged=4)
    media.check(sent=0)


def test_copy__purged(media: Media) -> None:
    """Of a submission whose tombstone is gone too nothing is awaited any more."""
    one = media.add("A", photo="a.jpg")
    media.load()
    media.copy()
    assert media.states() == {"a.jpg": "missing"}
    media.do("purge", one)
    media.load()
    media.stack.execute("delete from api.odk where deleted_at is not null")
    media.copy(follow=True)
    assert media.states() == {"a.jpg": "deleted"} and media.more == {"missing": 0}


def test_copy__object_lost(media: Media) -> None:
    """A full run sends what somebody took out of the bucket, or overwrote."""
    fill(media, 3)
    media.load()
    media.copy()
    lost, cut = [row["key"] for row in media.rows().values()][:2]
    media.s3.remove(lost)
    media.s3.restore({**media.s3.snapshot(), cut: Stored(b"cut", "text/plain", {}, "")})
    assert media.copy(follow=True).unchanged == 6
    assert media.copy() == Counts(read=6, updated=2, unchanged=4)
    media.check(sent=2)


def test_copy__another_prefix(media: Media) -> None:
    """With another prefix everything is copied there; what is at the old one stays."""
    fill(media, 2)
    media.load()
    media.copy()
    before = media.s3.objects()
    assert media.copy(prefix="archive/2026") == Counts(read=4, updated=4)
    assert all(row["key"].startswith("archive/2026/rental=20survey/") for row in media.rows().values())
    assert before.items() <= media.s3.objects().items()
    media.check(sent=4)


def test_copy__row_lost(either: Media) -> None:
    """A run that died before it could note its files: the next one finds them in the bucket, and sends nothing."""
    media = either
    fill(media, 3)
    media.load()
    media.copy()
    before = media.rows()
    media.stack.execute("delete from api.odk_attachments")
    assert media.copy(follow=True) == Counts()
    assert media.copy() == Counts(read=6, unchanged=6)
    assert media.downloads() == []
    columns = before[next(iter(before))].keys() - {"updated_at", "checked_at", "stored_at"}
    assert {p: {c: r[c] for c in columns} for p, r in media.rows().items()} == {
        p: {c: r[c] for c in columns} for p, r in before.items()
    }
    media.check(sent=0)


def test_copy__files_move_to_s3_later(media: Media) -> None:
    """What came directly is known by its SHA-1 once Central has moved it to its S3."""
    fill(media, 3)
    media.load()
    media.copy()
    media.central.switches.s3 = True
    assert media.copy() == Counts(read=6, unchanged=6)
    assert media.downloads() == []


def test_copy__order(media: Media) -> None:
    """The newest submission's files come first, or as they stand in the store."""
    fill(media, 6, files=1)
    media.load()
    media.copy(workers=1)
    assert [key.rpartition("/")[2] for key in media.s3.writes] == [f"{n}-0.jpg" for n in (5, 4, 3, 2, 1, 0)]
    media.stack.execute("delete from api.odk_attachments")
    media.copy(workers=1, newest_first=False, prefix="again")
    ids = dict(media.files.keys())
    assert [key.rpartition("/")[2] for key in media.s3.writes] == [ids[one] for one in sorted(ids)]


def test_copy__dry_run(either: Media) -> None:
    """It says what would be done, and does none of it."""
    media = either
    fill(media, 2)
    media.load()
    assert media.copy(dry_run=True) == Counts(read=4, inserted=4)
    media.copy()
    (instance_id, name), _ = next(iter(media.rows().items()))
    media.put(instance_id, name, jpeg("another"))
    media.add("B", {"b.jpg": jpeg("b")}, photo="b.jpg", building={"façade": "c.jpg"})
    media.load()
    before = media.rows(), media.s3.objects()
    assert media.copy(dry_run=True) == Counts(read=6, inserted=1, updated=1, unchanged=3)
    assert media.more == {"missing": 1} and media.downloads() == [] and media.s3.writes == []
    assert (media.rows(), media.s3.objects()) == before


def test_copy__encrypted_form(clean_store: stacks.Stack) -> None:
    """The files of an encrypted form come as they are, under a dash: no field names them."""
    with open_media(clean_store, key="public-key") as media:
        files = {"submission.xml.enc": b"\x01\x02", "a.jpg.enc": b"\x03\x04"}
        one = media.central.add_submission(
            media.project, FORM, {}, attachments=files, expected=[*files, "b.jpg.enc"]
        )
        media.files = {(one, name): content for name, content in files.items()}
        media.load()
        assert odk.open_form(media.store.require_metadata()).encrypted
        assert media.copy() == Counts(read=3, inserted=2) and media.more == {"missing": 1}
        assert {row["key"].split("/")[3] for row in media.rows().values() if row["key"]} == {"-"}
        assert {row["content_type"] for row in media.rows().values()} == {"application/octet-stream", None}
        media.check(sent=2)


# -- thumbnails ----------------------------------------------------------------------------------


def picture(width: int, height: int, kind: str = "JPEG", mode: str = "RGB", **more: Any) -> bytes:
    """A picture of a size."""
    out = io.BytesIO()
    Image.new(mode, (width, height), more.pop("color", "red")).save(out, kind, **more)
    return out.getvalue()


def test_copy__thumbnails(either: Media) -> None:
    """Pictures get a small one beside them, once; what is no picture gets none and is not tried again."""
    media = either
    turned = Image.Exif()
    turned[0x0112] = 6
    media.add(
        "A",
        {
            "a.jpg": picture(800, 400),
            "b.jpg": picture(400, 200, exif=turned),
            "c.png": picture(60, 90, "PNG", "RGBA", color=(0, 0, 0, 0)),
            "audit.csv": (b"event\n", "text/csv"),
            "broken.jpg": picture(800, 400)[:300],
        },
        photo="a.jpg",
        building={"façade": "b.jpg"},
        person=[{"portrait": "c.png"}, {"portrait": "broken.jpg"}],
        meta={"audit": "audit.csv"},
    )
    media.load()
    assert media.copy(thumbnail_px=200) == Counts(read=5, inserted=5)
    small = {}
    for (_, name), row in media.rows().items():
        if row["thumbnail_key"]:
            assert row["thumbnail_key"] == row["key"] + ".thumb.jpg"
            kept = media.s3.object(row["thumbnail_key"])
            assert kept.content_type == "image/jpeg"
            opened = Image.open(io.BytesIO(kept.content))
            small[name] = opened.size, opened.getpixel((0, 0))
    assert {name: size for name, (size, _) in small.items()} == {
        "a.jpg": (200, 100),
        "b.jpg": (100, 200),
        "c.png": (60, 90),
    }
    assert small["c.png"][1] == (255, 255, 255)
    for _ in range(2):
        assert media.copy(thumbnail_px=200) == Counts(read=5, unchanged=5)
        assert media.downloads() == [] and media.s3.writes == []
    # Rows that were lost: the objects tell what was made and what could not be.
    media.stack.execute("delete from api.odk_attachments")
    assert media.copy(thumbnail_px=200) == Counts(read=5, unchanged=5)
    assert media.downloads() == [] and media.s3.writes == []
    # Another size: pictures are read again, and only the small ones written.
    media.copy(thumbnail_px=100)
    assert len(media.downloads()) == 4
    assert sorted(key.rpartition("/")[2] for key in media.s3.writes) == [
        f"{name}.thumb.jpg" for name in ("a.jpg", "b.jpg", "c.png")
    ]


def test_copy__name_of_a_thumbnail(media: Media) -> None:
    """A file that is called as another one's thumbnail has a key of its own."""
    files: dict[str, Content] = {"a.jpg": picture(50, 50), "a.jpg.thumb.jpg": jpeg("own")}
    media.add("A", files, photo="a.jpg", person=[{"portrait": "a.jpg.thumb.jpg"}], building={})
    media.edit(
        next(iter(media.files))[0], None, name="A", photo="a.jpg", person=[{"portrait": "a.jpg.thumb.jpg"}]
    )
    media.load()
    media.copy(thumbnail_px=20)
    keys = {row["key"] for row in media.rows().values()} | {
        row["thumbnail_key"] for row in media.rows().values()
    }
    assert len(keys) == 4 and keys == set(media.s3.objects())


# -- trouble -------------------------------------------------------------------------------------

TROUBLE = ["503", "reset", "after-reset", "cut", "html", "after-html", "after-500", "429"]


@pytest.mark.parametrize("s3_backed", [False, True], ids=["own files", "files in S3"])
def test_copy__a_third_fails(clean_store: stacks.Stack, s3_backed: bool) -> None:
    """200 files, a third of all requests failing on both sides: all arrive once, digests equal, none twice."""
    with open_media(clean_store, s3=s3_backed) as media:
        fill(media, 100)
        media.load()
        draw = random.Random(4)
        for side in (media.central, media.s3, media.central.files_host):
            for kind in TROUBLE:
                side.faults.add(kind, share=1 / 3 / (len(TROUBLE) - draw.random()), times=None)
        assert media.copy(workers=8) == Counts(read=200, inserted=200)
        failed = sum(1 for seen in media.central.requests + media.s3.requests if seen.fault)
        share = failed / len(media.central.requests + media.s3.requests)
        assert 0.25 < share < 0.45 and media.status == "ok"
        media.check(sent=200)
        for side in (media.central, media.s3, media.central.files_host):
            side.faults.clear()
        assert media.copy() == Counts(read=200, unchanged=200)
        assert media.downloads() == []
        media.check(sent=0)


def test_copy__one_file_cannot_be_had(media: Media) -> None:
    """The others come; it is refused with its reason, tried every time, and closed when it comes."""
    fill(media, 4)
    media.load()
    (instance_id, name), content = next(iter(media.files.items()))
    media.central.faults.add("500", path=f"/attachments/{name}$", times=None)
    assert media.copy() == Counts(read=8, inserted=7, rejected=1)
    assert (media.status, media.states()[name]) == ("partial", "failed")
    rejects = media.stack.execute("select record_id, reason from api.rejects where closed_at is null")
    assert len(rejects) == 1 and rejects[0][0] == f"{instance_id}/{name}" and "500" in rejects[0][1]
    assert "500" in media.rows()[instance_id, name]["reason"]
    media.central.faults.clear()
    # Not moved by a partial run: everything comes up again, and only what lacks is fetched.
    assert media.copy(follow=True).inserted == 1
    assert media.status == "ok"
    assert media.stack.execute("select count(*) from api.rejects where closed_at is null") == [(0,)]
    media.check(sent=1)


def test_copy__recovers_within_the_run(media: Media) -> None:
    """A file that could not be had at first is tried once more at the end."""
    fill(media, 3)
    media.load()
    media.central.faults.add("500", path="/attachments/1-0.jpg$", times=15)
    assert media.copy() == Counts(read=6, inserted=6)
    media.check(sent=6)


def test_copy__central_goes_away(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many files in a row it is not the files: the run fails, what came is kept and noted."""
    monkeypatch.setattr(copier_module, "_FLUSH_S", 1000.0)
    fill(media, 40, files=1)
    media.load()
    media.central.faults.add("500", path="/attachments/.", after=10, times=None)
    with pytest.raises(SourceError, match="24 files one after the other could not be copied.* 500"):
        media.copy()
    stored = [name for name, state in media.states().items() if state == "stored"]
    assert len(stored) == 10 == len(media.s3.objects())
    media.central.faults.clear()
    assert media.copy() == Counts(read=40, inserted=30, unchanged=10)
    media.check(sent=30)


def test_copy__bytes_that_change_on_the_way(either: Media) -> None:
    """A file of the right length that is not what its ETag or its name in Central's S3 says is fetched again."""
    media = either
    fill(media, 2)
    media.load()
    damaged: set[str] = set()
    for host in (media.central, media.central.files_host):

        def answer(request: Request, real: Callable[[Request], Answer] = host.answer) -> Answer:
            said = real(request)
            if said.body[:3] == b"\xff\xd8\xff" and request.path not in damaged:
                damaged.add(request.path)
                said.body = said.body[:-1] + b"\0"
            return said

        host.answer = answer  # type: ignore[method-assign]
    assert media.copy() == Counts(read=4, inserted=4)
    assert len(damaged) == 4 and len(media.downloads()) == 8
    media.check(sent=4)


def test_copy__wrong_bucket(media: Media) -> None:
    """What is wrong with all files is said before the first one is fetched."""
    fill(media, 2)
    media.load()
    media.s3.bucket = "nowhere-at-all"
    with pytest.raises(PublishError, match="there is no such bucket"):
        media.copy()
    assert media.downloads() == [] and media.rows() == {}


def test_copy__link_whose_time_is_over(clean_store: stacks.Stack) -> None:
    """A link of Central's S3 that is refused is asked for anew."""
    with open_media(clean_store, s3=True) as media:
        fill(media, 2)
        media.load()
        media.central.files_host.faults.add("403", times=3)
        assert media.copy() == Counts(read=4, inserted=4)
        media.check(sent=4)


def test_copy__sign_in_is_not_sent_along(clean_store: stacks.Stack) -> None:
    """The second host sees no sign-in of Central's; Central's sign-in is renewed where it runs out."""
    with open_media(clean_store, s3=True) as media:
        fill(media, 3)
        media.load()
        seen: list[dict[str, str]] = []
        media.central.files_host.on_request = lambda request: seen.append(request.headers)
        media.copy()
        media.central.expire_sessions()
        assert seen and not [
            headers for headers in seen if {"authorization", "cookie"} & {h.lower() for h in headers}
        ]
        media.check(sent=6)


def test_copy__large_file_in_flat_memory(media: Media) -> None:
    """A file larger than what stays in memory goes through a temporary file, unharmed."""
    content = random.Random(1).randbytes(3_000_001)
    media.add("A", {"film.mp4": content}, photo="film.mp4")
    media.load()
    assert media.copy() == Counts(read=1, inserted=1)
    media.check(sent=1)


def test_link__of_a_file(media: Media) -> None:
    """The store holds the key; a link made of it gives the file."""
    fill(media, 1, files=1)
    media.load()
    media.copy()
    (row,) = media.rows().values()
    assert "http" not in str(row)
    bucket = s3.connect(
        env.S3Settings(
            media.s3.access_key, media.s3.secret_key, media.s3.bucket, media.s3.region, media.s3.url
        )
    )
    assert requests.get(bucket.build_link(row["key"], 60), timeout=10).content == next(
        iter(media.files.values())
    )
