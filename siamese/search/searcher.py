"""Query pictures in, ranked items out: an embedder and the index that its model made."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

import msgspec
import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.evaluation.calibration import read_calibration
from siamese.indexes import EVERYTHING, Index, LabelFilter
from siamese.search.reranking.reranker import Nearest, Reranker, get_reranker, item_order

if TYPE_CHECKING:
    from siamese.embedding.embedder import Embedder, Source

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


_Ranked: TypeAlias = tuple[NDArray[np.float64], NDArray[np.intp]]


class Options(TypedDict, total=False):
    """What a search may be told beside its queries.

    Attributes
    ----------
    offset : how many of the first results to leave out: for the second page of 10, 10
    labels : which pictures count, by their labels
    max_distance : results that are farther are left out
    own_items : for each query the item whose pictures are left out, because it is the query's
        own; or None
    rerank : what puts the pictures in order: None for the nearest first, "expansion",
        "reciprocal", or one of `siamese.search.reranking.reranker` with settings of its own
    by_item : None for a result a picture; "best" or "mean" for a result an item, shown by its
        best picture: items are in the order of that one, or of the mean score of their three best
    """

    offset: int
    labels: LabelFilter
    max_distance: float | None
    own_items: Sequence[str | None] | None
    rerank: Reranker | str | None
    by_item: str | None


class QueryResult(msgspec.Struct, frozen=True):
    """The ranking for one query picture, best first.

    `in_catalogue` tells whether the nearest of its results is within the model's calibrated
    distance (see `siamese.evaluation.calibration`); None where the model has no calibration.
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
        calibration beside the model; None where there is none, and for an augmented gallery

    Raises
    ------
    InputError
        If another model made the index: distances between the vectors of two models mean
        nothing. An index that does not record its model is taken, with a warning, where at
        least the dimensions agree.
    """

    def __init__(self, embedder: Embedder, index: Index) -> None:
        facts, made_by = embedder.facts, index.model
        if made_by is not None and made_by.fingerprint != facts.fingerprint:
            maker = made_by.path or made_by.name
            raise InputError(
                f"{index.name}: made by the model {maker!r} of fingerprint "
                f"{made_by.fingerprint[:12]!r}, not by {facts.name!r} of "
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
        # It was measured on vectors as they are; from those of an augmented gallery all is farther.
        self.threshold = calibration.threshold if calibration and not index.augmented else None

    def search(
        self,
        sources: Sequence[Source],
        k: int = 10,
        *,
        together: bool = False,
        **options: Unpack[Options],
    ) -> list[QueryResult]:
        """Find the pictures of the index that are most like each query picture.

        Parameters
        ----------
        sources : the query pictures: files, encoded bytes or PIL pictures
        k : how many results for each; fewer where the index has fewer
        together : whether all are views of one thing, which is searched once, by the mean of
            their vectors
        options : see `Options`

        Returns
        -------
        One ranking a query, in the order given. A query that is no file is named by its place,
        ``picture 1``.

        Raises
        ------
        InputError
            Listing every query that is no usable picture; or if an option is not as it must be.
        """
        _check(k, options)  # before the slow part
        vectors = self.embedder.embed(sources)
        names = [_name(source, place) for place, source in enumerate(sources, 1)]
        if together:
            vectors, names = mean_of(vectors, ", ".join(names))[None], [" + ".join(names)]
        return self.search_vectors(vectors, k, names=names, **options)

    def search_vectors(
        self,
        vectors: NDArray[np.floating[Any]],
        k: int = 10,
        *,
        names: Sequence[str] | None = None,
        **options: Unpack[Options],
    ) -> list[QueryResult]:
        """Find the pictures of the index that are most like each query, given by its vector.

        Parameters
        ----------
        vectors : (n, d), of length 1, of the model that made the index
        k : how many results for each; fewer where the index has fewer
        names : (n,), what to call the queries; by their place if None
        options : see `Options`

        Raises
        ------
        InputError
            If the vectors do not fit to the index, or an option is not as it must be.
        """
        _check(k, options)
        if names is None:
            names = [f"picture {place}" for place in range(1, len(vectors) + 1)]
        own = options.get("own_items") or [None] * len(vectors)
        if len(own) != len(vectors):
            raise InputError(f"own_items are {len(own)} for {len(vectors)} queries")
        offset = options.get("offset", 0)
        most = options.get("max_distance")
        rankings = self._rankings(vectors, offset + k, own, options)
        nearest = [distances.min(initial=np.inf) for distances, _ in rankings]
        if most is not None:
            rankings = self._near_enough(vectors, rankings, offset + k, own, options, most)
        page = slice(offset, offset + k)
        shown = [(distances[page].tolist(), rows[page]) for distances, rows in rankings]
        # All at once: for some engines each call is a message to a server.
        every = np.concatenate([rows for _, rows in shown]) if shown else np.empty(0, np.intp)
        known = iter(self.index.metadata_of(every))
        return [
            QueryResult(
                name,
                [
                    Result(rank, distance, **next(known))
                    for rank, distance in enumerate(distances, offset + 1)
                ],
                None if self.threshold is None else bool(least <= self.threshold),
            )
            for name, (distances, _), least in zip(names, shown, nearest, strict=True)
        ]

    def _near_enough(
        self,
        vectors: NDArray[np.floating[Any]],
        rankings: list[_Ranked],
        k: int,
        own: Sequence[str | None],
        options: Options,
        most: float,
    ) -> list[_Ranked]:
        """What of the rankings is no farther than `most`, k of it where there are as many."""
        # Only the nearest first are in the order of what is asked here.
        ascending = isinstance(get_reranker(options.get("rerank")), Nearest) and (
            options.get("by_item") != "mean"
        )
        depth = k
        while True:
            near = [
                (distances[distances <= most], rows[distances <= most])
                for distances, rows in rankings
            ]
            complete = (
                ascending or len(kept) >= k or len(every) < depth
                for (kept, _), (every, _) in zip(near, rankings, strict=True)
            )
            if all(complete):
                return near
            depth *= 4
            rankings = self._rankings(vectors, depth, own, options)

    def _rankings(
        self,
        vectors: NDArray[np.floating[Any]],
        k: int,
        own: Sequence[str | None],
        options: Options,
    ) -> list[_Ranked]:
        """The distances and the rows of at least the first k results of each query."""
        order = get_reranker(options.get("rerank"))
        labels = options.get("labels", EVERYTHING)
        by_item = options.get("by_item")
        if by_item is not None:
            return [
                self._best_of_items(order, query[None], k, labels, BY_ITEM[by_item], not_item)
                for query, not_item in zip(vectors, own, strict=True)
            ]
        excluded = [
            np.empty(0, np.intp) if item_id is None else self.index.find(item_id=item_id)
            for item_id in own
        ]
        # No more than its own pictures can stand among the first: so many more are asked for.
        depth = k + max(map(len, excluded), default=0)
        scores, found = order.rank(self.index, vectors, depth, labels)
        ranked = []
        for query, score, rows, ours in zip(vectors, scores, found, excluded, strict=True):
            distances = self._distances(order, query, score, rows)
            if len(ours):
                others = ~np.isin(rows, ours)
                distances, rows = distances[others], rows[others]
            ranked.append((distances, rows))
        return ranked

    def _distances(
        self,
        order: Reranker,
        query: NDArray[np.floating[Any]],
        scores: NDArray[np.float64],
        rows: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        """The Euclidean distances between a query and some rows, whatever ranked them."""
        if isinstance(order, Nearest):
            return scores
        return np.linalg.norm(self.index.vectors(rows) - query, axis=1)

    def _best_of_items(
        self,
        order: Reranker,
        query: NDArray[np.floating[Any]],
        k: int,
        labels: LabelFilter,
        pictures: int,
        not_item: str | None,
    ) -> _Ranked:
        """The best picture of each of the first k items, as `_rankings`."""
        wanted = k + (not_item is not None)
        depth = 4 * wanted * pictures
        # Deeper until all that counts for the first k items has been seen.
        while True:
            (scores,), (rows,) = order.rank(self.index, query, depth, labels)
            item_ids = [known["item_id"] for known in self.index.metadata_of(rows)]
            items, numbers = np.unique(np.array(item_ids, object), return_inverse=True)
            ordered = item_order(scores, numbers, self.index.item_sizes(list(items)), pictures)
            all_of_them = len(rows) < depth
            if all_of_them or (len(ordered.sure) >= wanted and ordered.sure[:wanted].all()):
                break
            depth *= 4
        places = [place for place in ordered.places if item_ids[place] != not_item][:k]
        return self._distances(order, query[0], scores[places], rows[places]), rows[places]


def mean_of(vectors: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the vector of one thing that was seen several times, Σ v_i / ‖Σ v_i‖.

    Parameters
    ----------
    vectors : (n, d), of length 1
    name : what to call the pictures in a message

    Raises
    ------
    InputError
        If they add up to nothing.
    """
    mean = vectors.mean(axis=0)
    if not (length := np.linalg.norm(mean)):
        raise InputError(f"{name}: opposite to each other, with no mean")
    return mean / length


def _check(k: int, options: Options) -> None:
    """An `InputError` for options that are not as they must be."""
    if k < 1:
        raise InputError(f"k is {k}; ask for at least 1 result")
    if (offset := options.get("offset", 0)) < 0:
        raise InputError(f"offset is {offset}; it counts the results to leave out, from 0")
    by_item = options.get("by_item")
    if by_item is not None and by_item not in BY_ITEM:
        raise InputError(f"by_item is {by_item!r}; there are {', '.join(BY_ITEM)}")
    get_reranker(options.get("rerank"))


def _name(source: Source, place: int) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"picture {place}"
