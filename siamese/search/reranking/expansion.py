"""Query expansion: what is found for a query says more about it than the query alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, Index, LabelFilter
from siamese.indexes.gallery_augmentation import expand_query


@dataclass(frozen=True)
class Expansion:
    """Search once, move the query towards what was found, and search again.

    Attributes
    ----------
    neighbours : how many of the nearest pictures the query is moved towards
    alpha : see `expand_query`
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
        """See `Ranking`; the scores are the distances from the expanded query."""
        _, rows = index.query(queries, self.neighbours, labels)
        moved = [
            expand_query(query, index.vectors(near), self.alpha)
            for query, near in zip(queries, rows, strict=True)
        ]
        return index.query(np.reshape(moved, np.shape(queries)), k, labels)
