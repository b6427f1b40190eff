"""Detection of duplicate pictures, which inflate every metric."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import PictureError, square_picture
from siamese.data.remote_files import File
from siamese.utils.threads import map_in_threads

MIN_COSINE = 0.9
"""Minimum cosine similarity of two embeddings for their pictures to be compared."""
THUMBNAIL_SIZE = 16
"""Side length, in pixels, of the thumbnails that are compared."""
MAX_DIFFERENCE = 32
"""Maximum difference between corresponding values (0 to 255) of two duplicates' thumbnails.

When photos and emoji were saved again, as JPEG of quality 50 or at half the size, their thumbnails
changed by up to 26. The thumbnails of different pictures differed by at least 72.
"""


class Duplicate(NamedTuple):
    """Row of a query, and row of the gallery picture that it duplicates.

    `same_bytes` is True if the two files are identical, False if one was re-encoded or resized.
    """

    query: int
    gallery: int
    same_bytes: bool


def find_duplicates(
    queries: Sequence[File], gallery: Sequence[File], cosines: NDArray[Any], rows: NDArray[Any]
) -> list[Duplicate]:
    """Find each query's nearest duplicate in the gallery; leave out queries without duplicates.

    Two pictures are duplicates if corresponding values of their thumbnails differ by at most
    `MAX_DIFFERENCE`. Only pictures with similar embeddings are opened.

    `cosines` and `rows` hold each query's nearest pictures, excluding the query itself, as returned
    by `siamese.vectors.nearest.nearest`.
    """
    pairs = [
        (int(query), int(rows[query, rank])) for query, rank in np.argwhere(cosines >= MIN_COSINE)
    ]
    files = {file: None for query, row in pairs for file in (queries[query], gallery[row])}
    with closing(map_in_threads(_make_thumbnail, list(files), ahead=64)) as results:
        thumbnails = dict(zip(files, results, strict=True))
    duplicates: dict[int, Duplicate] = {}
    for query, row in pairs:
        a, b = queries[query], gallery[row]
        if query not in duplicates and _is_same_picture(thumbnails[a], thumbnails[b]):
            duplicates[query] = Duplicate(query, row, _has_same_bytes(a, b))
    return list(duplicates.values())


def _make_thumbnail(path: File) -> NDArray[np.uint8] | None:
    try:
        return square_picture(path, THUMBNAIL_SIZE)
    except PictureError:  # for example, deleted since it was embedded
        return None


def _is_same_picture(a: NDArray[np.uint8] | None, b: NDArray[np.uint8] | None) -> bool:
    if a is None or b is None:
        return False
    return int(np.abs(a.astype(np.int16) - b).max()) <= MAX_DIFFERENCE


def _has_same_bytes(a: File, b: File) -> bool:
    try:
        return a.read_bytes() == b.read_bytes()
    except OSError:
        return False
