"""Query pictures in, ranked items out: an embedder and the index that its model made."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from siamese.calibration import read_calibration
from siamese.errors import InputError
from siamese.indexes import Index
from siamese.reranking import Ranking, item_order, ranking

if TYPE_CHECKING:
    from siamese.embedding import Embedder, Source

BY_ITEM = {"best": 1, "mean": 3}
"""How many pictures of an item count, by the names that `siamese search --by-item` takes."""


class Result(msgspec.Struct, frozen=True):
    """One picture of the index: its place in the ranking (from 1), how far it is, what it is.

    The distance is the Euclidean one between this picture and the query, whatever ranked them.
    """

    rank: int
    distance: float
    item_id: str
    filename: str
    labels: list[str]


class QueryResult(msgspec.Struct, frozen=True):
    """The ranking for one query picture, best first.

    `in_catalogue` tells whether the nearest of its results is within the model's calibrated
    distance (see `siamese.calibration`); None where the model has no calibration.
    """

    query: str
    results: list[Result]
    in_catalogue: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """As ``{"query": …, "results": [{"rank": …, "distance": …, …}, …]}``."""
        return msgspec.to_builtins(self)


class Searcher:
    """Search an index by picture.

    Parameters
    ----------
    embedder : makes the vectors of the query pictures
    index : as `siamese.open_index` returns it

    Attributes
    ----------
    threshold : distance beyond which a query is taken not to be in the catalogue, from the
        calibration beside the model; None where there is none

    Raises
    ------
    InputError
        If another model made the index: distances between the vectors of two models mean
        nothing. An index that does not record its model is taken, with a warning, where at
        least the dimensions agree.
    """

    def __init__(self, embedder: Embedder, index: Index) -> None:
        facts, made_by = embedder.facts, index.model
        if made_by is not None and made_by["fingerprint"] != facts.fingerprint:
            maker = made_by["path"] or made_by["name"]
            raise InputError(
                f"{index.name}: made by the model {maker!r} of fingerprint "
                f"{made_by['fingerprint'][:12]!r}, not by {facts.name!r} of "
                f"{facts.fingerprint[:12]!r}; "
                "search with the model that made it, or make the index again"
            )
        if index.embedding_size != facts.embedding_size:
            raise InputError(
                f"{index.name}: holds vectors of {index.embedding_size} dimensions, {facts.name} "
                f"makes {facts.embedding_size}; search with the model that made it"
            )
        if made_by is None:
            warnings.warn(
                f"{index.name}: does not record which model made it; if that was not "
                f"{facts.name}, the results mean nothing",
                stacklevel=2,
            )
        self.embedder = embedder
        self.index = index
        calibration = read_calibration(facts.path, facts.fingerprint) if facts.path else None
        self.threshold = None if calibration is None else calibration.threshold

    def search(
        self,
        sources: Sequence[Source],
        k: int = 10,
        *,
        rerank: Ranking | str | None = None,
        by_item: str | None = None,
    ) -> list[QueryResult]:
        """Find the pictures of the index that are most like each query picture.

        Parameters
        ----------
        sources : the query pictures: files, encoded bytes or PIL pictures
        k : how many results for each; fewer where the index has fewer
        rerank : what puts the pictures in order: None for the nearest first, "expansion",
            "reciprocal", or one of `siamese.reranking` with settings of its own
        by_item : None for a result a picture; "best" or "mean" for a result an item, shown by
            its best picture: items are in the order of that one, or of the mean score of their
            three best

        Returns
        -------
        One ranking a query, in the order given. A query that is no file is named by its place,
        ``picture 1``.

        Raises
        ------
        InputError
            Listing every query that is no usable picture; or if k < 1, or `rerank` or `by_item`
            is unknown.
        """
        order = ranking(rerank)
        if k < 1:
            raise InputError(f"k is {k}; ask for at least 1 result")
        if by_item is not None and by_item not in BY_ITEM:
            raise InputError(f"by_item is {by_item!r}; there are {', '.join(BY_ITEM)}")
        queries = self.embedder.embed(sources)
        if by_item is None:
            found = list(order.rank(self.index, queries, k)[1])
        else:
            found = [
                self._best_of_items(order, query[None], k, BY_ITEM[by_item]) for query in queries
            ]
        return [
            self._query_result(_name(source, place), query, rows)
            for place, (source, query, rows) in enumerate(
                zip(sources, queries, found, strict=True), 1
            )
        ]

    def _query_result(
        self, name: str, query: NDArray[np.float32], rows: NDArray[np.intp]
    ) -> QueryResult:
        distances = np.linalg.norm(self.index.vectors(rows) - query, axis=1)
        metadata = self.index.metadata
        results = [
            Result(rank, float(distance), **metadata[row])
            for rank, (distance, row) in enumerate(zip(distances, rows, strict=True), 1)
        ]
        within = None if self.threshold is None else bool(distances.min() <= self.threshold)
        return QueryResult(name, results, within)

    def _best_of_items(
        self, order: Ranking, query: NDArray[np.float32], k: int, pictures: int
    ) -> NDArray[np.intp]:
        """The best picture of each of the first k items: their rows."""
        items, sizes = self._items
        k = min(k, len(sizes))
        depth = 4 * k * pictures
        # Deeper until all that counts for the first k items has been seen.
        while True:
            (scores,), (rows,) = order.rank(self.index, query, depth)
            ordered = item_order(scores, items[rows], sizes, pictures)
            if len(rows) == len(self.index) or (len(ordered.sure) >= k and ordered.sure[:k].all()):
                return rows[ordered.places[:k]]
            depth *= 4

    @cached_property
    def _items(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The number of the item of each row, and how many pictures each item has."""
        _, items, sizes = np.unique(
            [known["item_id"] for known in self.index.metadata],
            return_inverse=True,
            return_counts=True,
        )
        return items, sizes


def _name(source: Source, place: int) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"picture {place}"
