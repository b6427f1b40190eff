"""Open pictures and convert them to square arrays.

Training, indexing, search and the server all call `square_picture`, so that queries are prepared
exactly like the gallery.
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
"""Pictures with more pixels are rejected undecoded, since they may be decompression bombs."""

DRAFT_SIDE = 512
"""Minimum length in pixels of the longer side to which a JPEG is decoded.

At picture sizes from 64 to 224 pixels, the cosine between EfficientNet-Lite0's embeddings and
those of a full decode is then at least 0.9992. At 64 pixels, decoding to 128 gives only 0.984.
"""


class PictureError(ValueError):
    """A file is not a usable picture; the message is the reason, without the file's name."""


def open_picture(
    source: str | os.PathLike[str] | RemoteFile | bytes,
    *,
    longest_side: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Open a picture in any format of Pillow, upright and in 8-bit RGB.

    The EXIF orientation is applied, transparent pixels become white, and only the first frame of
    an animation is used.

    Parameters
    ----------
    source : str, os.PathLike, RemoteFile or bytes
        A local or remote file, or its content.
    longest_side : int, optional
        Length in pixels of the longer side that the caller needs. A JPEG is then decoded at the
        smallest of the scales 1/1, 1/2, 1/4 and 1/8 that keeps twice that and `DRAFT_SIDE`, which
        for a photo of 1024 × 768 takes less than half the time.
    formats : tuple of str, optional
        Formats to try, by Pillow's names; by default all.

    Raises
    ------
    PictureError
        The file is missing, unreadable, not a picture, truncated, or larger than `MAX_PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError

    _silence_pillow()
    try:
        if isinstance(source, RemoteFile):
            source = source.read_bytes()
        file = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
        if isinstance(file, Path) and file.exists() and not file.is_file():
            # Opening a pipe would wait for a writer.
            raise PictureError("is a folder" if file.is_dir() else "not a regular file")
        with Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(
                    f"absurdly large ({width} x {height} pixels, limit {MAX_PIXELS:,})"
                )
            if longest_side is not None:
                # Rounded down, because Pillow finds half of an odd side too small; never to 0, by
                # which it would divide.
                side = max(2 * longest_side, DRAFT_SIDE)
                width, height = (max(1, edge * side // max(image.size)) for edge in image.size)
                image.draft(image.mode, (width, height))
            image.load()
            return _to_rgb(_apply_orientation(image))
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError("file missing") from None
    except UnidentifiedImageError:
        size = file.stat().st_size if isinstance(file, Path) else len(file.getvalue())
        raise PictureError("not a picture" if size else "empty file") from None
    except Image.DecompressionBombError:
        raise PictureError(f"absurdly large (limit {MAX_PIXELS:,} pixels)") from None
    except OSError as error:
        if error.strerror:  # from the system: no permission, a broken disk
            raise PictureError(f"unreadable ({error.strerror.lower()})") from None
        raise PictureError(f"truncated or damaged ({error})") from None
    except Exception as error:  # decoders raise almost anything on hostile bytes
        raise PictureError(f"damaged ({type(error).__name__}: {error})") from None


def square_picture(
    source: str | os.PathLike[str] | RemoteFile | bytes | Image.Image, size: int
) -> np.ndarray:
    """Pad a picture with white to a centred square, and resize it with antialiasing.

    Parameters
    ----------
    source : str, os.PathLike, RemoteFile, bytes or PIL.Image.Image
        A local or remote file, its content, or an open picture.
    size : int
        Side length of the square in pixels.

    Returns
    -------
    uint8 ndarray of shape (size, size, 3)
        RGB values.

    Raises
    ------
    PictureError
        See `open_picture`.
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        picture = _to_rgb(source)
    else:
        picture = open_picture(source, longest_side=size)
    side = max(picture.size)
    if side * side > MAX_PIXELS:  # a thin strip, whose square would not fit into memory
        side = math.isqrt(MAX_PIXELS)
        picture = picture.copy()
        picture.thumbnail((side, side))
    if picture.size != (side, side):
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def to_network_input(squares: np.ndarray) -> np.ndarray:
    """Scale uint8 values to the float32 input of all networks, from -1 to 1: x / 127.5 - 1.

    Examples
    --------
    >>> to_network_input(np.array([0, 255], np.uint8))
    array([-1.,  1.], dtype=float32)
    """
    return squares / np.float32(127.5) - np.float32(1)


def picture_suffixes() -> set[str]:
    """Return the suffixes of the files that Pillow can open, such as ".jpg", in lower case."""
    from PIL import Image

    return {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}


def _silence_pillow() -> None:
    """Ignore Pillow's warnings: `PictureError` reports what matters."""
    # Checked for every picture, because other code may restore the filters. Not done with
    # `warnings.catch_warnings`, because that is not thread-safe.
    ours = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    if ours not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; `ImageOps.exif_transpose` fails if another field is malformed."""
    from PIL import ExifTags, Image

    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # the picture is usable without its EXIF
        return image
    transposes: dict[object, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(transposes[orientation]) if orientation in transposes else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture to 8-bit RGB, with white behind transparent pixels."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bits(image)
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale greyscale values of more than 8 bits, which Pillow would clip at 255.

    32-bit integers and floats do not define white. The smallest of 1, 255 and 65,535 that no value
    exceeds is used, or else the largest value.
    """
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    largest = float(values.max(initial=0))
    whites = [65535.0] if image.mode.startswith("I;16") else [1.0, 255.0, 65535.0, largest]
    white = next(white for white in whites if largest <= white)
    scaled = (values.clip(min=0) * (255 / white)).round().astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
