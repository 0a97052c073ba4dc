"""Small copies of photos, by Pillow."""

from __future__ import annotations

import io
import logging
import threading
from typing import BinaryIO

from services.utils.errors import ConfigError

log = logging.getLogger(__name__)

CONTENT_TYPE = "image/jpeg"
# A photo takes some 40 MB while it is made small, whatever its file's size: not one for every thread.
_AT_A_TIME = threading.Semaphore(2)


def check_installed() -> None:
    """Raises: ConfigError if Pillow is not there."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "Pillow is not installed, which makes thumbnails. Nothing was sent. Install it: "
            "pip install 'record-services[thumbnails]', or take `thumbnails` out of the configuration."
        ) from error


def make_thumbnail(file: BinaryIO, longest_px: int) -> bytes | None:
    """A JPEG of a picture, turned upright, its longest side so many pixels (or less, where the picture is smaller).

    Returns: its bytes; None where the file is no picture that Pillow can read. The file's position moves.
    """
    from PIL import Image, ImageOps

    file.seek(0)
    try:
        with _AT_A_TIME, Image.open(file) as opened:
            # JPEG can be decoded at a half, a quarter, an eighth: at once smaller, and much faster.
            opened.draft("RGB", (longest_px, longest_px))
            small = ImageOps.exif_transpose(opened)
            small.thumbnail((longest_px, longest_px))
            if small.mode != "RGB":
                small = _lay_on_white(small)
            out = io.BytesIO()
            small.save(out, "JPEG", quality=82, optimize=True)
            return out.getvalue()
    # Pillow raises many kinds for a broken file, SyntaxError among them.
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, EOFError, MemoryError) as error:
        log.debug("no thumbnail: %s", type(error).__name__)
        return None
    except Image.DecompressionBombError:
        log.debug("no thumbnail: the picture is too large")
        return None


def _lay_on_white(picture):  # type: ignore[no-untyped-def]
    """What shines through is white, not black."""
    from PIL import Image

    seen = picture.convert("RGBA")
    white = Image.new("RGBA", seen.size, "white")
    white.alpha_composite(seen)
    return white.convert("RGB")
