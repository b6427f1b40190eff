"""The pictures of the index, as files and thumbnails: only those below the image folder."""

from __future__ import annotations

import io
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from PIL import Image, UnidentifiedImageError

from siamese.data.images import PictureError, open_picture
from siamese.server.errors import ApiError

KEPT_THUMBNAILS = 512
"""In memory: some 10 kB each by the usual size, 150 kB by the largest."""


class Gallery:
    """The folder that the filenames of an index are relative to.

    Parameters
    ----------
    folder : None where no pictures are served
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder.resolve()

    def image_url(self, filename: str) -> str | None:
        """Where a picture is to be had; None where none are served."""
        return None if self.folder is None else f"/images/{quote(filename)}"

    def thumbnail_url(self, filename: str) -> str | None:
        """Where a small picture is to be had; None where none are served."""
        return None if self.folder is None else f"/thumbnails/{quote(filename)}"

    def path_of(self, filename: str) -> Path:
        """The file of a picture that is in the index.

        Raises
        ------
        Refusal
            If it is not there, or if its name or a link leads out of the folder.
        """
        if self.folder is None:
            raise ApiError(404, "no pictures are served here (--image-dir)")
        try:
            path = (self.folder / filename).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, links in a ring, a NUL in the name
            path = None
        if path is None or not path.is_relative_to(self.folder) or not path.is_file():
            raise ApiError(404, f"{filename}: no such picture")
        return path


def media_type(path: Path) -> str:
    """The content type of a picture, by what is in the file, whatever its name says.

    Raises
    ------
    Refusal
        If it is no picture: not even a text would be sent as something it is not.
    """
    try:
        with Image.open(path) as header:
            return Image.MIME[header.format or ""]
    except (UnidentifiedImageError, KeyError):
        raise ApiError(404, f"{path.name}: not a picture") from None
    except Exception as error:
        raise ApiError(404, f"{path.name}: damaged ({type(error).__name__})") from None


def thumbnail(path: Path, size: int) -> bytes:
    """A picture as a JPEG of at most `size` pixels a side; the last ones are remembered.

    Raises
    ------
    Refusal
        If it cannot be decoded.
    """
    try:
        return _thumbnail(path, path.stat().st_mtime_ns, size)
    except PictureError as error:
        raise ApiError(404, f"{path.name}: {error}") from None


@lru_cache(KEPT_THUMBNAILS)
def _thumbnail(path: os.PathLike[str], modified: int, size: int) -> bytes:
    # A quarter, of which eight times is decoded: twice the size is enough to look at.
    picture = open_picture(path, longest_side=max(1, size // 4))
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
