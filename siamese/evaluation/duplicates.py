"""Find duplicate pictures, which inflate every metric."""

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
"""Pictures whose embeddings are less similar than this are not compared."""
THUMBNAIL_SIZE = 16
"""Side length in pixels of the thumbnails that are compared."""
MAX_DIFFERENCE = 32
"""Largest difference, of 255, between two values of duplicates' thumbnails.

The thumbnails of photos and emoji that were saved again, as JPEG of quality 50 or at half the
size, differed by up to 26; those of different pictures by at least 72.
"""


class Duplicate(NamedTuple):
    """Row of a query, and row of the gallery picture that it duplicates.

    `same_bytes` is False if one file was saved again, or at another size.
    """

    query: int
    gallery: int
    same_bytes: bool


def find_duplicates(
    queries: Sequence[File], gallery: Sequence[File], cosines: NDArray[Any], rows: NDArray[Any]
) -> list[Duplicate]:
    """Find the nearest duplicate of each query that has one in the gallery.

    Two pictures are duplicates if no value of their thumbnails differs by more than
    `MAX_DIFFERENCE`. Only pictures with similar embeddings are opened.

    `cosines` and `rows` list the nearest pictures of each query without its own, as
    `siamese.vectors.nearest.nearest` returns them.
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
    except PictureError:  # deleted since it was embedded
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
