"""JSON read without touching it."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.utils import rawjson

ANY = msgspec.json.Decoder(msgspec.Raw)
LIST = msgspec.json.Decoder(list)


class Body(msgspec.Struct):
    """A page as sources send it."""

    records: list[msgspec.Raw]
    note: str = ""


BODY = msgspec.json.Decoder(Body)

# Text as JavaScript has it: any 16-bit units, halves of pairs among them; and what is special in JSON.
HALVES = st.sampled_from(["\ud83d", "\udef4", "\ud800", "\udfff"])
PIECES = st.one_of(
    st.text(max_size=6),
    HALVES,
    st.sampled_from(['"', "\\", "\\u", "\\ud83d", "\x00", "{", "}", '{"id":', "🛴", "/"]),
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def encode(value: object, indent: int | None = None) -> bytes:
    """JSON in ASCII, halves of pairs as escapes."""
    return json.dumps(value, ensure_ascii=True, indent=indent).encode()


@given(st.lists(VALUES, max_size=6), TEXTS, st.sampled_from([None, 0, 2]))
@example(["\ud83d"], "\ud83d", None)
@example(["\ud83d"], "\udef4", None)
@example([[" "], ["\udfff"], ["\ud800"]], " ", None)
@example([{"a": "\ud83d"}, {"a": " "}, {"a": "\ud83d"}], "", None)
@example(["\\\ud83d", "\\\\ud83d"], "", None)
def test_decode_raw__cuts_the_very_bytes(values: list[object], note: str, indent: int | None) -> None:
    """Every record comes out as its own bytes, whatever halves of pairs stand in it or around it."""
    parts = [encode(value, indent) for value in values]
    body = b'{"note":' + encode(note) + b', "records" : [ ' + b" ,\n".join(parts) + b"]}"
    page, cut = rawjson.decode_raw(BODY, body)
    assert [cut(record) for record in page.records] == parts


@given(st.lists(VALUES, max_size=6), TEXTS)
def test_decode_raw__records_first(values: list[object], note: str) -> None:
    """It does not matter on which side of the records the rest of the body stands."""
    parts = [encode(value) for value in values]
    body = b'{"records":[' + b",".join(parts) + b'],"note":' + encode(note) + b"}"
    page, cut = rawjson.decode_raw(BODY, body)
    assert [cut(record) for record in page.records] == parts


@given(VALUES)
def test_mend_surrogates__length_and_sense(value: object) -> None:
    """The copy has the same length, can be read, and differs only where half of a pair stood."""
    body = encode(value)
    mended = rawjson.mend_surrogates(body)
    assert len(mended) == len(body)
    # Two halves that meet are a pair, to a reader of the escapes.
    text = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    joined = text.decode("utf-16-le", "surrogatepass")
    blanked = re.sub(r"[\ud800-\udfff]", " ", joined)
    assert msgspec.json.decode(mended) == json.loads(blanked)
    assert (mended == body) == (blanked == joined)


@pytest.mark.parametrize(
    ("body", "mended"),
    [
        (rb'"\ud83d\udef4"', rb'"\ud83d\udef4"'),
        (rb'"\uD83D\uDEF4"', rb'"\uD83D\uDEF4"'),
        (rb'"\ud83d"', rb'"\u0020"'),
        (rb'"\udef4"', rb'"\u0020"'),
        (rb'"\ud83d \udef4"', rb'"\u0020 \u0020"'),
        (rb'"\udef4\ud83d"', rb'"\u0020\u0020"'),
        (rb'"\ud83d\ud83d\udef4"', rb'"\u0020\ud83d\udef4"'),
        (rb'"\ud83d\udef4\udef4"', rb'"\ud83d\udef4\u0020"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\u0020"'),
        (rb'"\ud83d\\udef4"', rb'"\u0020\\udef4"'),
        (rb'"\ud83d\n\udef4"', rb'"\u0020\n\u0020"'),
        (rb'{"\ud83d":1}', rb'{"\u0020":1}'),
        (rb'"\u0000\ud83d"', rb'"\u0000\u0020"'),
        (rb'"\ud83', rb'"\ud83'),
        (b"\\", b"\\"),
    ],
)
def test_mend_surrogates__cases(body: bytes, mended: bytes) -> None:
    """Halves are blanked, pairs and escaped backslashes are left."""
    assert rawjson.mend_surrogates(body) == mended


def test_mend_surrogates__nulls() -> None:
    r"""With `nulls` the escape \u0000 is blanked too, an escaped backslash before it is seen."""
    body = rb'"\u0000 \\u0000 \\\u0000 \u0001 \ud83d \ud83d\udef4"'
    assert (
        rawjson.mend_surrogates(body, nulls=True) == rb'"\u0020 \\u0000 \\\u0020 \u0001 \u0020 \ud83d\udef4"'
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"<html>",
        b'{"a":1}{"b":2}',
        b"[1] x",
        b"NaN",
        b"'a'",
        b'"\x00"',
        b'"\\x"',
        rb'"\u12"',
        rb'"\ud83d',
        b"\xff",
        b'{"a":1',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_is_json__not(body: bytes) -> None:
    """What is cut, trails off, is another language, or is nested beyond reading is not JSON, and no crash."""
    assert rawjson.is_json(body) is False
    with pytest.raises(msgspec.DecodeError):
        rawjson.decode_raw(ANY, body)


@pytest.mark.parametrize(
    "body",
    [
        b"1",
        b' {"a":[1,2]} ',
        b"null",
        rb'"\ud83d"',
        b"[" * 200 + b"]" * 200,
        b'{"a":1,"a":2}',
        '"🛴"'.encode(),
    ],
)
def test_is_json__is(body: bytes) -> None:
    """Any whole value is, halves of pairs and 200 levels included."""
    assert rawjson.is_json(body) is True


@given(VALUES, st.data())
def test_is_json__cut_anywhere(value: object, data: st.DataObject) -> None:
    """No beginning of an object or a list passes for the whole."""
    body = encode([value])
    assert rawjson.is_json(body)
    assert not rawjson.is_json(body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize("body", [b'{"records":5}', b"[]", b'{"note":""}', rb'{"records":{"a":"\ud83d"}}'])
def test_decode_raw__another_value(body: bytes) -> None:
    """JSON of another shape is told apart from what is no JSON."""
    with pytest.raises(msgspec.ValidationError):
        rawjson.decode_raw(BODY, body)


def test_decode_blanked__texts_to_show() -> None:
    """Half of a pair is shown as a blank, whole pairs and escaped escapes as they are; the rest is refused as ever."""
    body = rb'["a\ud83dc", "\ud83d\udef4", "\\ud83d", "\u0000"]'
    assert rawjson.decode_blanked(LIST, body) == ["a c", "\U0001f6f4", "\\ud83d", "\0"]
    for broken in (b"[1,]", b"", b'["\xff"]', b"[" * 5000):
        with pytest.raises(msgspec.DecodeError):
            rawjson.decode_blanked(LIST, broken)
