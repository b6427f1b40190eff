"""The nearest pictures of every query: exact, in blocks."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siamese.utils.threads import cores, in_threads
from siamese.vectors.unit_vectors import UnitVectors, recompute_exactly

QUERY_ROWS = 512
GALLERY_ROWS = 8192
"""Of one matrix product: 16 MB of similarities a thread."""


def nearest(
    queries: UnitVectors, gallery: UnitVectors, own: NDArray[Any], k: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Find the k nearest pictures of each query by cosine; equal ones in the order of their rows.

    Parameters
    ----------
    queries, gallery : (n, d) and (m, d)
    own : int (n,), the row of the gallery that each query leaves out, or -1

    Returns
    -------
    cosines : float32 (n, k), the highest first; -inf where the gallery has fewer
    rows : int (n, k), of the gallery; -1 where it has fewer
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    first = gallery.first_equal()
    repeated = np.bincount(first, minlength=len(gallery))[first] > 1
    twin = np.where(repeated, first, -1)

    def of_block(start: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        rows = slice(start, start + QUERY_ROWS)
        ours, left_out = queries.take(rows), own[rows]
        cosines = np.full((len(ours), k), -np.inf, np.float32)
        found = np.full((len(ours), k), -1)
        for begin in range(0, len(gallery), GALLERY_ROWS):
            there = slice(begin, begin + GALLERY_ROWS)
            similar = ours @ gallery.take(there).T
            recompute_exactly(similar, ours, gallery, twin[there])
            (with_own,) = np.nonzero((begin <= left_out) & (left_out < begin + similar.shape[1]))
            similar[with_own, left_out[with_own] - begin] = -np.inf
            _merge_topk(cosines, found, similar, begin)
        return cosines, found

    starts = range(0, len(queries), QUERY_ROWS)
    with (
        threadpool_limits(1, "blas"),  # as in `siamese.evaluation.relevant_ranks`
        closing(in_threads(of_block, starts, ahead=2 * cores())) as blocks,
    ):
        parts = list(blocks)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _merge_topk(
    cosines: NDArray[np.float32],
    rows: NDArray[np.intp],
    similar: NDArray[np.float32],
    begin: int,
) -> None:
    """Merge the columns of `similar`, the gallery rows from `begin` on, into the nearest so far."""
    count, k = cosines.shape
    # Later rows must be nearer than the last one so far, or, with the first ones, than all but k.
    low = np.nextafter(cosines[:, -1], np.float32(np.inf))
    if begin == 0:
        low = np.partition(similar, -min(k, similar.shape[1]), axis=1)
        low = low[:, -min(k, similar.shape[1])]
    (found,) = np.nonzero((similar >= low[:, None]).ravel())
    query, column = np.divmod(found, similar.shape[1])
    query = np.concatenate([np.repeat(np.arange(count), k), query])
    values = np.concatenate([cosines.ravel(), similar.ravel()[found]])
    where = np.concatenate([rows.ravel(), begin + column])
    where[np.isneginf(values)] = -1
    order = np.lexsort((where, -values, query))
    first = np.searchsorted(query[order], np.arange(count))
    taken = order[first[:, None] + np.arange(k)]
    cosines[:], rows[:] = values[taken].reshape(count, k), where[taken].reshape(count, k)
