"""Rank the pictures, or the items, of an index for query vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import Index, LabelFilter
from siamese.search.reranking.item_order import rank_items
from siamese.search.reranking.reranker import Nearest, Reranker

BY_ITEM = {"best": 1, "mean": 3}
"""How many of an item's best pictures count, for each value of `by_item`."""


class Ranking(NamedTuple):
    """The ranking for one query, best first.

    Attributes
    ----------
    distances : ndarray of float64, shape (m,)
        Euclidean distance of each picture to the query, whatever ranked them.
    rows : ndarray of int, shape (m,)
        Rows of the index.
    """

    distances: NDArray[np.float64]
    rows: NDArray[np.intp]

    def select(self, selection: NDArray[Any] | slice) -> Ranking:
        """Return the pictures that a mask or a slice selects."""
        return Ranking(self.distances[selection], self.rows[selection])

    @property
    def nearest(self) -> float:
        """Smallest distance in the ranking; infinite if it is empty."""
        return float(self.distances.min(initial=np.inf))


@dataclass(frozen=True)
class Ranker:
    """Rank the pictures, or the items, of an index.

    Parameters
    ----------
    index : Index
        Index to search.
    labels : LabelFilter
        Pictures to consider, by their labels.
    reranker : Reranker
        Puts the pictures in order.
    by_item : {"best", "mean"} or None
        Rank items instead of pictures, by their best picture or by the mean score of their three
        best. An item is represented by its best picture.

    Raises
    ------
    InputError
        If `by_item` has another value.
    """

    index: Index
    labels: LabelFilter
    reranker: Reranker
    by_item: str | None

    def __post_init__(self) -> None:
        if self.by_item is not None and self.by_item not in BY_ITEM:
            raise InputError(f"by_item is {self.by_item!r}; choose one of {', '.join(BY_ITEM)}")

    def rank(
        self,
        vectors: NDArray[np.floating[Any]],
        k: int,
        excluded: Sequence[NDArray[np.intp]],
    ) -> list[Ranking]:
        """Return the first k results of each query.

        Parameters
        ----------
        vectors : ndarray of float, shape (n, d)
            Query vectors of length 1.
        k : int
            Number of results; fewer if the index has fewer.
        excluded : sequence of ndarray of int, length n
            Rows to leave out, for each query.

        Returns
        -------
        list of Ranking, length n
        """
        if self.by_item is not None:
            return [
                self._rank_by_item(vector, k, rows, BY_ITEM[self.by_item])
                for vector, rows in zip(vectors, excluded, strict=True)
            ]
        # At most all of the excluded rows are among the first results.
        depth = k + max(map(len, excluded), default=0)
        all_scores, all_rows = self.reranker.rank(self.index, vectors, depth, self.labels)
        rankings = []
        for vector, scores, rows, left_out in zip(
            vectors, all_scores, all_rows, excluded, strict=True
        ):
            kept = ~np.isin(rows, left_out)
            rankings.append(self._measure(vector, scores[kept][:k], rows[kept][:k]))
        return rankings

    def rank_within(
        self,
        max_distance: float,
        rankings: list[Ranking],
        vectors: NDArray[np.floating[Any]],
        k: int,
        excluded: Sequence[NDArray[np.intp]],
    ) -> list[Ranking]:
        """Return the first k results that are within a distance of their query.

        Parameters
        ----------
        max_distance : float
            Largest Euclidean distance of a result.
        rankings : list of Ranking
            What `rank` returned for the same `vectors`, `k` and `excluded`.
        vectors, k, excluded
            See `rank`.

        Returns
        -------
        list of Ranking, length n
        """
        # A ranking that is in the order of the distances has no nearer pictures further down.
        is_ascending = isinstance(self.reranker, Nearest) and self.by_item != "mean"
        depth = k
        while True:
            near = [ranking.select(ranking.distances <= max_distance) for ranking in rankings]
            if is_ascending or all(
                len(kept.rows) >= k or len(ranking.rows) < depth
                for kept, ranking in zip(near, rankings, strict=True)
            ):
                return near
            depth *= 4
            rankings = self.rank(vectors, depth, excluded)

    def _rank_by_item(
        self,
        vector: NDArray[np.floating[Any]],
        k: int,
        excluded: NDArray[np.intp],
        pictures: int,
    ) -> Ranking:
        """Return the best picture of each of the first k items."""
        depth = 4 * k * pictures + len(excluded)
        # Search deeper until all pictures that count for the first k items are in the ranking.
        while True:
            (scores,), (rows,) = self.reranker.rank(self.index, vector[None], depth, self.labels)
            is_whole_index = len(rows) < depth
            kept = ~np.isin(rows, excluded)
            scores, rows = scores[kept], rows[kept]
            item_ids = np.array([m["item_id"] for m in self.index.metadata_of(rows)], object)
            items, numbers = np.unique(item_ids, return_inverse=True)
            order = rank_items(scores, numbers, self.index.item_sizes(list(items)), pictures)
            if is_whole_index or (len(order.complete) >= k and order.complete[:k].all()):
                first = order.positions[:k]
                return self._measure(vector, scores[first], rows[first])
            depth *= 4

    def _measure(
        self,
        vector: NDArray[np.floating[Any]],
        scores: NDArray[np.float64],
        rows: NDArray[np.intp],
    ) -> Ranking:
        """Return the rows with their Euclidean distances, which may differ from the scores."""
        if isinstance(self.reranker, Nearest):
            return Ranking(scores, rows)
        return Ranking(np.linalg.norm(self.index.vectors(rows) - vector, axis=1), rows)
