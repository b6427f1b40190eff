"""Exact nearest neighbours: compare every query with the whole gallery, in blocks."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from siamese.utils.threads import count_cores, map_in_threads
from siamese.vectors.unit_vectors import UnitVectors, recompute_exactly

QUERY_ROWS = 512
GALLERY_ROWS = 8192
"""Shape of one matrix product: 16 MB of float32 cosines per thread."""


def nearest(
    queries: UnitVectors, gallery: UnitVectors, k: int, *, own: NDArray[Any] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Find the k nearest vectors of a gallery for each query, by cosine.

    Equal vectors of the gallery have exactly equal cosines, and equal cosines are sorted by row.

    Parameters
    ----------
    queries, gallery : UnitVectors of shape (n, d) and (m, d)
    k : int
    own : int array of shape (n,), optional
        For each query, the row of the gallery to leave out, or -1.

    Returns
    -------
    cosines : float32 array of shape (n, k)
        In descending order; -inf if the gallery has fewer vectors.
    rows : int array of shape (n, k)
        Rows of the gallery; -1 if it has fewer.

    See Also
    --------
    nearest_by_distance

    Examples
    --------
    >>> vectors = UnitVectors([[1, 0], [0, 1], [1, 1]], "vectors")
    >>> cosines, rows = nearest(vectors, vectors, 1, own=np.arange(3))
    >>> rows.tolist()
    [[2], [2], [0]]
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if own is None:
        own = np.full(len(queries), -1)
    first = gallery.first_equal()
    is_repeated = np.bincount(first, minlength=len(gallery))[first] > 1
    twin = np.where(is_repeated, first, -1)

    gallery_rows = np.arange(len(gallery))

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
            top.add(cosines, gallery_rows[part])
        return top

    starts = range(0, len(queries), QUERY_ROWS)
    with (
        # Each product uses one thread, so that the steps between products run in parallel too.
        threadpool_limits(1, "blas"),
        closing(map_in_threads(search_block, starts, ahead=2 * count_cores())) as blocks,
    ):
        tops = list(blocks)
    return np.concatenate([top.cosines for top in tops]), np.concatenate([top.rows for top in tops])


def nearest_by_distance(
    X: NDArray[np.floating],
    vectors: NDArray[np.floating],
    k: int,
    rows: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the k nearest of some vectors for each query, by Euclidean distance.

    For vectors of length 1, ``distance² = 2 - 2 · cosine``, computed in the precision of the
    queries. Equal distances are sorted by row.

    Parameters
    ----------
    X : array of shape (n, d)
        Queries of length 1.
    vectors : array of shape (m, d)
        Vectors of length 1; it may be memory-mapped.
    k : int
    rows : int array, optional
        The rows of `vectors` to search, in ascending order; all by default.

    Returns
    -------
    distances : float64 array of shape (n, min(k, len(rows)))
        In ascending order.
    rows : int array of the same shape

    See Also
    --------
    nearest : Searches vectors of any length, in several threads, without rounding between ties.

    Examples
    --------
    >>> distances, rows = nearest_by_distance(np.eye(2)[:1], np.eye(2), k=2)
    >>> rows.tolist(), distances.round(3).tolist()
    ([[0, 1]], [[0.0, 1.414]])
    """
    labels = np.arange(len(vectors)) if rows is None else rows
    k = min(k, len(labels))
    distances, found = np.empty((len(X), k)), np.empty((len(X), k), np.intp)
    if not k:
        return distances, found
    step = max(GALLERY_ROWS, k)
    for block in query_blocks(len(X), k):
        top = TopK(len(X[block]), k, X.dtype)
        for begin in range(0, len(labels), step):
            part = labels[begin : begin + step]
            # A slice reads a memory-mapped file without a copy.
            some = vectors[begin : begin + step] if rows is None else vectors[part]
            top.add(X[block] @ some.astype(X.dtype, copy=False).T, part)
        distances[block], found[block] = top.distances(), top.rows
    return distances, found


def query_blocks(count: int, k: int) -> list[slice]:
    """Divide queries into blocks whose matrix products stay as small as for a small k."""
    size = max(1, QUERY_ROWS * GALLERY_ROWS // max(GALLERY_ROWS, k))
    return [slice(start, start + size) for start in range(0, count, size)]


class TopK:
    """The k nearest rows of a gallery whose cosines are given in parts.

    Parameters
    ----------
    count : int
        Number of queries.
    k : int
    dtype : dtype, default float32
        Type of the cosines.

    Attributes
    ----------
    cosines : array of shape (count, k)
        The highest cosines so far, in descending order; -inf for missing ones.
    rows : int array of shape (count, k)
        Their rows, ascending for equal cosines; -1 for missing ones.
    """

    def __init__(self, count: int, k: int, dtype: DTypeLike = np.float32) -> None:
        self.cosines = np.full((count, k), -np.inf, dtype)
        self.rows = np.full((count, k), -1)
        self._is_empty = True

    def add(self, similar: NDArray[Any], rows: NDArray[np.intp]) -> None:
        """Add the cosines to a part of the gallery.

        Parameters
        ----------
        similar : array of shape (count, m)
        rows : int array of shape (m,)
            The rows of the part, ascending and above those of earlier parts.
        """
        count, k = self.cosines.shape
        if self._is_empty:
            low = np.partition(similar, -min(k, len(rows)), axis=1)[:, -min(k, len(rows))]
            self._is_empty = False
        else:  # a later row must be nearer than the k-th so far
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
        """Return the Euclidean distances, a float64 array of shape (count, k)."""
        return np.sqrt(np.maximum(2 - 2 * self.cosines.astype(np.float64), 0))
