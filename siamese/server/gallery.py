"""Files and thumbnails of the pictures in the index, only from inside the image folder."""

from __future__ import annotations

import io
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from PIL import Image, UnidentifiedImageError

from siamese.data.images import PictureError, open_picture
from siamese.errors import NotFoundError

CACHED_THUMBNAILS = 512
"""Number of thumbnails to cache, each about 10 kB at the default size and at most 150 kB."""


class Gallery:
    """Access to the folder of the indexed pictures; if it is None, no pictures are sent."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder.resolve()

    def url(self, route: str, filename: str) -> str | None:
        """Return the URL path of a picture under a route, or None if there is no folder."""
        if self.folder is None:
            return None
        return f"/{route}/{quote(filename, errors='surrogateescape')}"

    def find_file(self, filename: str) -> Path:
        """Return the path of a picture; raise NotFoundError if missing or not in the folder."""
        if self.folder is None:
            raise NotFoundError("no pictures are served here (--image-dir)")
        try:
            path = (self.folder / filename).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a loop of links, or a NUL character
            path = None
        if path is None or not path.is_relative_to(self.folder) or not path.is_file():
            raise NotFoundError(f"{filename}: no such picture")
        return path


def detect_media_type(path: Path) -> str:
    """Return a picture's media type, detected from its content rather than its name.

    Raise NotFoundError if the file is not a picture, so that no other file is ever sent.
    """
    try:
        with Image.open(path) as header:
            return Image.MIME[header.format or ""]
    except (UnidentifiedImageError, KeyError):
        raise NotFoundError(f"{path.name}: not a picture") from None
    except Exception as error:
        raise NotFoundError(f"{path.name}: damaged ({type(error).__name__})") from None


def make_thumbnail(path: Path, size: int) -> bytes:
    """Return a JPEG thumbnail of at most `size` pixels per side, from a cache if possible."""
    try:
        return _thumbnail(path, path.stat().st_mtime_ns, size)
    except PictureError as error:
        raise NotFoundError(f"{path.name}: {error}") from None


@lru_cache(CACHED_THUMBNAILS)
def _thumbnail(path: os.PathLike[str], modified: int, size: int) -> bytes:
    picture = open_picture(path, longest_side=size)
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
