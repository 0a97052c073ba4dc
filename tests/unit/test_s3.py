"""Objects in a bucket, against moto's S3 behind Amazon's own checks: what is stored, repeated, refused, said."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from dev.simulators.s3 import S3Simulator
from services.utils.env import S3Settings
from services.utils.errors import ConfigError, OutcomeUnknown, PublishError, RequestRefused
from services.utils.s3 import Bucket, build_key, connect, decode_part, encode_part
from services.utils.s3 import bucket as bucket_module
from services.utils.session import Backoff

QUICK = Backoff(attempts=6, factor_s=0.01, max_wait_s=0.02, jitter_s=0.0, deadline_s=5.0)


@pytest.fixture
def s3() -> Iterator[S3Simulator]:
    """An S3 with an empty bucket."""
    with S3Simulator() as simulator:
        yield simulator


def read_settings(s3: S3Simulator) -> S3Settings:
    """The settings that lead there."""
    return S3Settings(s3.access_key, s3.secret_key, s3.bucket, s3.region, s3.url, 4)


def open_bucket(s3: S3Simulator, backoff: Backoff = QUICK) -> Bucket:
    """A bucket that does not wait long."""
    bucket = connect(read_settings(s3))
    bucket._call._backoff = backoff
    return bucket


def put(bucket: Bucket, key: str, content: bytes, kind: str = "text/plain", **more: str) -> None:
    """Store bytes."""
    bucket.put(
        key,
        io.BytesIO(content),
        size=len(content),
        md5=hashlib.md5(content).hexdigest(),
        content_type=kind,
        **more,
    )


# -- keys ----------------------------------------------------------------------------------------


@given(st.text(min_size=1))
def test_encode_part__can_be_decoded(part: str) -> None:
    """Any text comes back, and what stands in the key is plain."""
    encoded = encode_part(part)
    assert decode_part(encoded) == part
    assert encoded and set(encoded) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.="
    )
    assert encoded.strip(".")


@pytest.mark.parametrize(
    ("part", "encoded"),
    [
        ("uuid:9a66c6ae-7e79", "uuid=3A9a66c6ae-7e79"),
        ("a b+c&d#e%20.png", "a=20b=2Bc=26d=23e=2520.png"),
        ("my_id/1 ж", "my_id=2F1=20=D0=B6"),
        ("a=b", "a=3Db"),
        ("..", "=2E=2E"),
        ("", ""),
    ],
)
def test_encode_part__examples(part: str, encoded: str) -> None:
    """A slash, a colon, a space, a letter of another script: two hex digits a byte behind an =."""
    assert encode_part(part) == encoded


@pytest.mark.parametrize("part", ["a=", "a=zz", "start==0123456789abcdef0123456789abcdef"])
def test_decode_part__refuses_what_it_did_not_make(part: str) -> None:
    """A part that was cut, or that somebody else wrote, is said to be so."""
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_part(part)


def test_build_key__joins() -> None:
    """The prefix stays as it is; without one the key begins with the first part."""
    assert build_key("photos/2026", "rental survey", "a.jpg") == "photos/2026/rental=20survey/a.jpg"
    assert build_key("", "form", "a.jpg") == "form/a.jpg"


def test_build_key__fits() -> None:
    """Too long a key is cut where it is longest; the same parts give the same key, others another."""
    names = ["ф" * 200 + ".jpg", "ф" * 200 + ".png"]
    keys = [build_key("media", "form", "uuid:1", "group", name) for name in names]
    assert all(len(key.encode()) <= 1024 for key in keys)
    assert keys[0] != keys[1] and keys[0] == build_key("media", "form", "uuid:1", "group", names[0])
    assert keys[0].startswith("media/form/uuid=3A1/group/=D1=84=D1=84")
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_part(keys[0].rpartition("/")[2])


# -- put, find, list, delete ---------------------------------------------------------------------


def test_put__as_it_was(s3: S3Simulator) -> None:
    """Bytes, type and notes are kept; find tells them, and the name a browser is to use comes with a link."""
    bucket = open_bucket(s3)
    content = bytes(range(256)) * 40
    key = "media/фото дома/a b+c.jpg"
    digest = hashlib.md5(content).hexdigest()
    stored = bucket.put(
        key,
        io.BytesIO(content),
        size=len(content),
        md5=digest,
        content_type="image/jpeg",
        metadata={"sha1": "ab"},
        file_name="фото дома.jpg",
    )
    kept = s3.object(key)
    assert (kept.content, kept.content_type) == (content, "image/jpeg")
    assert kept.metadata == {"sha1": "ab", "md5": digest}
    found = bucket.find(key)
    assert found is not None
    assert (found.size, found.etag, found.md5, found.content_type) == (10240, digest, digest, "image/jpeg")
    assert (stored.etag, stored.size, stored.md5) == (digest, 10240, digest)
    answer = requests.get(bucket.build_link(key, 60), timeout=10)
    assert answer.content == content
    assert answer.headers["Content-Disposition"].startswith("inline; filename*=UTF-8''%D1%84")


def test_find__none(s3: S3Simulator) -> None:
    """What is not there is None, not an error."""
    assert open_bucket(s3).find("none") is None


def test_list__pages(s3: S3Simulator) -> None:
    """All keys of a prefix come, over several pages, in their order."""
    bucket = open_bucket(s3)
    for number in range(5):
        put(bucket, f"a/{number} ж", b"x" * number)
    put(bucket, "b/1", b"")
    page = bucket._list_page
    bucket._list_page = lambda prefix, token, rows=2: page(prefix, token, rows)  # type: ignore[method-assign]
    assert [(one.key, one.size) for one in bucket.list("a/")] == [(f"a/{n} ж", n) for n in range(5)]
    assert s3.count("GET") == 3
    assert [one.key for one in bucket.list("none")] == []


def test_delete__one_by_one(s3: S3Simulator) -> None:
    """Objects go; one that is not there is no error."""
    bucket = open_bucket(s3)
    for key in ("a", "b", "c"):
        put(bucket, key, b"x")
    assert bucket.delete(["a", "c", "none"]) == 3
    assert list(s3.objects()) == ["b"]


# -- streams -------------------------------------------------------------------------------------


def test_put_stream__small(s3: S3Simulator) -> None:
    """What fits in one part goes in one request; nothing at all is an empty object."""
    bucket = open_bucket(s3)
    assert bucket.put_stream("a", iter([b"x", b"", b"yz"]), content_type="text/csv").size == 3
    assert bucket.put_stream("b", iter([]), content_type="text/csv").size == 0
    assert s3.objects() == {"a": b"xyz", "b": b""} and s3.count("POST") == 0


def test_put_stream__in_parts(s3: S3Simulator) -> None:
    """A large one goes in parts, of which one at a time is held; its digest is told."""
    held: list[int] = []

    def give() -> Iterator[bytes]:
        for number in range(27):
            held.append(s3.count("PUT"))
            yield bytes([number]) * 1_000_000

    stored = open_bucket(s3).put_stream("big", give(), content_type="text/csv", metadata={"a": "b"})
    whole = b"".join(bytes([number]) * 1_000_000 for number in range(27))
    assert s3.objects() == {"big": whole}
    assert (stored.size, stored.md5) == (len(whole), hashlib.md5(whole).hexdigest())
    assert stored.etag == s3.object("big").etag and stored.etag.endswith("-4")
    # Parts are stored before the pieces behind them are asked for: two of them are held at most.
    assert held[-1] == 3 and held[17:19] == [2, 2] and s3.uploads() == 0


def test_put_stream__source_breaks(s3: S3Simulator) -> None:
    """Where the source fails halfway there is no object, and no parts that cost money."""

    def give() -> Iterator[bytes]:
        for _ in range(5):
            yield b"x" * 5_000_000
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        open_bucket(s3).put_stream("big", give(), content_type="text/csv")
    assert s3.objects() == {} and s3.uploads() == 0


@pytest.mark.parametrize("kind", ["503", "after-503", "reset", "after-reset", "html", "after-html", "cut"])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_put_stream__every_step_may_fail(
    s3: S3Simulator, monkeypatch: pytest.MonkeyPatch, kind: str, step: int
) -> None:
    """Opening, each part, completing: whatever is lost on the way, the object is there once and whole."""
    monkeypatch.setattr(bucket_module, "PART_BYTES", 5 * 2**20)
    s3.faults.add(kind, after=step)
    pieces = [b"1" * 5 * 2**20, b"2" * 1000]
    stored = open_bucket(s3).put_stream("big", iter(pieces), content_type="text/csv")
    assert s3.objects() == {"big": b"".join(pieces)}
    assert s3.writes == ["big"] and stored.size == 5 * 2**20 + 1000


# -- trouble -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["503", "after-500", "reset", "after-reset", "html", "after-html", "cut", "429"]
)
def test_trouble__is_outlasted(s3: S3Simulator, kind: str) -> None:
    """Every operation is repeated until it has a real answer; a page under a status of 200 is none."""
    bucket = open_bucket(s3)
    put(bucket, "there", b"x")

    def make_trouble() -> None:
        s3.faults.clear()
        s3.faults.add(kind, times=2)

    make_trouble()
    put(bucket, "a", b"abc")
    make_trouble()
    found = bucket.find("a")
    assert found is not None and found.size == 3
    make_trouble()
    assert [one.key for one in bucket.list()] == ["a", "there"]
    make_trouble()
    bucket.delete(["there"])
    assert s3.objects() == {"a": b"abc"}


@pytest.mark.parametrize("kind", ["after-503", "after-reset", "after-html", "hang"])
def test_put__answer_lost(s3: S3Simulator, kind: str) -> None:
    """A try that was carried out is seen and not sent again; other bytes at the key are not taken for it."""
    bucket = open_bucket(s3)
    put(bucket, "a", b"old")
    s3.faults.add(kind, method="PUT", seconds=0.01)
    put(bucket, "a", b"new")
    assert s3.objects() == {"a": b"new"} and s3.writes == ["a", "a"]
    s3.faults.add("reset", method="PUT")
    put(bucket, "a", b"newer")
    assert s3.objects() == {"a": b"newer"} and s3.writes == ["a", "a", "a"]


def test_trouble__that_does_not_end(s3: S3Simulator) -> None:
    """It is given up, with the object's key and the number of tries."""
    s3.faults.add("503", times=None)
    with pytest.raises(
        PublishError, match=r"put_object survey-media/a: 503 .*; gave up after \d tr"
    ) as caught:
        put(open_bucket(s3), "a", b"x")
    assert isinstance(caught.value, OutcomeUnknown)


