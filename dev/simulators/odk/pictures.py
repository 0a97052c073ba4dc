"""Small real pictures, drawn without a library: PNG files of colored fields, JPEG files of one color."""

from __future__ import annotations

import hashlib
import struct
import zlib


def draw_picture(name: str, size: int = 24) -> tuple[bytes, str]:
    """A file for an attachment's name: a picture that no other name has, or text.

    Returns: (content, content type).
    """
    seed = hashlib.sha256(name.encode()).digest()
    if name.lower().endswith((".jpg", ".jpeg")):
        return draw_jpeg(seed, size), "image/jpeg"
    if name.lower().endswith(".csv"):
        return f"event,node,start,end\nform start,,{seed[0]},\n".encode(), "text/csv"
    return draw_png(seed, size), "image/png"


def draw_png(seed: bytes, size: int = 24) -> bytes:
    """A PNG of size x size pixels: two colors in stripes, chosen by the seed."""
    one, two = seed[0:3], seed[3:6]
    width = seed[6] % 5 + 2
    rows = b"".join(
        b"\0" + b"".join(one if (x + y) // width % 2 else two for x in range(size)) for y in range(size)
    )
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", header)
        + _png_chunk(b"IDAT", zlib.compress(rows))
        + _png_chunk(b"IEND", b"")
    )


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def draw_jpeg(seed: bytes, size: int = 24) -> bytes:
    """A gray baseline JPEG of size x size pixels: each 8x8 block has a brightness from the seed."""
    across = (size + 7) // 8
    bits: list[str] = []
    before = 0
    for block in range(across * across):
        # Brightness as a DC coefficient; with a quantizer of 8 one step is one level.
        level = seed[block % len(seed)] % 200 - 100
        difference = level - before
        before = level
        length = abs(difference).bit_length()
        bits.append(_DC_CODES[length])
        if length:
            value = difference if difference > 0 else difference + (1 << length) - 1
            bits.append(f"{value:0{length}b}")
        bits.append(_END_OF_BLOCK)
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8)).replace(b"\xff", b"\xff\0")
    # The seed as a comment: no two pictures are the same.
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(seed)) + seed
    frame = b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, size, size, 1, 1, 0x11, 0)
    return (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        + comment
        + b"\xff\xdb\x00\x43\x00"
        + b"\x08" * 64
        + frame
        + _huffman_table(0x00, [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], list(range(12)))
        + _huffman_table(0x10, [1, *[0] * 15], [0])
        + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
        + scan
        + b"\xff\xd9"
    )


def _huffman_table(place: int, counts: list[int], symbols: list[int]) -> bytes:
    content = bytes([place, *counts, *symbols])
    return b"\xff\xc4" + struct.pack(">H", 2 + len(content)) + content


# Codes of the standard table for brightness differences, by the number of bits that follow.
_DC_CODES = ["00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110", "11111110"]
# The only code of the table for the rest: all zero.
_END_OF_BLOCK = "0"
