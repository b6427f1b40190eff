"""Functions that open pictures and convert them to square arrays.

Training, indexing, search and the server all call `square_picture`, so that queries are
preprocessed exactly like the gallery.
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
"""Maximum number of pixels; larger pictures may be decompression bombs and are not decoded."""

DRAFT_SIDE = 512
"""Minimum length, in pixels, of a JPEG's longer side after decoding at a reduced scale.

At model input sizes of 64 to 224 pixels, EfficientNet-Lite0's embeddings then have a cosine of at
least 0.9992 with those of fully decoded pictures. At 64 pixels, a minimum of 128 gives only 0.984.
"""


class PictureError(ValueError):
    """Error for a file that is not a usable picture; the message does not name the file."""


def open_picture(
    source: str | os.PathLike[str] | RemoteFile | bytes,
    *,
    longest_side: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Open a picture in any format that Pillow reads, and convert it to 8-bit RGB.

    The EXIF orientation is applied, transparent pixels become white, and only the first frame of
    an animation is used.

    Parameters
    ----------
    source : str, os.PathLike, RemoteFile or bytes
        Path, remote file or file contents to open.
    longest_side : int, optional
        Length in pixels to which the caller will resize the longer side. To save time, a JPEG is
        decoded at the smallest of the scales 1/8, 1/4, 1/2 and 1 that keeps the longer side at
        ``max(2 * longest_side, DRAFT_SIDE)`` pixels or more.
    formats : tuple of str, optional
        Pillow names of the formats to try, such as ``"JPEG"``. By default, all formats.

    Raises
    ------
    PictureError
        If the file is missing, unreadable, damaged, not a picture, or has too many pixels.
    """
    from PIL import Image, UnidentifiedImageError

    _silence_pillow()
    try:
        if isinstance(source, RemoteFile):
            source = source.read_bytes()
        file = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
        if isinstance(file, Path) and file.exists() and not file.is_file():
            # Opening a named pipe would block until another process writes to it.
            raise PictureError("is a folder" if file.is_dir() else "not a regular file")
        with Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(
                    f"absurdly large ({width} x {height} pixels, limit {MAX_PIXELS:,})"
                )
            if longest_side is not None:
                # Round down: if a side were rounded up, Pillow might decode at a larger scale than
                # necessary. At least 1, because Pillow divides by these sizes.
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
        if error.strerror:  # from the operating system, such as "Permission denied"
            raise PictureError(f"unreadable ({error.strerror.lower()})") from None
        raise PictureError(f"truncated or damaged ({error})") from None
    except Exception as error:  # decoders may raise any exception on malformed data
        raise PictureError(f"damaged ({type(error).__name__}: {error})") from None


def square_picture(
    source: str | os.PathLike[str] | RemoteFile | bytes | Image.Image, size: int
) -> np.ndarray:
    """Centre a picture on a white square, and resize the square with antialiasing.

    Parameters
    ----------
    source : str, os.PathLike, RemoteFile, bytes or PIL.Image.Image
        Path, remote file or file contents to open, or a picture that is already open.
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
    if side * side > MAX_PIXELS:  # a long, thin picture, whose square would use too much memory
        side = math.isqrt(MAX_PIXELS)
        picture = picture.copy()
        picture.thumbnail((side, side))
    if picture.size != (side, side):
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def to_network_input(squares: np.ndarray) -> np.ndarray:
    """Scale uint8 values x to the range [-1, 1] that all networks expect: x / 127.5 - 1.

    Examples
    --------
    >>> to_network_input(np.array([0, 255], np.uint8))
    array([-1.,  1.], dtype=float32)
    """
    return squares / np.float32(127.5) - np.float32(1)


def picture_suffixes() -> set[str]:
    """Return the lower-case suffixes of files that Pillow can open, such as ".jpg"."""
    from PIL import Image

    return {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}


def _silence_pillow() -> None:
    """Ignore Pillow's warnings, because unusable pictures raise a `PictureError` anyway."""
    # Check this for every picture, because other code may reset the filters. Do not use
    # `warnings.catch_warnings`, because it is not thread-safe.
    ours = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    if ours not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, even if other EXIF fields are malformed."""
    from PIL import ExifTags, Image

    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # unreadable EXIF data does not make the picture unusable
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
    """Convert a picture to 8-bit RGB, blending transparent pixels with white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bits(image)
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale a greyscale picture to 8 bits, because Pillow would clip its values at 255.

    White is 65,535 for 16-bit integers. For 32-bit integers and floats, it is the smallest of 1,
    255 and 65,535 that is at least the picture's largest value, or else the largest value itself.
    """
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    largest = float(values.max(initial=0))
    whites = [65535.0] if image.mode.startswith("I;16") else [1.0, 255.0, 65535.0, largest]
    white = next(white for white in whites if largest <= white)
    scaled = (values.clip(min=0) * (255 / white)).round().astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
