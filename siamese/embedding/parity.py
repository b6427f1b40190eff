"""Compare the vectors that two implementations compute for sample photos."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import square_picture

MIN_COSINE = 0.999
"""Minimum cosine similarity between the vectors of two implementations that agree."""


def min_cosine(vectors: np.ndarray, others: np.ndarray) -> float:
    """Compute the smallest cosine similarity of corresponding rows; NaN if any is NaN.

    Examples
    --------
    >>> min_cosine(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 0.0], [1.0, 0.0]]))
    0.0
    """
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    return float((np.sum(vectors * others, axis=1) / lengths).min())


def load_sample_pictures() -> list[bytes]:
    """Return scikit-learn's sample photos in several shapes, encoded as JPEG and PNG."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(photo) for photo in load_sample_images().images)
    transparent = flower.convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(transparent.size))
    tall, tiny = china.crop((200, 0, 380, 427)), flower.resize((90, 61))
    samples = [
        *((photo, "JPEG") for photo in (china, flower, tall, tiny)),
        *((photo, "PNG") for photo in (china.convert("L"), tall, transparent)),
    ]
    encoded = []
    for photo, format_ in samples:
        buffer = io.BytesIO()
        photo.save(buffer, format_)
        encoded.append(buffer.getvalue())
    return encoded


@lru_cache(1)
def load_sample_squares(size: int) -> NDArray[np.uint8]:
    """Return the sample photos padded and resized to squares, uint8 (n, size, size, 3)."""
    return np.stack([square_picture(encoded, size) for encoded in load_sample_pictures()])
