"""Compare two ways to compute a vector from a picture, on sample photos."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MIN_COSINE = 0.999
"""Two ways agree if the cosine between their vectors is at least this, for every picture."""


def min_cosine(vectors: np.ndarray, others: np.ndarray) -> float:
    """Compute the smallest cosine between corresponding rows.

    Parameters
    ----------
    vectors, others : ndarray of float32, shape (n, d)

    Returns
    -------
    float
        NaN if any cosine is.

    Examples
    --------
    >>> min_cosine(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 0.0], [1.0, 0.0]]))
    0.0
    """
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    return float((np.sum(vectors * others, axis=1) / lengths).min())


def load_sample_pictures() -> list[bytes]:
    """Return scikit-learn's sample photos, encoded in shapes and formats where ways may differ."""
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
    return [_encode(photo, format_) for photo, format_ in samples]


def _encode(picture: Image.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_)
    return buffer.getvalue()
