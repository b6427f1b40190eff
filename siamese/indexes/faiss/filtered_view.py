"""Views of a FAISS index that restrict searches to the vectors selected by a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.indexes.faiss.vectors import is_graph, select, storage_of

if TYPE_CHECKING:
    import faiss

COPIED_SHARE = 0.1
"""Largest fraction of a graph's vectors that a view copies, in order to search them faster."""


class FilteredView:
    """View of a FAISS index that finds only the vectors selected by `mask`.

    `is_filtered` is True if a label filter applies, and False if only removed pictures are masked
    out. A filtered search compares all selected vectors, because a graph search stays near the
    query and misses selected vectors far away: in 2,000 grocery photos, filtered by the labels
    of apples and bananas, a graph's recall was 0.70.
    """

    def __init__(
        self, index: faiss.Index, mask: NDArray[np.bool_], ef_search: int, *, is_filtered: bool
    ) -> None:
        import faiss

        self.count = int(mask.sum())
        self._index = index
        self._total = len(mask)
        self._ef_search = ef_search
        self._is_filtered = is_filtered
        self._copy: Any = None
        self._selector: Any = None
        if self.count == self._total:
            return
        if not is_graph(index) or self.count <= COPIED_SHARE * self._total:
            self._rows = np.flatnonzero(mask)
            self._copy = select(index, self._rows)
        else:
            self._bits = np.packbits(mask, bitorder="little")  # the selector keeps a pointer to it
            self._selector = faiss.IDSelectorBitmap(self._bits)

    def search(
        self, X: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return ascending squared distances and rows of the k nearest vectors (k ≤ `count`)."""
        import faiss

        if not (len(X) and k):
            return np.empty((len(X), k), np.float32), np.empty((len(X), k), np.intp)
        if self._copy is not None:
            distances, rows = self._copy.search(X, k)
            return distances, self._rows[rows]
        if not is_graph(self._index):
            return self._index.search(X, k)
        if self._is_filtered or k > COPIED_SHARE * self._total:
            return self._compare_all(X, k)
        # Enough candidates that, on average, `ef_search` of them have not been removed.
        ef_search = max(self._ef_search * self._total // self.count, 2 * k)
        parameters = faiss.SearchParametersHNSW(efSearch=ef_search, sel=self._selector)
        distances, rows = self._index.search(X, k, params=parameters)
        incomplete = rows[:, -1] < 0  # many equal vectors can disconnect a graph
        if incomplete.any():
            distances[incomplete], rows[incomplete] = self._compare_all(X[incomplete], k)
        return distances, rows

    def _compare_all(
        self, X: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        import faiss

        parameters = faiss.SearchParameters(sel=self._selector)
        return storage_of(self._index).search(X, k, params=parameters)
