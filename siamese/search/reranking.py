"""Rerank search results with the vectors of the index alone, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, Index, LabelFilter
from siamese.indexes.gallery_augmentation import expand_query

Vectors: TypeAlias = NDArray[np.floating]
Rows: TypeAlias = NDArray[np.intp]
Ranking: TypeAlias = tuple[NDArray[np.float64], Rows]
"""Scores or distances, ascending, and the rows of the index that have them."""


class Reranker(Protocol):
    """Ranks the pictures of an index for a query."""

    def rank(
        self, index: Index, queries: Vectors, k: int, labels: LabelFilter = EVERYTHING
    ) -> Ranking:
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
    """Rank by Euclidean distance, as the index does; the scores are the distances."""

    def rank(
        self, index: Index, queries: Vectors, k: int, labels: LabelFilter = EVERYTHING
    ) -> Ranking:
        return index.query(queries, k, labels)


@dataclass(frozen=True)
class Expansion:
    """Query expansion: move the query towards its nearest pictures, and search again.

    The scores are the distances to the moved query.

    Parameters
    ----------
    neighbours : int, default=2
        Number of nearest pictures to move the query towards.
    alpha : float, default=5
        See `siamese.indexes.gallery_augmentation.expand_query`, which has the formula.

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
        self, index: Index, queries: Vectors, k: int, labels: LabelFilter = EVERYTHING
    ) -> Ranking:
        _, nearest_rows = index.query(queries, self.neighbours, labels)
        moved = [
            expand_query(query, index.vectors(rows), self.alpha)
            for query, rows in zip(queries, nearest_rows, strict=True)
        ]
        return index.query(np.reshape(moved, np.shape(queries)), k, labels)


@dataclass(frozen=True)
class Reciprocal:
    """k-reciprocal re-ranking: similar pictures have the same neighbours.

    The nearest pictures are ranked by their `reciprocal_distances`. The others follow in the order
    of their distances, with the larger score (1 - λ) + λ · d, as if they shared no neighbour with
    the query.

    Parameters
    ----------
    candidates : int, default=100
        Number of nearest pictures to re-rank.
    k1, k2, own_share : int, int, float
        See `reciprocal_distances`.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    candidates: int = 100
    k1: int = 10
    k2: int = 1
    own_share: float = 0.8

    def __post_init__(self) -> None:
        if min(self.candidates, self.k1) < 1 or self.k2 < 0 or not 0 <= self.own_share <= 1:
            raise InputError(
                f"{self}: candidates and k1 must be at least 1, k2 at least 0, own_share 0 to 1"
            )

    def rank(
        self, index: Index, queries: Vectors, k: int, labels: LabelFilter = EVERYTHING
    ) -> Ranking:
        distances, rows = index.query(queries, max(k, self.candidates), labels)
        scores = 1 - self.own_share + self.own_share * distances**2 / 2  # d = distance² / 2
        for query, score, row in zip(queries, scores, rows, strict=True):
            candidates = index.vectors(row[: self.candidates])
            count = len(candidates)
            reranked = reciprocal_distances(query, candidates, self.k1, self.k2, self.own_share)
            order = np.argsort(reranked, kind="stable")
            score[:count], row[:count] = reranked[order], row[order]
        return scores[:, :k], rows[:, :k]


def reciprocal_distances(
    query: Vectors, candidates: Vectors, k1: int, k2: int, own_share: float
) -> NDArray[np.float64]:
    """Compute the distances of candidates to a query from the neighbours they share.

    Let p, q and g be any pictures among the query and its candidates, ``d(p, g) = 1 - cos(p, g)``,
    and N(p, k) the set of p and its k nearest others::

        R(p, k)    {g ∈ N(p, k) : p ∈ N(g, k)}
        R*(p)      R(p, k1) and each R(q, k1/2) with q ∈ R(p, k1) of which R(p, k1) has at least 2/3
        V(p, g)    exp(-d(p, g)) if g ∈ R*(p), else 0
        V'(p)      mean of V(q) over q ∈ N(p, k2)
        jaccard    1 - Σ_g min(V'(p, g), V'(q, g)) / Σ_g max(V'(p, g), V'(q, g))
        result     (1 - λ) · jaccard + λ · d

    Parameters
    ----------
    query : ndarray of float, shape (d,)
        Vector of length 1.
    candidates : ndarray of float, shape (n, d)
        Vectors of length 1.
    k1 : int
        Number of neighbours that must be mutual. k1/2 is rounded, half to even.
    k2 : int
        Number of neighbours whose V is averaged; 0 for none.
    own_share : float
        λ, the share of the distance d in the result, from 0 to 1.

    Returns
    -------
    ndarray of float64, shape (n,)

    Notes
    -----
    The paper compares the whole gallery and all queries, this only one query and its candidates.
    So the cost does not grow with the gallery, and a result does not depend on other queries. The
    paper counts p among its k2 neighbours, so its k2 is larger by one.

    References
    ----------
    Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
    CVPR 2017.
    """
    vectors = np.concatenate([np.asarray(query, np.float64)[None], candidates])
    distance = 1 - vectors @ vectors.T
    # Each picture comes before all others, even before its copies.
    np.fill_diagonal(distance, -np.inf)
    order = np.argsort(distance, axis=1, kind="stable")
    np.fill_diagonal(distance, 0)

    near, near_half = _neighbours(order, k1), _neighbours(order, round(k1 / 2))
    mutual, mutual_half = near & near.T, near_half & near_half.T
    # As floats, because matrix products of booleans are slow.
    shared = mutual.astype(np.float32) @ mutual_half.T.astype(np.float32)
    joined = mutual & (3 * shared >= 2 * mutual_half.sum(axis=1))
    extended = mutual | (joined.astype(np.float32) @ mutual_half.astype(np.float32) > 0)

    encoded = np.where(extended, np.exp(-distance), 0)
    near = _neighbours(order, k2)
    encoded = near.astype(np.float64) @ encoded / near.sum(axis=1, keepdims=True)
    least = np.minimum(encoded[0], encoded[1:]).sum(axis=1)
    greatest = np.maximum(encoded[0], encoded[1:]).sum(axis=1)
    return (1 - own_share) * (1 - least / greatest) + own_share * distance[0, 1:]


def _neighbours(order: Rows, k: int) -> NDArray[np.bool_]:
    """Return whether g ∈ N(p, k) for all p and g, from the order of all g for each p."""
    near = np.zeros(order.shape, np.bool_)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    return near


RERANKERS: dict[str, type[Reranker]] = {
    "none": Nearest,
    "expansion": Expansion,
    "reciprocal": Reciprocal,
}
"""Rerankers by their names in `siamese search --rerank`."""


def get_reranker(identifier: Reranker | str | None) -> Reranker:
    """Return a reranker unchanged, or the one with a name in its default settings."""
    if identifier is None:
        return Nearest()
    if not isinstance(identifier, str):
        return identifier
    if identifier not in RERANKERS:
        raise InputError(f"rerank is {identifier!r}; choose one of {', '.join(RERANKERS)}")
    return RERANKERS[identifier]()
