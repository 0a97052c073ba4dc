"""What a file truly is: by its first bytes, then by its name, then by what was said of it."""

from __future__ import annotations

import re

# How many bytes `find_content_type` wants to see.
HEAD_BYTES = 512
UNKNOWN = "application/octet-stream"
# What senders write who do not know.
_SAYS_NOTHING = frozenset({"", UNKNOWN, "binary/octet-stream", "application/x-download", "*/*"})

# The first bytes of what phones make and people attach. Source: the formats' own specifications.
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR\n", "audio/amr"),
    (b"#!AMR-WB\n", "audio/amr-wb"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\x1f\x8b", "application/gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
)
# "ftyp" boxes name a brand: the family of MP4, which holds pictures, sound and films.
_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_ENDINGS = {
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".xml": "application/xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".svg": "image/svg+xml",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".amr": "audio/amr",
    ".aac": "audio/aac",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".ogv": "video/ogg",
    ".mp4": "video/mp4",
    ".3gp": "video/3gpp",
    ".3gpp": "video/3gpp",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".doc": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".ppt": "application/vnd.ms-powerpoint",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".kmz": "application/vnd.google-earth.kmz",
}
# Containers of many formats: bytes name the container, the name says which of those that may be in it.
_INSIDE = {
    "application/zip": ("application/vnd.", "application/zip"),
    "application/x-ole-storage": ("application/msword", "application/vnd.ms-"),
    "video/webm": ("video/x-matroska", "video/webm"),
    "audio/ogg": ("audio/ogg", "video/ogg"),
    "video/mp4": ("video/", "audio/mp4"),
}


def find_content_type(head: bytes, name: str, said: str = "") -> str:
    """A file's content type.

    head: its first HEAD_BYTES. name: its file name. said: the type that came with it, with parameters or not.
    What its bytes show stands above what was said; what was said above what its name shows.
    """
    by_name = _ENDINGS.get(_find_ending(name), "")
    plain = said.partition(";")[0].strip().lower()
    by_bytes = _read_start(head)
    if by_bytes:
        inside = _INSIDE.get(by_bytes, ())
        for other in (by_name, plain):
            if other and other.startswith(inside or ("-",)):
                return other
        return by_bytes
    if plain not in _SAYS_NOTHING and not _is_contradicted(plain, head):
        return said.strip()
    return UNKNOWN if _is_contradicted(by_name, head) else by_name or UNKNOWN


def _read_start(head: bytes) -> str:
    """What the first bytes show; "" if they show nothing."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "video/3gpp" if brand.startswith(b"3g") else _BRANDS.get(brand, "video/mp4")
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    for start, kind in _STARTS:
        if head.startswith(start):
            # Two letters alone are no picture.
            return "" if kind == "image/bmp" and head[6:10] != b"\0\0\0\0" else kind
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # A frame of sound: the two bits of the layer are zero in AAC, and never so in MP3.
        return "audio/aac" if head[1] & 0x06 == 0 else "audio/mpeg"
    return ""


def _is_contradicted(kind: str, head: bytes) -> bool:
    """Whether bytes that show nothing cannot be of a kind whose first bytes are known."""
    return bool(head) and kind in _SURELY_STARTS


_SURELY_STARTS = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp", "image/heic", "application/pdf"}
)


def _find_ending(name: str) -> str:
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return found[0].lower() if found else ""
