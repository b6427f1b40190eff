"""Exact nearest-neighbour search: each query is compared with the whole gallery, in blocks."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from siamese.utils.threads import count_cores, map_in_threads
from siamese.vectors.unit_vectors import UnitVectors, recompute_exactly

Floats = NDArray[np.floating]
Rows = NDArray[np.intp]

QUERY_ROWS = 512
GALLERY_ROWS = 8192
"""Shape of a full block of cosines: 16 MB of float32 per thread."""


def nearest(
    queries: UnitVectors, gallery: UnitVectors, k: int, *, own: NDArray[Any] | None = None
) -> tuple[NDArray[np.float32], Rows]:
    """Find the k vectors of the gallery with the highest cosine to each of n queries.

    Return the cosines (n, k), in descending order, and the gallery rows (n, k); ties are sorted by
    row, and equal gallery vectors always tie. If fewer than k vectors are found, pad with -inf and
    -1. `own` (n,) gives one gallery row to exclude from each query's results; -1 excludes none.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if own is None:
        own = np.full(len(queries), -1)
    first = gallery.first_equal()
    is_repeated = np.bincount(first, minlength=len(gallery))[first] > 1
    twin = np.where(is_repeated, first, -1)

    def search_block(start: int) -> TopK:
        block = queries.take(slice(start, start + QUERY_ROWS))
        left_out = own[start : start + QUERY_ROWS]
        top = TopK(len(block), k)
        for begin in range(0, len(gallery), GALLERY_ROWS):
            part = slice(begin, begin + GALLERY_ROWS)
            cosines = block @ gallery.take(part).T
            recompute_exactly(cosines, block, gallery, twin[part])
            column = left_out - begin
            (query,) = np.nonzero((column >= 0) & (column < cosines.shape[1]))
            cosines[query, column[query]] = -np.inf
            top.add(cosines, np.arange(begin, begin + cosines.shape[1]))
        return top

    starts = range(0, len(queries), QUERY_ROWS)
    with (
        # Parallelise over blocks of queries, not inside BLAS, so that all steps run in parallel.
        threadpool_limits(1, "blas"),
        closing(map_in_threads(search_block, starts, ahead=2 * count_cores())) as blocks,
    ):
        tops = list(blocks)
    return np.concatenate([top.cosines for top in tops]), np.concatenate([top.rows for top in tops])


def nearest_by_distance(
    X: Floats, vectors: Floats, k: int, rows: Rows | None = None
) -> tuple[NDArray[np.float64], Rows]:
    """Find the k nearest vectors to each query, by Euclidean distance; all must be unit vectors.

    Return the distances, in ascending order, and the rows of `vectors`; ties are sorted by row.
    `rows` (ascending) restricts the search to these rows. The distance is √(2 - 2 · cosine), with
    cosines computed in the precision of the queries X.
    """
    labels = np.arange(len(vectors)) if rows is None else rows
    k = min(k, len(labels))
    distances, found = np.empty((len(X), k)), np.empty((len(X), k), np.intp)
    step = max(GALLERY_ROWS, k)
    for block in query_blocks(len(X), k):
        top = TopK(len(X[block]), k, X.dtype)
        for begin in range(0, len(labels), step):
            part = labels[begin : begin + step]
            # Use a slice if possible: unlike an index array, it does not copy the vectors.
            some = vectors[begin : begin + step] if rows is None else vectors[part]
            top.add(X[block] @ some.astype(X.dtype, copy=False).T, part)
        distances[block], found[block] = top.distances(), top.rows
    return distances, found


def query_blocks(count: int, k: int) -> list[slice]:
    """Split the queries into blocks; a large k makes blocks smaller, to limit memory use."""
    size = max(1, QUERY_ROWS * GALLERY_ROWS // max(GALLERY_ROWS, k))
    return [slice(start, start + size) for start in range(0, count, size)]


class TopK:
    """Highest k cosines of each query and their gallery rows, updated one gallery part at a time.

    `cosines` (count, k) is in descending order, padded with -inf, and `rows` (count, k) with -1.
    """

    def __init__(self, count: int, k: int, dtype: DTypeLike = np.float32) -> None:
        self.cosines = np.full((count, k), -np.inf, dtype)
        self.rows = np.full((count, k), -1)
        self._is_empty = True

    def add(self, similar: NDArray[Any], rows: Rows) -> None:
        """Add cosines (count, m) with m gallery rows; `rows` must ascend, also across calls."""
        count, k = self.cosines.shape
        if self._is_empty:
            place = -min(k, len(rows))
            low = np.partition(similar, place, axis=1)[:, place]
            self._is_empty = False
        else:  # on a tie with the k-th cosine, the earlier row stays
            low = np.nextafter(self.cosines[:, -1], similar.dtype.type(np.inf))
        (candidates,) = np.nonzero((similar >= low[:, None]).ravel())
        if not len(candidates):
            return
        query, column = np.divmod(candidates, len(rows))
        query = np.concatenate([np.repeat(np.arange(count), k), query])
        values = np.concatenate([self.cosines.ravel(), similar.ravel()[candidates]])
        labels = np.concatenate([self.rows.ravel(), rows[column]])
        labels[np.isneginf(values)] = -1
        order = np.lexsort((labels, -values, query))
        first = np.searchsorted(query[order], np.arange(count))
        best = order[first[:, None] + np.arange(k)]
        self.cosines, self.rows = values[best], labels[best]

    def distances(self) -> NDArray[np.float64]:
        """Return the Euclidean distances that correspond to the cosines."""
        return np.sqrt(np.maximum(2 - 2 * self.cosines.astype(np.float64), 0))
