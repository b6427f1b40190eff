"""Pictures that are in the gallery twice: found at once, they make every figure too good."""

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
from siamese.utils.threads import in_threads

ALIKE = 0.9
"""Cosine of two embeddings from which on their pictures are compared."""
SIDE = 16
"""Pixels of a side of the small pictures that are compared."""
MOST_DIFFERENT = 32
"""Of 255, between two values of one small pixel. Of photos and emoji saved again as JPEG of quality
50, or of half the size, the most different pixel differed by up to 26; of different ones by 72 or
more."""


@dataclass(frozen=True)
class Duplicate:
    """A query and a picture of the gallery that is the same, by their rows.

    Attributes
    ----------
    same_bytes : the files are equal; otherwise they only look so, saved again or at another size
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
    """Find the queries that have a duplicate in the gallery; of each, the nearest.

    Only pictures that embed alike are opened. Two are the same when no value of one, made small,
    differs by more than `MOST_DIFFERENT`; files of equal bytes are told apart from others.

    Parameters
    ----------
    queries, gallery : the files
    cosines, rows : (n, k), the nearest pictures of each query, as `siamese.vectors.nearest.nearest`
        finds them without the query's own
    """
    near = [(int(query), int(rows[query, place])) for query, place in np.argwhere(cosines >= ALIKE)]
    paths = list(
        dict.fromkeys(path for one, other in near for path in (queries[one], gallery[other]))
    )
    with closing(in_threads(_small, paths, ahead=64)) as found:
        small = dict(zip(paths, found, strict=True))
    done: dict[int, Duplicate] = {}
    for one, other in near:
        if one in done:
            continue
        files = queries[one], gallery[other]
        if _same_picture(small[files[0]], small[files[1]]):
            done[one] = Duplicate(one, other, _same_bytes(*files))
    return list(done.values())


def _small(path: File) -> NDArray[np.uint8] | None:
    try:
        return square_picture(path, SIDE)
    except PictureError:  # it was there when it was embedded
        return None


def _same_picture(one: NDArray[np.uint8] | None, other: NDArray[np.uint8] | None) -> bool:
    if one is None or other is None:
        return False
    return int(np.abs(one.astype(np.int16) - other).max()) <= MOST_DIFFERENT


def _same_bytes(one: File, other: File) -> bool:
    try:
        if isinstance(one, Path) and isinstance(other, Path):
            return filecmp.cmp(one, other, shallow=False)
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False
