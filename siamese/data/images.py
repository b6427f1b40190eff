"""One file, one picture, one square array; and what is wrong with a file.

Training, indexing, searching and serving all see a picture through `square_picture`, so that a
query is prepared exactly as the gallery was.
"""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese.data.remote_files import RemoteFile

if TYPE_CHECKING:
    from PIL import Image


MAX_PIXELS = 100_000_000
"""Pictures with more pixels are refused before they are decoded (decompression bombs)."""

DRAFT_SIDE = 512
"""Pixels of the longer side that a JPEG is decoded at, at least.

Cosine of EfficientNet-Lite0's embeddings to those of a full decode, for pictures of 64 to 224
pixels: 0.9992 and more. Small pictures need more than twice their side: at 64 pixels, 128 of them
give 0.984.
"""


class PictureError(ValueError):
    """A file is no usable picture; the message is one line with the reason, without the file."""


def open_picture(
    source: str | os.PathLike[str] | RemoteFile | bytes,
    *,
    longest_side: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Open whatever Pillow opens as one upright RGB picture.

    EXIF orientation is applied; transparency is laid on white; 16-bit, grey, palette and CMYK
    become 8-bit RGB; of an animation the first frame is taken.

    Parameters
    ----------
    source : a file, on this machine or not, or its bytes
    longest_side : pixels the caller needs of the longer side. A JPEG is then decoded at the
        smallest of its 1/1, 1/2, 1/4, 1/8 scales that keeps twice that and `DRAFT_SIDE`: less than
        half the time for a photo of 1024 × 768, and embeddings hardly notice.
    formats : those that are tried, by Pillow's names; all if None

    Raises
    ------
    PictureError
        Missing, unreadable, not a picture, truncated, or larger than `MAX_PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError

    _quiet_pillow()
    try:
        file = _file_of(source)
        if isinstance(file, Path) and file.exists() and not file.is_file():
            # Opening a pipe would wait for ever.
            raise PictureError("is a folder" if file.is_dir() else "not a regular file")
        with Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(
                    f"absurdly large ({width} x {height} pixels, limit {MAX_PIXELS:,})"
                )
            if longest_side is not None:
                # Rounded down, or Pillow would find the half of an odd side too small; and a
                # strip's short side not to 0, by which it divides.
                side = max(2 * longest_side, DRAFT_SIDE)
                width, height = (max(1, one * side // max(image.size)) for one in image.size)
                image.draft(image.mode, (width, height))
            image.load()
            return _on_white(_upright(image))
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError("file missing") from None
    except UnidentifiedImageError:
        raise PictureError("not a picture" if _size_of(file) else "empty file") from None
    except Image.DecompressionBombError:
        raise PictureError(f"absurdly large (limit {MAX_PIXELS:,} pixels)") from None
    except OSError as error:
        if error.strerror:  # from the system: a folder, no permission, a broken disk
            raise PictureError(f"unreadable ({error.strerror.lower()})") from None
        raise PictureError(f"truncated or damaged ({error})") from None
    except Exception as error:  # decoders of hostile bytes raise nearly anything
        raise PictureError(f"damaged ({type(error).__name__}: {error})") from None


def square_picture(
    source: str | os.PathLike[str] | RemoteFile | bytes | Image.Image, size: int
) -> np.ndarray:
    """Pad a picture centrally with white to a square and resize it with antialiasing.

    Returns
    -------
    uint8 (size, size, 3), RGB

    Raises
    ------
    PictureError
        As `open_picture`.
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        picture = _on_white(source)
    else:
        picture = open_picture(source, longest_side=size)
    side = max(picture.size)
    if side * side > MAX_PIXELS:  # the square of a strip would not fit into memory
        side = math.isqrt(MAX_PIXELS)
        picture = picture.copy()
        picture.thumbnail((side, side))
    if picture.size != (side, side):
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def to_network_input(squares: np.ndarray) -> np.ndarray:
    """Turn square pictures into what every network here takes: uint8 0…255 → float32 [-1, 1]."""
    return squares / np.float32(127.5) - np.float32(1)


def _quiet_pillow() -> None:
    """Drop Pillow's warnings: what matters of them is told by `PictureError`.

    For good, because `warnings.catch_warnings` is not safe in threads; again only where somebody
    else's has brought back the filters from before.
    """
    ours = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    if ours not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation.

    `ImageOps.exif_transpose` also writes the other EXIF fields anew, and fails where one of them
    is odd, as cameras' often are.
    """
    from PIL import ExifTags, Image

    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged note does not spoil the picture
        return image
    turns: dict[object, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep grey values, which Pillow would clip at 255.

    The mode of 32-bit integers and floats does not tell which value is white: it is the first of
    1, 255, 65,535 that no value exceeds, or else the largest value.
    """
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    largest = float(values.max(initial=0))
    whites = [65535.0] if image.mode.startswith("I;16") else [1.0, 255.0, 65535.0, largest]
    white = next(white for white in whites if largest <= white)
    to_network_input = (values.clip(min=0) * (255 / white)).round().astype(np.uint8)
    return Image.fromarray(to_network_input).convert("RGB")


def _file_of(source: str | os.PathLike[str] | RemoteFile | bytes) -> Path | io.BytesIO:
    if isinstance(source, RemoteFile):
        return io.BytesIO(source.read_bytes())
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source)


def _size_of(file: Path | io.BytesIO) -> int:
    return file.stat().st_size if isinstance(file, Path) else len(file.getvalue())


def picture_suffixes() -> set[str]:
    """Return the suffixes of files that Pillow can open, in small letters."""
    from PIL import Image as Pillow

    return {
        suffix
        for suffix, format_name in Pillow.registered_extensions().items()
        if format_name in Pillow.OPEN
    }