def test_trouble__throttling_is_no_failure(s3: S3Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """Being told to slow down is waited for longer than the number of tries."""
    s3.faults.add("429", times=9)
    with caplog.at_level(logging.INFO):
        put(open_bucket(s3), "a", b"x")
    assert s3.objects() == {"a": b"x"} and "try 10" in caplog.text


def test_trouble__nothing_there(s3: S3Simulator) -> None:
    """No server at the address is said as such."""
    bucket = open_bucket(s3)
    s3.stop()
    with pytest.raises(PublishError, match="is it running at this address"):
        bucket.check()
    s3.start = lambda: None  # type: ignore[method-assign]


def test_put__bytes_that_change_on_the_way(s3: S3Simulator) -> None:
    """A body that is not what its MD5 says is refused by S3, tried again, given up, and not stored."""
    with pytest.raises(PublishError, match="BadDigest"):
        open_bucket(s3).put(
            "a", io.BytesIO(b"x"), size=1, md5=hashlib.md5(b"y").hexdigest(), content_type="text/plain"
        )
    assert s3.objects() == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"access_key": "AKIAWRONG"}, "the key is not known|not known"),
        ({"secret_key": "wrong-secret-key"}, "the signature is refused"),
        ({"bucket": "another-bucket"}, "there is no such bucket"),
    ],
)
def test_check__says_what_is_wrong(s3: S3Simulator, change: dict[str, str], said: str) -> None:
    """A wrong key, secret or bucket is refused at once, in words that name the variable, without the secret."""
    bucket = connect(replace(read_settings(s3), **change))
    with pytest.raises(PublishError, match=said) as caught:
        bucket.check()
    assert isinstance(caught.value, RequestRefused) and "wrong-secret-key" not in str(caught.value)
    assert s3.count() == 1


