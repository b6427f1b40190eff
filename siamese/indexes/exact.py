"""Exact nearest neighbours among some rows, by comparing with all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS = 2**24
"""Most distances that are held at once: 128 MB."""


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
    if not k:
        return distances, found
    candidates = data[rows].astype(np.float64, copy=False)
    block = max(1, CELLS // len(rows))
    for start in range(0, len(X), block):
        some = slice(start, start + block)
        opposite = -(X[some].astype(np.float64) @ candidates.T)
        near = np.argpartition(opposite, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(opposite, near, axis=1)
        order = np.lexsort((near, values), axis=1)
        near = np.take_along_axis(near, order, axis=1)
        found[some] = rows[near]
        distances[some] = np.sqrt(np.maximum(2 + 2 * np.take_along_axis(values, order, axis=1), 0))
    return distances, found
