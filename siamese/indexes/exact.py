"""Exact nearest neighbours among some rows, by comparing with all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUERIES, ROWS = 256, 2**14
"""Compared at once: so much is copied of the rows, and 32 MB of distances are held."""


def nearest_of(
    X: NDArray[np.floating], data: NDArray[np.floating], rows: NDArray[np.intp], k: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the nearest of some rows, by ``distance² = 2 - 2 · cosine``.

    Parameters
    ----------
    X : (n, d), of length 1
    data : (m, d), of length 1
    rows : int, those of `data` to compare with, ascending
    k : how many; as many as there are rows, where there are fewer

    Returns
    -------
    distances : float64 (n, k), ascending in each row
    rows : int (n, k)
    """
    k = min(k, len(rows))
    distances, found = np.empty((len(X), k)), np.empty((len(X), k), np.intp)
    for start in range(0, len(X) if k else 0, QUERIES):
        some = X[start : start + QUERIES].astype(np.float64)
        values, near = np.empty((len(some), 0)), np.empty((len(some), 0), np.intp)
        for first in range(0, len(rows), ROWS):
            there = rows[first : first + ROWS]
            block = data[there].astype(np.float64, copy=False)
            values = np.concatenate([values, -(some @ block.T)], axis=1)
            near = np.concatenate([near, np.broadcast_to(there, (len(some), len(there)))], axis=1)
            if near.shape[1] > k:
                nearest = np.argpartition(values, k - 1, axis=1)[:, :k]
                values = np.take_along_axis(values, nearest, axis=1)
                near = np.take_along_axis(near, nearest, axis=1)
        order = np.lexsort((near, values), axis=1)
        found[start : start + QUERIES] = np.take_along_axis(near, order, axis=1)
        opposite = np.take_along_axis(values, order, axis=1)  # of the cosine
        distances[start : start + QUERIES] = np.sqrt(np.maximum(2 + 2 * opposite, 0))
    return distances, found
