"""From an upload to the square picture that the model takes, or the reason why not."""

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

SMALLEST_PART = 1e-6
"""Of a crop's width and height. No picture has so many pixels a side that less would be one."""


class Crop(NamedTuple):
    """A part of a picture, in fractions of the upright picture's width and height."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Read ``x,y,width,height``.

        Raises
        ------
        Refusal
            If it is something else, or not inside the picture.
        """
        try:
            crop = cls(*map(float, text.split(",")))
        except (TypeError, ValueError):
            raise ApiError(422, "crop: give x,y,width,height") from None
        # What is computed from pixels may miss 1 by a rounding error. NaN is not less.
        inside = all(0 <= part <= 1 for part in crop)
        large_enough = min(crop.width, crop.height) >= SMALLEST_PART
        if not (
            inside
            and large_enough
            and crop.x + crop.width <= 1.0001
            and crop.y + crop.height <= 1.0001
        ):
            raise ApiError(422, "crop: x,y,width,height are fractions, inside the picture")
        return crop

    def apply(self, picture: Image.Image) -> Image.Image:
        """The part of a picture, of at least one pixel."""
        width, height = picture.size
        left = min(round(self.x * width), width - 1)
        top = min(round(self.y * height), height - 1)
        right = min(max(round((self.x + self.width) * width), left + 1), width)
        bottom = min(max(round((self.y + self.height) * height), top + 1), height)
        return picture.crop((left, top, right, bottom))


def decode_upload(
    content: bytes, size: int, limits: Limits, crop: Crop | None = None
) -> NDArray[np.uint8]:
    """Decode an upload into a square picture, as the pictures of an index are.

    Its header is read first: of a picture that is too large, or of a format that is not on the
    list, nothing is decoded.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)

    Raises
    ------
    ApiError
        413 for too many pixels, 415 for another format, 422 for a broken picture.
    """
    _check_header(content, limits)
    part = 1.0 if crop is None else max(crop.width, crop.height)
    try:
        # Of the same formats: to another decoder the same bytes may be another picture.
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
        raise ApiError(415, f"image: not a picture of {', '.join(limits.formats)}") from None
    except Image.DecompressionBombError:
        raise ApiError(413, f"image: more than {limits.pixels:,} pixels") from None
    except Exception as error:  # decoders of hostile bytes raise nearly anything
        raise ApiError(422, f"image: damaged ({type(error).__name__})") from None
    if width * height > limits.pixels:
        raise ApiError(413, f"image: {width} x {height} pixels, limit {limits.pixels:,}")
