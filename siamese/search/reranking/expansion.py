"""Query expansion: search again with the mean of the query and its nearest pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, Index, LabelFilter
from siamese.indexes.gallery_augmentation import expand_query


@dataclass(frozen=True)
class Expansion:
    """Search, move the query towards the nearest pictures, and search again.

    Parameters
    ----------
    neighbours : int, default=2
        Number of nearest pictures to move the query towards.
    alpha : float, default=5
        See `siamese.indexes.gallery_augmentation.expand_query`.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    neighbours: int = 2
    alpha: float = 5.0

    def __post_init__(self) -> None:
        if self.neighbours < 1 or not 0 <= self.alpha < np.inf:
            raise InputError(f"{self}: neighbours must be at least 1, alpha at least 0")

    def rank(
        self,
        index: Index,
        queries: NDArray[np.floating],
        k: int,
        labels: LabelFilter = EVERYTHING,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Rank the pictures, see `siamese.search.reranking.reranker.Reranker.rank`.

        The scores are the distances to the expanded query.
        """
        _, nearest_rows = index.query(queries, self.neighbours, labels)
        expanded = [
            expand_query(query, index.vectors(rows), self.alpha)
            for query, rows in zip(queries, nearest_rows, strict=True)
        ]
        return index.query(np.reshape(expanded, np.shape(queries)), k, labels)
