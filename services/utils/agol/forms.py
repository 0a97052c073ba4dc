"""Text as the value of a field of a form (application/x-www-form-urlencoded), written for its length.

Only what would be read as something else is escaped: quotes, braces, colons and commas, of which JSON is full, stand
for themselves. Source: URL Standard, "application/x-www-form-urlencoded parsing".
"""

from __future__ import annotations

import codecs
from functools import lru_cache

# In this order: all bring "%" along, and a space becomes "+".
_SIGNS = (
    (b"%", b"%25"),
    (b"+", b"%2B"),
    (b"&", b"%26"),
    (b"=", b"%3D"),
    (b";", b"%3B"),
    (b"\x7f", b"%7F"),
    (b" ", b"+"),
)


def encode_text(text: bytes) -> bytes:
    """UTF-8 text without control characters (JSON has none) as a field's value, in ASCII."""
    for sign, escape in _SIGNS:
        text = text.replace(sign, escape)
    return text if text.isascii() else text.decode().encode("ascii", "record-services-percent")


def _escape_error(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return _escape(error.object[error.start : error.end]), error.end


# The same few letters come again and again.
@lru_cache(1024)
def _escape(text: str) -> str:
    return "".join([f"%{byte:02X}" for byte in text.encode()])


codecs.register_error("record-services-percent", _escape_error)
