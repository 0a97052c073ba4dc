"""What a run remembers of every record, on disk."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.utils.spool import Spool

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.fixture
def spool() -> Iterator[Spool]:
    """An empty spool."""
    made = Spool()
    yield made
    made.close()


def test_want__note_of_what_is_there(spool: Spool) -> None:
    """What the target holds gives its note when it is wanted; what it does not hold gives None."""
    assert spool.there("a", "7") is True
    assert spool.there("b") is True
    assert spool.want("a") == "7"
    assert spool.want("b") == ""
    assert spool.want("c") is None
    assert spool.count_there() == 2
    assert list(spool.unwanted()) == []


def test_there__known(spool: Spool) -> None:
    """A key that the target holds twice is told, and keeps its first note."""
    assert spool.there("a", "first") is True
    assert spool.there("a", "second") is False
    assert spool.want("a") == "first"
    assert spool.count_there() == 1


def test_there__after_want(spool: Spool) -> None:
    """The two may come in either order."""
    assert spool.want("a") is None
    assert spool.there("a", "7") is True
    assert spool.find("a") == (True, True)
    assert spool.count_unwanted() == 0
    with pytest.raises(KeyError):
        spool.want("a")


def test_want__twice(spool: Spool) -> None:
    """A key that is wanted for the second time is an error, whether the target holds it or not."""
    spool.there("a")
    for key in ("a", "b"):
        spool.want(key)
        with pytest.raises(KeyError, match=key):
            spool.want(key)


def test_see__however_often(spool: Spool) -> None:
    """Seeing marks as wanted any number of times."""
    spool.there("a")
    for _ in range(3):
        spool.see("a")
        spool.see("b")
    assert spool.find("a") == (True, True)
    assert spool.find("b") == (False, True)
    assert spool.find("c") == (False, False)
    assert spool.count_unwanted() == 0


def test_unwanted__in_order(spool: Spool) -> None:
    """What nobody wants comes in the order of bytes, with its notes; keys differ by case and accents."""
    keys = ["a", "B", "b", "ä", "a ", "", "🛴", "A"]
    for key in keys:
        assert spool.there(key, f"note {key}")
    spool.want("b")
    left = sorted((key for key in keys if key != "b"), key=str.encode)
    assert list(spool.unwanted()) == [(key, f"note {key}") for key in left]
    assert spool.count_unwanted() == len(left)


def test_queue__order_and_size(spool: Spool) -> None:
    """Messages come as they were put, queues apart from one another, and stay after they were taken."""
    for n in range(5):
        spool.put("adds", f"k{n % 2}", b"x" * n)
        spool.put("edits", "e", bytes([n]))
    assert (spool.count("adds"), spool.size("adds"), spool.count("none"), spool.size("none")) == (5, 10, 0, 0)
    for _ in range(2):
        assert [body for _, body in spool.take("adds")] == [b"x" * n for n in range(5)]
    assert [body for _, body in spool.take("edits")] == [bytes([n]) for n in range(5)]


def test_count_new__messages_whose_key_is_not_there(spool: Spool) -> None:
    """Counted are a queue's messages, by whether the target holds their key; being wanted does not matter."""
    for key in ("a", "b", "c", "b"):
        spool.put("rows", key, b"")
    spool.put("other", "z", b"")
    spool.there("a")
    spool.want("a")
    spool.want("b")
    assert spool.count_new("rows") == 3
    spool.there("b", "note")
    assert spool.count_new("rows") == 1
    assert spool.count_new("none") == 0
    assert list(spool.keys("rows")) == ["a", "b", "c", "b"]


