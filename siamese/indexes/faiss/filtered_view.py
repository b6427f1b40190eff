"""The vectors that one search may find: all of them, or those that a filter keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.indexes.faiss import vectors as faiss_vectors

if TYPE_CHECKING:
    import faiss

FEW = 0.1
"""Up to this share of the vectors, those that a filter keeps are copied, so that comparing with all
of them need not pass by the others."""


class Part:
    """Some of the vectors of an index, searched in the way that suits them.

    Those that a filter keeps are all compared. A graph is followed from what is near the query to
    what is nearer, and what a filter keeps may be elsewhere: of 2,000 photos of groceries, asked
    with any of them for the nearest apples and bananas, it found 70 % of the right ones.

    Parameters
    ----------
    index : see `siamese.indexes.faiss.vectors.build`
    mask : bool (n,), which of its vectors may be found
    effort : see `siamese.indexes.faiss.vectors.Found`
    filtered : whether it is a filter that leaves the others out; else they were removed

    Attributes
    ----------
    count : how many they are
    """

    def __init__(
        self, index: faiss.Index, mask: NDArray[np.bool_], effort: int, *, filtered: bool
    ) -> None:
        import faiss

        self.count = int(mask.sum())
        self._index = index
        self._total = len(mask)
        self._effort = effort
        self._filtered = filtered
        self._only: Any = None
        self._copy: Any = None
        if self.count < self._total:
            if not faiss_vectors.is_graph(index) or self.count <= FEW * self._total:
                self._rows = np.flatnonzero(mask)
                self._copy = faiss_vectors.some_of(index, self._rows)
            else:
                self._bits = np.packbits(mask, bitorder="little")
                self._only = faiss.IDSelectorBitmap(self._bits)

    def nearest(
        self, X: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Find the k nearest, k being at most `count`.

        Returns
        -------
        distances : float32 (n, k), squared, ascending in each row
        rows : int (n, k)
        """
        import faiss

        if not (len(X) and k):
            return np.empty((len(X), k), np.float32), np.empty((len(X), k), np.intp)
        if self._copy is not None:
            distances, rows = self._copy.search(X, k)
            return distances, self._rows[rows]
        if not faiss_vectors.is_graph(self._index):
            return self._index.search(X, k)
        if self._filtered or k > FEW * self._total:
            return self._compared(X, k)
        # Where some were removed, so many more are looked at that as many as before count.
        effort = max(self._effort * self._total // self.count, 2 * k)
        asked = faiss.SearchParametersHNSW(efSearch=effort, sel=self._only)
        distances, rows = self._index.search(X, k, params=asked)
        (short,) = np.nonzero(rows[:, -1] < 0)  # a group of equal vectors can cut a graph in two
        if len(short):
            distances[short], rows[short] = self._compared(X[short], k)
        return distances, rows

    def _compared(
        self, X: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """By comparing with all."""
        import faiss

        store = faiss_vectors.store_of(self._index)
        return store.search(X, k, params=faiss.SearchParameters(sel=self._only))
