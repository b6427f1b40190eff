"""Ranking of the pictures or items of an index for query vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, Index, LabelFilter
from siamese.search.reranking import Nearest, Ranking, Reranker, Rows, Vectors, get_reranker

BY_ITEM = {"best": 1, "mean": 3}
"""How many of an item's best pictures have their scores averaged, for each `by_item`."""


class Page(NamedTuple):
    """Page of results for one query, best first, starting at `offset`."""

    distances: NDArray[np.float64]
    """Euclidean distances to the query, shape (m,), even if ranked by another score."""
    rows: Rows
    """Rows of the index, shape (m,)."""
    nearest: float
    """Smallest distance on this page and the pages before it, ignoring `max_distance`."""


@dataclass
class Ranker:
    """Ranker of the pictures or items of an index.

    `k` is the number of results. For the other options, see
    `siamese.search.searcher.SearchOptions`; an invalid one raises an InputError.
    """

    index: Index
    k: int
    _: KW_ONLY
    offset: int = 0
    labels: LabelFilter = EVERYTHING
    max_distance: float | None = None
    rerank: Reranker | str | None = None
    by_item: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k is {self.k}; ask for at least 1 result")
        if self.offset < 0:
            raise InputError(f"offset is {self.offset}; leave out 0 or more results")
        self._reranker = get_reranker(self.rerank)
        if self.by_item is not None and self.by_item not in BY_ITEM:
            raise InputError(f"by_item is {self.by_item!r}; choose one of {', '.join(BY_ITEM)}")

    def rank(self, vectors: Vectors, excluded: Sequence[Rows]) -> list[Page]:
        """Return a page of results for each query, leaving out the rows excluded for it."""
        end = self.offset + self.k
        rankings = self._rank(vectors, end, excluded)
        nearest = [float(distances.min(initial=np.inf)) for distances, _ in rankings]
        if self.max_distance is not None:
            rankings = self._rank_within(self.max_distance, rankings, vectors, end, excluded)
        page = slice(self.offset, end)
        return [
            Page(distances[page], rows[page], least)
            for (distances, rows), least in zip(rankings, nearest, strict=True)
        ]

    def _rank(self, vectors: Vectors, k: int, excluded: Sequence[Rows]) -> list[Ranking]:
        """Return the distances and rows of the first k results for each query."""
        if self.by_item is not None:
            return [
                self._rank_by_item(vector, k, rows, BY_ITEM[self.by_item])
                for vector, rows in zip(vectors, excluded, strict=True)
            ]
        # This leaves k results even if all excluded rows are among the first ones.
        depth = k + max(map(len, excluded), default=0)
        all_scores, all_rows = self._reranker.rank(self.index, vectors, depth, self.labels)
        rankings = []
        for vector, scores, rows, left_out in zip(
            vectors, all_scores, all_rows, excluded, strict=True
        ):
            kept = ~np.isin(rows, left_out)
            rankings.append(self._measure(vector, scores[kept][:k], rows[kept][:k]))
        return rankings

    def _rank_within(
        self,
        max_distance: float,
        rankings: list[Ranking],
        vectors: Vectors,
        k: int,
        excluded: Sequence[Rows],
    ) -> list[Ranking]:
        """Keep results within `max_distance`, ranking more until k are kept or none are left."""
        # If the ranking is sorted by distance, ranking more pictures finds no nearer ones.
        is_ascending = isinstance(self._reranker, Nearest) and self.by_item != "mean"
        depth = k
        while True:
            near = []
            for distances, rows in rankings:
                kept = distances <= max_distance
                near.append((distances[kept], rows[kept]))
            if is_ascending or all(
                len(kept) >= k or len(rows) < depth
                for (_, kept), (_, rows) in zip(near, rankings, strict=True)
            ):
                return near
            depth *= 4
            rankings = self._rank(vectors, depth, excluded)

    def _rank_by_item(self, vector: Vectors, k: int, excluded: Rows, pictures: int) -> Ranking:
        """Return the distance and row of the best picture of each of the first k items."""
        depth = 4 * k * pictures + len(excluded)
        # Rank more pictures until all those that count towards the first k items are included.
        while True:
            (scores,), (rows,) = self._reranker.rank(self.index, vector[None], depth, self.labels)
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

    def _measure(self, vector: Vectors, scores: NDArray[np.float64], rows: Rows) -> Ranking:
        """Return (distances, rows), computing the distances if the scores are something else."""
        if isinstance(self._reranker, Nearest):
            return scores, rows
        return np.linalg.norm(self.index.vectors(rows) - vector, axis=1), rows


class ItemOrder(NamedTuple):
    """Order of the items in a ranking of pictures, best first."""

    positions: NDArray[np.intp]
    """Position in the ranking of each item's best picture, shape (m,)."""
    complete: NDArray[np.bool_]
    """Whether all pictures that count towards each item are in the ranking, shape (m,)."""


def rank_items(
    scores: NDArray[np.floating], items: NDArray[np.intp], sizes: NDArray[np.intp], pictures: int
) -> ItemOrder:
    """Rank items by the mean score of their best pictures.

    `scores` are the ascending scores of the ranked pictures, lower being better; `items` has the
    item number of each. `sizes[i]` is the number of pictures of item i, ranked or not, of which at
    most `pictures` count.

    Pictures that are not in the ranking are assumed to be as good as the last one that is. This
    never makes an item's score worse than it is, so the order is right up to the first item that
    is not `complete`. Ties are broken by the position of the best picture.

    Examples
    --------
    >>> scores, items = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 1, 1, 0])
    >>> rank_items(scores, items, sizes=np.array([2, 2]), pictures=2).positions.tolist()
    [1, 0]
    """
    found, places, item, counts = np.unique(
        items, return_index=True, return_inverse=True, return_counts=True
    )
    counting = np.minimum(sizes[found], pictures)
    seen = np.minimum(counts, counting)
    # 0 for the first picture of each item in the ranking, 1 for the second, …
    by_item = np.argsort(item, kind="stable")
    position = np.empty(len(items), np.intp)
    position[by_item] = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)

    counts_in = position < counting[item]
    total = np.bincount(item[counts_in], scores[counts_in], minlength=len(found))
    mean = (total + (counting - seen) * scores[-1:]) / counting
    order = np.lexsort((places, mean))
    return ItemOrder(places[order], (seen == counting)[order])