def test_share__body_is_not_copied(spool: Spool) -> None:
    """A message may be in several queues: its key and body come from each, in that queue's order, stored once."""
    for n in range(5):
        spool.put("rows", f"k{n}", b"x" * n)
    spool.put("other", "o", b"other")
    numbers = {key: number for number, key, _ in spool.take_numbered("rows")}
    spool.share("adds", numbers["k3"])
    spool.put("adds", "own", b"own")
    spool.share("adds", numbers["k1"])
    assert list(spool.take("adds")) == [("k3", b"xxx"), ("own", b"own"), ("k1", b"x")]
    assert list(spool.take_greatest_first("adds")) == [("own", b"own"), ("k3", b"xxx"), ("k1", b"x")]
    spool.share_all("all", "rows")
    assert list(spool.take("all")) == list(spool.take("rows"))
    # Also of what is shared already.
    spool.share_all("again", "adds")
    spool.share("again", next(spool.take_numbered("all"))[0])
    assert list(spool.take("again")) == [*spool.take("adds"), ("k0", b"")]
    assert list(spool.keys("again")) == ["k3", "own", "k1", "k0"]
    assert (spool.count("adds"), spool.size("adds"), spool.count("all"), spool.size("all")) == (3, 7, 5, 10)
    pages = spool._db.execute("select page_count from pragma_page_count('messages')").fetchone()[0]
    spool.put("rows", "large", b"x" * 1_000_000)
    spool.share_all("large", "rows")
    grown = spool._db.execute("select page_count from pragma_page_count('messages')").fetchone()[0] - pages
    assert grown * 16384 < 1_200_000


def test_forget__what_is_there_and_some_queues(spool: Spool) -> None:
    """What the target holds and some queues may be found out anew; what is wanted and other queues stay."""
    for key in ("a", "b"):
        spool.there(key, "note")
        spool.put("delete", key, b"")
        spool.put("row", key, b"body")
    spool.want("a")
    spool.want("new")
    spool.forget("delete", "none")
    assert (spool.count_there(), spool.count_wanted(), spool.count_unwanted()) == (0, 2, 0)
    assert (spool.count("delete"), spool.count("row")) == (0, 2)
    assert spool.there("b", "again") is True
    assert spool.there("a", "again") is True
    assert (spool.find("a"), spool.find("b"), spool.read_note("a")) == ((True, True), (True, False), "again")
    with pytest.raises(KeyError):
        spool.want("new")


def test_find_there__marks_what_is_there(spool: Spool) -> None:
    """What the target holds becomes wanted; what it does not hold is not remembered."""
    spool.there("a")
    spool.see("seen")
    assert [spool.find_there(key) for key in ("a", "a", "b", "seen")] == [True, True, False, False]
    assert spool.find("a") == (True, True)
    assert (spool.count_wanted(), spool.count_unwanted()) == (2, 0)


def test_take__left_halfway(spool: Spool) -> None:
    """Reading may be left halfway, also where the spool is closed meanwhile."""
    for n in range(3):
        spool.put("q", str(n), b"")
        spool.there(str(n))
    taking, left = spool.take("q"), spool.unwanted()
    assert next(taking) == ("0", b"")
    assert next(left) == ("0", "")
    spool.close()
    taking.close()
    left.close()


@given(st.lists(KEYS, unique=True, max_size=30), st.lists(KEYS, unique=True, max_size=30))
def test_unwanted__is_the_difference(there: list[str], wanted: list[str]) -> None:
    """Whatever the keys are, what is left is what is there less what is wanted."""
    spool = Spool()
    for key in there:
        spool.there(key)
    for key in wanted:
        assert (spool.want(key) is not None) == (key in there)
    assert {key for key, _ in spool.unwanted()} == set(there) - set(wanted)
    assert spool.count_unwanted() == len(set(there) - set(wanted))
    spool.close()


def test_spool__flat_memory_and_no_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many keys and large bodies grow neither Python's memory nor leave a file with a name."""
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    process = psutil.Process(os.getpid())
    spool = Spool()
    before = process.memory_info().rss
    tracemalloc.start()
    for n in range(20_000):
        spool.there(f"key {n:08}", "x" * 50)
        if n % 10 == 0:
            spool.put("q", "k", b"x" * 20_000)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert spool.size("q") == 40_000_000
    assert process.memory_info().rss - before < 25_000_000
    assert list(tmp_path.iterdir()) == []
    spool.close()
