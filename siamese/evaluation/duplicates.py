"""Find duplicate pictures, which inflate every metric."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

Photos and emoji saved again as JPEG of quality 50, or at half the size, differed by up to 26 in
their most different pixel; different pictures by at least 72.
"""


@dataclass(frozen=True)
class Duplicate:
    """A query and the gallery picture that it duplicates.

    Attributes
    ----------
    query, gallery : int
        Their rows.
    same_bytes : bool
        True if the two files are equal; False if one was saved again, or at another size.
    """

    query: int
    gallery: int
    same_bytes: bool


def find_duplicates(
    queries: Sequence[File],
    gallery: Sequence[File],
    cosines: NDArray[np.float32],
    rows: NDArray[Any],
) -> list[Duplicate]:
    """Find the queries that have a duplicate in the gallery.

    Only pictures with similar embeddings are opened. Two pictures are duplicates if no value of
    their thumbnails differs by more than `MAX_DIFFERENCE`.

    Parameters
    ----------
    queries : sequence of File, length n_queries
        Files of the queries.
    gallery : sequence of File, length n_gallery
        Files of the gallery.
    cosines, rows : float32 and int arrays of shape (n_queries, k)
        Nearest pictures of each query without its own, from `siamese.vectors.nearest.nearest`.

    Returns
    -------
    list of Duplicate
        At most one per query: its nearest duplicate.
    """
    pairs = [
        (int(query), int(rows[query, rank])) for query, rank in np.argwhere(cosines >= MIN_COSINE)
    ]
    paths = list(
        dict.fromkeys(path for query, row in pairs for path in (queries[query], gallery[row]))
    )
    with closing(map_in_threads(_make_thumbnail, paths, ahead=64)) as results:
        thumbnails = dict(zip(paths, results, strict=True))
    duplicates: dict[int, Duplicate] = {}
    for query, row in pairs:
        if query in duplicates:
            continue
        files = queries[query], gallery[row]
        if _is_same_picture(thumbnails[files[0]], thumbnails[files[1]]):
            duplicates[query] = Duplicate(query, row, _has_same_bytes(*files))
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
        if isinstance(a, Path) and isinstance(b, Path):
            return filecmp.cmp(a, b, shallow=False)
        return a.read_bytes() == b.read_bytes()
    except OSError:
        return False
