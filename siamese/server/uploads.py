"""Validation, cropping and decoding of uploaded pictures."""

from __future__ import annotations

import io
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from siamese.data.images import PictureError, open_picture, square_picture
from siamese.server.errors import ApiError
from siamese.server.settings import Limits

MIN_CROP_SIDE = 1e-6
"""Minimum width and height of a crop: a fraction far below one pixel in most pictures."""


class Crop(NamedTuple):
    """Crop rectangle, as fractions of the upright picture's width and height."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Parse text of the form ``x,y,width,height``.

        Examples
        --------
        >>> Crop.parse("0.25,0.1,0.5,0.8")
        Crop(x=0.25, y=0.1, width=0.5, height=0.8)
        """
        try:
            crop = cls(*map(float, text.split(",")))
        except (TypeError, ValueError):
            raise ApiError(422, "crop: give x,y,width,height") from None
        # Rounding errors may push x + width or y + height just above 1. NaN fails every check.
        if not (
            all(0 <= part <= 1 for part in crop)
            and min(crop.width, crop.height) >= MIN_CROP_SIDE
            and crop.x + crop.width <= 1.0001
            and crop.y + crop.height <= 1.0001
        ):
            raise ApiError(422, "crop: give x,y,width,height as fractions inside the picture")
        return crop

    def apply(self, picture: Image.Image) -> Image.Image:
        """Return the cropped picture, at least one pixel wide and high."""
        width, height = picture.size
        left = min(round(self.x * width), width - 1)
        top = min(round(self.y * height), height - 1)
        right = min(max(round((self.x + self.width) * width), left + 1), width)
        bottom = min(max(round((self.y + self.height) * height), top + 1), height)
        return picture.crop((left, top, right, bottom))


def decode_upload(
    content: bytes, size: int, limits: Limits, crop: Crop | None = None
) -> NDArray[np.uint8]:
    """Decode an upload into a square picture, uint8 (size, size, 3), just as indexing would.

    The header is checked first, so that pictures that are too large or not in an accepted format
    are never decoded.
    """
    _check_header(content, limits)
    part = 1.0 if crop is None else max(crop.width, crop.height)
    try:
        # Try only the accepted formats: other decoders might read the same bytes differently.
        picture = open_picture(content, longest_side=math.ceil(size / part), formats=limits.formats)
        return square_picture(picture if crop is None else crop.apply(picture), size)
    except PictureError as error:
        raise ApiError(422, f"image: {error}") from None


def _check_header(content: bytes, limits: Limits) -> None:
    if not content:
        raise ApiError(422, "image: empty file")
    try:
        with Image.open(io.BytesIO(content), formats=limits.formats) as header:
            width, height = header.size
    except UnidentifiedImageError:
        raise ApiError(
            415, f"image: not a picture of an accepted format ({', '.join(limits.formats)})"
        ) from None
    except Image.DecompressionBombError:
        raise ApiError(413, f"image: more than {limits.pixels:,} pixels") from None
    except Exception as error:  # malicious bytes can make decoders raise anything
        raise ApiError(422, f"image: damaged ({type(error).__name__})") from None
    if width * height > limits.pixels:
        raise ApiError(413, f"image: {width} x {height} pixels, limit {limits.pixels:,}")
