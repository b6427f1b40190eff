"""Open pictures and make them square arrays.

Training, indexing, search and the server all prepare pictures with `square_picture`, so that a
query is prepared exactly like the gallery.
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
"""Pictures with more pixels are rejected before they are decoded (decompression bombs)."""

DRAFT_SIDE = 512
"""Minimum length in pixels of the longer side at which a JPEG is decoded.

With it, EfficientNet-Lite0's embeddings have a cosine of at least 0.9992 with those of a full
decode, at picture sizes from 64 to 224 pixels. Decoding at twice the picture size is not enough
for small ones: at 64 pixels, decoding at 128 gives 0.984.
"""


class PictureError(ValueError):
    """A file is not a usable picture; the message is the reason in one line, without the file."""


def open_picture(
    source: str | os.PathLike[str] | RemoteFile | bytes,
    *,
    longest_side: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Open any picture that Pillow can open, as an upright RGB picture.

    EXIF orientation is applied. Transparent pixels become white. 16-bit, greyscale, palette and
    CMYK pictures become 8-bit RGB. The first frame of an animation is used.

    Parameters
    ----------
    source : str, os.PathLike, RemoteFile or bytes
        A local or remote file, or its content.
    longest_side : int, optional
        Length in pixels of the longer side that the caller needs. A JPEG is then decoded at the
        smallest of the scales 1/1, 1/2, 1/4 and 1/8 that keeps twice that and `DRAFT_SIDE`. For a
        photo of 1024 × 768 this takes less than half the time and hardly changes the embedding.
    formats : tuple of str, optional
        Pillow's names of the formats to try; by default all.

    Returns
    -------
    PIL.Image.Image
        The picture.

    Raises
    ------
    PictureError
        The file is missing, unreadable, not a picture, truncated, or larger than `MAX_PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError

    _silence_pillow()
    try:
        file = _to_file(source)
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
                # Round down, or Pillow would find half of an odd side too small; but not to 0, by
                # which it divides.
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
        raise PictureError("not a picture" if _byte_size(file) else "empty file") from None
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
        The file is not a usable picture, see `open_picture`.
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        picture = _to_rgb(source)
    else:
        picture = open_picture(source, longest_side=size)
    side = max(picture.size)
    if side * side > MAX_PIXELS:  # the square around a thin strip would not fit into memory
        side = math.isqrt(MAX_PIXELS)
        picture = picture.copy()
        picture.thumbnail((side, side))
    if picture.size != (side, side):
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def to_network_input(squares: np.ndarray) -> np.ndarray:
    """Scale pictures to the input of all networks: x / 127.5 - 1.

    Parameters
    ----------
    squares : uint8 ndarray of any shape
        Values from 0 to 255.

    Returns
    -------
    float32 ndarray of the same shape
        Values from -1 to 1.

    Examples
    --------
    >>> to_network_input(np.array([0, 255], np.uint8))
    array([-1.,  1.], dtype=float32)
    """
    return squares / np.float32(127.5) - np.float32(1)


def picture_suffixes() -> set[str]:
    """List the suffixes of the files that Pillow can open.

    Returns
    -------
    set of str
        Lowercase suffixes, such as ".jpg".
    """
    from PIL import Image

    return {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}


def _silence_pillow() -> None:
    """Ignore Pillow's warnings: `PictureError` reports the ones that matter.

    Done once and for all, because `warnings.catch_warnings` is not thread-safe; repeated only if
    other code has restored earlier filters.
    """
    ours = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    if ours not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Rotate or flip a picture by its EXIF orientation.

    `ImageOps.exif_transpose` also rewrites the other EXIF fields, and fails if one is malformed,
    as those of cameras often are.
    """
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
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale greyscale values of more than 8 bits, which Pillow would clip at 255.

    For 32-bit integers and floats, white is not defined: it is taken to be the smallest of 1, 255
    and 65,535 that no value exceeds, or else the largest value.
    """
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    largest = float(values.max(initial=0))
    whites = [65535.0] if image.mode.startswith("I;16") else [1.0, 255.0, 65535.0, largest]
    white = next(white for white in whites if largest <= white)
    scaled = (values.clip(min=0) * (255 / white)).round().astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def _to_file(source: str | os.PathLike[str] | RemoteFile | bytes) -> Path | io.BytesIO:
    if isinstance(source, RemoteFile):
        return io.BytesIO(source.read_bytes())
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source)


def _byte_size(file: Path | io.BytesIO) -> int:
    return file.stat().st_size if isinstance(file, Path) else len(file.getvalue())
