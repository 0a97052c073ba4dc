r"""JSON read without touching it: values taken as the very bytes that came.

msgspec reads JSON fastest and can hand out a value's own bytes, but refuses what JavaScript lets through:
a lone surrogate escape such as "\ud83d". Such bodies are read through a copy of the same length in which
those escapes are others, and the bytes are then cut out of the original.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_BLANK = b"\\u0020"


def decode_raw(decoder: msgspec.json.Decoder[T], body: bytes) -> tuple[T, Callable[[msgspec.Raw], bytes]]:
    """A body's value, and a function that gives the original bytes of a Raw in it.

    That function must be asked for the Raws in the order they stand in the body.
    Raises: msgspec.DecodeError if the body is not JSON, msgspec.ValidationError if it is another value.
    """
    try:
        return _decode(decoder, body), bytes
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Each by one of its own: what looks like a value further on in the copy must be the same in the original.
        mended = _mend(body, _set_apart)
        if mended == body:
            raise
    value = _decode(decoder, mended)
    position = 0

    def cut(raw: msgspec.Raw) -> bytes:
        nonlocal position
        start = mended.index(bytes(raw), position)
        position = start + len(bytes(raw))
        return body[start:position]

    return value, cut


def decode_blanked(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A body's value, with a blank for every lone surrogate: for texts that are shown.

    Raises: as `decode_raw`.
    """
    try:
        return _decode(decoder, body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _decode(decoder, mend_surrogates(body))


def is_json(body: bytes) -> bool:
    """Whether the bytes are one whole JSON value."""
    try:
        decode_raw(_ANY, body)
    except msgspec.DecodeError:
        return False
    return True


def mend_surrogates(body: bytes, *, nulls: bool = False) -> bytes:
    """The same bytes with every lone surrogate escape blanked, with `nulls` every \\u0000 too; the length stays."""
    return _mend(body, lambda escape: _BLANK, nulls=nulls)


def _set_apart(escape: bytes) -> bytes:
    """\\ud83d as \\ue83d: a character that is nobody's."""
    return escape[:2] + (b"e" if escape[2:3] == b"d" else b"E") + escape[3:]


def _mend(body: bytes, replace: Callable[[bytes], bytes], *, nulls: bool = False) -> bytes:
    parts: list[bytes] = []
    copied = 0
    high: re.Match[bytes] | None = None
    for escape in _ESCAPE.finditer(body):
        code = int(escape[1], 16) if escape[1] else 0
        if high is not None and 0xDC00 <= code <= 0xDFFF and escape.start() == high.end():
            high = None
            continue
        if high is not None:
            parts += (body[copied : high.start()], replace(high[0]))
            copied = high.end()
            high = None
        if 0xD800 <= code <= 0xDBFF:
            high = escape
        elif 0xDC00 <= code <= 0xDFFF or (nulls and escape[1] and code == 0):
            parts += (body[copied : escape.start()], replace(escape[0]))
            copied = escape.end()
    if high is not None:
        parts += (body[copied : high.start()], replace(high[0]))
        copied = high.end()
    return b"".join([*parts, body[copied:]])


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise msgspec.DecodeError("JSON is nested too deep") from error
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("a text that is asked for is not UTF-8") from error


_ANY: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)
