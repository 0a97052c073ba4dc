"""Keys of objects: parts that any text may be in, encoded so that every S3, URL and shell takes them."""

from __future__ import annotations

import hashlib
import re

LONGEST_KEY = 1024


def encode_part(part: str) -> str:
    """A part of a key that every S3, URL and shell takes: letters, digits, `-`, `_`, `.` stay, other bytes become =XX.

    Dots stay unless there is nothing else. Two different parts never become one; `decode_part` gives the part back.
    """
    if not part.strip("."):
        return "".join(f"={byte:02X}" for byte in part.encode())
    return "".join(
        one
        if one.isascii() and (one.isalnum() or one in "-_.")
        else "".join(f"={byte:02X}" for byte in to_utf8(one))
        for one in part
    )


def decode_part(part: str) -> str:
    """What `encode_part` was given.

    Raises: ValueError if the part was cut because its key was too long, or never came from there.
    """
    pieces = re.split(r"=([0-9A-F]{2})", part)
    if any("=" in piece for piece in pieces[::2]):
        raise ValueError(f"{part!r} cannot be decoded")
    return b"".join(
        bytes.fromhex(piece) if number % 2 else piece.encode() for number, piece in enumerate(pieces)
    ).decode("utf-8", "surrogatepass")


def build_key(prefix: str, *parts: str) -> str:
    """A key: the prefix as it is, then the parts, each encoded.

    Too long a key has its longest parts cut; these end in == and a digest of the whole part.
    """
    encoded = [encode_part(part) for part in parts]
    for index in sorted(range(len(parts)), key=lambda number: -len(encoded[number])):
        if len("/".join([prefix, *encoded])) <= LONGEST_KEY:
            break
        if len(encoded[index]) > 100:
            start = re.sub(r"=.?$", "", encoded[index][:60])
            encoded[index] = f"{start}=={hashlib.sha256(to_utf8(parts[index])).hexdigest()[:32]}"
    return "/".join([*filter(None, [prefix]), *encoded])


def to_utf8(text: str) -> bytes:
    """Any text as bytes, also one with half a character in it."""
    return text.encode("utf-8", "surrogatepass")
