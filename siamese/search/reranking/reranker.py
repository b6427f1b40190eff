"""The interface of rerankers, and their names on the command line.

A reranker is a small object with its settings and one method, `rank`. The computation is a plain
function of arrays in the same module.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, Index, LabelFilter
from siamese.search.reranking.expansion import Expansion
from siamese.search.reranking.reciprocal import Reciprocal


class Reranker(Protocol):
    """Puts the pictures of an index in order for a query."""

    def rank(
        self,
        index: Index,
        queries: NDArray[np.floating],
        k: int,
        labels: LabelFilter = EVERYTHING,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Rank the pictures of an index for each query.

        Parameters
        ----------
        index : Index
            Index to search.
        queries : ndarray of float, shape (n, d)
            Query vectors of length 1.
        k : int
            Number of pictures; fewer if the index has fewer.
        labels : LabelFilter, default=EVERYTHING
            Pictures to consider, by their labels.

        Returns
        -------
        scores : ndarray of float64, shape (n, k)
            Ascending in each row. Their meaning depends on the reranker.
        rows : ndarray of int, shape (n, k)
            Rows of the index.
        """


class Nearest:
    """Rank by Euclidean distance, as the index does."""

    def rank(
        self,
        index: Index,
        queries: NDArray[np.floating],
        k: int,
        labels: LabelFilter = EVERYTHING,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Rank the pictures, see `Reranker.rank`; the scores are the distances."""
        return index.query(queries, k, labels)


RERANKERS: dict[str, type[Nearest] | type[Expansion] | type[Reciprocal]] = {
    "none": Nearest,
    "expansion": Expansion,
    "reciprocal": Reciprocal,
}
"""Rerankers by their names in `siamese search --rerank`."""


def get_reranker(identifier: Reranker | str | None) -> Reranker:
    """Return a reranker from its name.

    Parameters
    ----------
    identifier : Reranker, str or None
        A reranker is returned unchanged. A name gives one with its default settings, see
        `RERANKERS`. None is `Nearest`.

    Returns
    -------
    Reranker

    Raises
    ------
    InputError
        If no reranker has this name.

    Examples
    --------
    >>> get_reranker("expansion")
    Expansion(neighbours=2, alpha=5.0)
    """
    if identifier is None:
        return Nearest()
    if not isinstance(identifier, str):
        return identifier
    if identifier not in RERANKERS:
        raise InputError(f"rerank is {identifier!r}; choose one of {', '.join(RERANKERS)}")
    return RERANKERS[identifier]()
