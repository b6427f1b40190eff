"""A better order at search time: from the vectors that are there, with no training.

Each method is a small object with its settings and one way to be asked, `Reranker`. What they
compute stands beside them as plain functions of arrays.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, Index, LabelFilter
from siamese.search.reranking.expansion import Expansion
from siamese.search.reranking.item_order import ItemOrder, item_order
from siamese.search.reranking.reciprocal import Reciprocal, reciprocal_distances


class Reranker(Protocol):
    """How the pictures of an index are put in order for a query."""

    def rank(
        self,
        index: Index,
        queries: NDArray[np.floating],
        k: int,
        labels: LabelFilter = EVERYTHING,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Put the pictures in order.

        Parameters
        ----------
        index : what is searched
        queries : (n, d), of length 1
        k : how many; as many as there are, where there are fewer
        labels : which pictures count

        Returns
        -------
        scores : float64 (n, k), ascending in each row; what they are is the method's own
        rows : int (n, k), of the index
        """


class Nearest:
    """By Euclidean distance, as the index finds them."""

    def rank(
        self,
        index: Index,
        queries: NDArray[np.floating],
        k: int,
        labels: LabelFilter = EVERYTHING,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """See `Reranker`; the scores are the distances."""
        return index.query(queries, k, labels)


RERANKERS: dict[str, type[Nearest] | type[Expansion] | type[Reciprocal]] = {
    "none": Nearest,
    "expansion": Expansion,
    "reciprocal": Reciprocal,
}
"""By the names that `siamese search --rerank` takes."""


def get_reranker(given: Reranker | str | None) -> Reranker:
    """Return the ranking itself, the one of that name with its default settings, or the nearest.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if given is None:
        return Nearest()
    if not isinstance(given, str):
        return given
    if given not in RERANKERS:
        raise InputError(f"rerank is {given!r}; there are {', '.join(RERANKERS)}")
    return RERANKERS[given]()


__all__ = [
    "RERANKERS",
    "Expansion",
    "ItemOrder",
    "Nearest",
    "Reciprocal",
    "Reranker",
    "get_reranker",
    "item_order",
    "reciprocal_distances",
]