def test_check__right(s3: S3Simulator) -> None:
    """A bucket that is there says nothing."""
    open_bucket(s3).check()


def test_connect__no_sign_in(s3: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key anywhere it is the configuration that is wrong."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    bucket = connect(replace(read_settings(s3), access_key="", secret_key=""))
    with pytest.raises(ConfigError, match="There is no sign-in for S3"):
        bucket.check()


def test_connect__boto3s_own_names(s3: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our variables are not set, boto3 finds what it always does."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    connect(S3Settings("", "", s3.bucket, "", "")).check()


def test_connect__bucket_that_is_no_name(s3: S3Simulator) -> None:
    """A name with a space is the configuration's fault."""
    with pytest.raises(ConfigError, match="AWS_BUCKET_NAME"):
        connect(replace(read_settings(s3), bucket="my bucket")).check()


# -- links ---------------------------------------------------------------------------------------


def test_build_link__until_its_time_is_over(s3: S3Simulator) -> None:
    """Anybody can read the object with the link, not longer than said, and nothing but that object."""
    bucket = open_bucket(s3)
    put(bucket, "media/uuid=3A1/a.jpg", b"picture")
    put(bucket, "other", b"secret")
    before = s3.count()
    link = bucket.build_link("media/uuid=3A1/a.jpg", 600)
    assert s3.count() == before
    assert requests.get(link, timeout=10).content == b"picture"
    assert requests.get(link.replace("media/uuid%3D3A1/a.jpg", "other"), timeout=10).status_code == 403
    s3.clock = 601
    assert "Request has expired" in requests.get(link, timeout=10).text


def test_build_link__too_long(s3: S3Simulator) -> None:
    """S3 makes no link for longer than a week."""
    with pytest.raises(ConfigError, match="7 days"):
        open_bucket(s3).build_link("a", 8 * 24 * 3600)


def test_join_pieces__part_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are as large as said, the last one smaller, and grow so that 10,000 are enough for anything."""
    monkeypatch.setattr(bucket_module, "PART_BYTES", 10)
    parts = list(bucket_module._join_pieces([b"x" * 7] * 2000))
    assert [len(part) for part in parts[:1000]] == [10] * 1000
    assert [len(part) for part in parts[1000:1200]] == [20] * 200
    assert b"".join(parts) == b"x" * 14000
