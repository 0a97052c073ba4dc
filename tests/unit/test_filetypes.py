"""What a file truly is, whatever was said of it."""

from __future__ import annotations

import pytest

from dev.simulators.odk.pictures import draw_jpeg, draw_png
from services.utils.filetypes import find_content_type

JPEG, PNG = draw_jpeg(b"seed"), draw_png(b"seed seed")
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0"
ZIP = b"PK\x03\x04\x14\0"


@pytest.mark.parametrize(
    ("head", "name", "said", "truly"),
    [
        (JPEG, "a.jpg", "image/jpeg", "image/jpeg"),
        (PNG, "a.png", "application/octet-stream", "image/png"),
        (PNG, "a.jpg", "image/jpeg", "image/png"),
        (JPEG, "no_extension", "", "image/jpeg"),
        (JPEG, "a.jpg", "text/html; charset=utf-8", "image/jpeg"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "IMG_1.HEIC", "application/octet-stream", "image/heic"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0", "a.m4a", "", "audio/mp4"),
        (b"\0\0\0\x14ftyp3gp4\0\0\0\0", "a.3gpp", "", "video/3gpp"),
        (MP4, "a.mp4", "", "video/mp4"),
        (MP4, "sound.m4a", "", "audio/mp4"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "a.webp", "", "image/webp"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a.bin", "", "audio/wav"),
        (b"#!AMR\n\x3c", "a", "", "audio/amr"),
        (b"\xff\xfb\x90\x00", "a", "", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "a", "", "audio/aac"),
        (b"%PDF-1.7", "scan", "image/png", "application/pdf"),
        (
            ZIP,
            "a.xlsx",
            "application/octet-stream",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ),
        (ZIP, "a.jpg", "image/jpeg", "application/zip"),
        (b"event,node\n", "audit.csv", "text/csv; charset=utf-8", "text/csv; charset=utf-8"),
        (b"event,node\n", "audit.csv", "application/octet-stream", "text/csv"),
        (b"BM and other words", "notes.txt", "text/plain", "text/plain"),
        (b"BM\x9a\x3b\0\0\0\0\0\0\x36", "a.bmp", "", "image/bmp"),
        (b"<html>Login</html>", "a.jpg", "image/jpeg", "application/octet-stream"),
        (b"", "empty.jpg", "image/jpeg", "image/jpeg"),
        (b"\x01\x02", "what.ever", "", "application/octet-stream"),
        (b"\x01\x02", "a.enc", "application/octet-stream", "application/octet-stream"),
    ],
)
def test_find_content_type(head: bytes, name: str, said: str, truly: str) -> None:
    """Bytes stand above words, words above names; a kind that its bytes contradict is not repeated."""
    assert find_content_type(head, name, said) == truly
