"""Whether two ways from a picture to its vector agree: photos to ask, and how alike they are."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LEAST_COSINE = 0.999
"""Between the vectors of a picture, for two ways to pass as the same."""


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest cosine between the rows of two float32 (n, d); NaN where there is one."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((np.sum(one * other, axis=1) / lengths).min())


def sample_pictures() -> list[bytes]:
    """Photos that come with scikit-learn, in shapes and formats where two ways could differ."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(photo) for photo in load_sample_images().images)
    clear = flower.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    tall, tiny = china.crop((200, 0, 380, 427)), flower.resize((90, 61))
    samples = [
        *((photo, "JPEG") for photo in (china, flower, tall, tiny)),
        *((photo, "PNG") for photo in (china.convert("L"), tall, clear)),
    ]
    return [_encoded(photo, format_) for photo, format_ in samples]


def _encoded(picture: Image.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_)
    return buffer.getvalue()
