"""Rerankers that use only the vectors in the index, without training."""

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
"""Scores or distances in ascending order, and the corresponding rows of the index."""


class Reranker(Protocol):
    """Interface of objects that rank an index's pictures for each query."""

    def rank(
        self, index: Index, queries: Vectors, k: int, labels: LabelFilter = EVERYTHING
    ) -> Ranking:
        """Rank the pictures in an index for each query.

        Parameters
        ----------
        index : Index
            Index to search.
        queries : ndarray of float, shape (n, d)
            Unit-length query vectors.
        k : int
            Number of pictures to return per query; fewer if the index has fewer.
        labels : LabelFilter, default=EVERYTHING
            Which pictures to rank, by their labels.

        Returns
        -------
        scores : ndarray of float64, shape (n, k)
            Sorted in ascending order, best first; their meaning depends on the reranker.
        rows : ndarray of int, shape (n, k)
            Rows of the index for these scores.
        """


class Nearest:
    """Reranker that keeps the index's own order; scores are Euclidean distances."""

    def rank(
        self, index: Index, queries: Vectors, k: int, labels: LabelFilter = EVERYTHING
    ) -> Ranking:
        return index.query(queries, k, labels)


@dataclass(frozen=True)
class Expansion:
    """Query expansion, which moves the query towards its nearest pictures and searches again.

    Scores are Euclidean distances to the moved query.

    Parameters
    ----------
    neighbours : int, default=2
        Number of nearest pictures to move the query towards.
    alpha : float, default=5
        Exponent in the formula of `siamese.indexes.gallery_augmentation.expand_query`.

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
    """k-reciprocal re-ranking, which favours pictures that share neighbours with the query.

    The `candidates` nearest pictures are ordered by `reciprocal_distances`. The rest follow by
    distance, as if they shared no neighbour with the query; their scores,
    ``1 - own_share + own_share * (1 - cosine)``, are never lower than a candidate's.

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
        # For unit vectors, 1 - cosine = distance² / 2.
        scores = 1 - self.own_share + self.own_share * distances**2 / 2
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
    """Compute distances between a query and its candidates, based on shared neighbours.

    Let p, q and g be any of the query and its candidates, ``D(p, q) = 1 - cos(p, q)``, and N(p, k)
    the set of p and its k nearest others. The distance of a candidate q to the query p is::

        R(p, k)    {g ∈ N(p, k) : p ∈ N(g, k)}
        R*(p)      union of R(p, k1) and each R(q, k1/2) that has at least 2/3 of its members in
                   R(p, k1), for q ∈ R(p, k1)
        V(p, g)    exp(-D(p, g)) if g ∈ R*(p), else 0
        V'(p, g)   mean of V(q, g) over q ∈ N(p, k2)
        J(p, q)    1 - Σ_g min(V'(p, g), V'(q, g)) / Σ_g max(V'(p, g), V'(q, g))
        result     (1 - own_share) · J(p, q) + own_share · D(p, q)

    Parameters
    ----------
    query : ndarray of float, shape (d,)
        Unit-length vector.
    candidates : ndarray of float, shape (n, d)
        Unit-length vectors.
    k1 : int
        Neighbourhood size in R and R*. k1/2 is rounded, half to even.
    k2 : int
        Number of neighbours, besides p itself, to average V over; 0 leaves V as it is.
    own_share : float
        Weight of D in the result, from 0 to 1.

    Returns
    -------
    ndarray of float64, shape (n,)

    Notes
    -----
    Zhong et al. use the whole gallery and all queries; this function uses one query and its
    candidates, so its cost does not grow with the gallery. Their k2 counts p itself, so it equals
    this k2 plus one.

    References
    ----------
    Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
    CVPR 2017.
    """
    vectors = np.concatenate([np.asarray(query, np.float64)[None], candidates])
    distance = 1 - vectors @ vectors.T
    # Make each picture its own nearest neighbour, even if the index has duplicates of it.
    np.fill_diagonal(distance, -np.inf)
    order = np.argsort(distance, axis=1, kind="stable")
    np.fill_diagonal(distance, 0)

    near, near_half = _neighbours(order, k1), _neighbours(order, round(k1 / 2))
    mutual, mutual_half = near & near.T, near_half & near_half.T
    # Use floats, because matrix products of booleans are slow.
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
    """Return a boolean matrix of whether g ∈ N(p, k); `order[p]` lists all g, nearest first."""
    near = np.zeros(order.shape, np.bool_)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    return near


RERANKERS: dict[str, type[Reranker]] = {
    "none": Nearest,
    "expansion": Expansion,
    "reciprocal": Reciprocal,
}
"""Rerankers by name, as in `siamese search --rerank`."""


def get_reranker(identifier: Reranker | str | None) -> Reranker:
    """Return a reranker unchanged, create one by name, or return `Nearest` for None."""
    if identifier is None:
        return Nearest()
    if not isinstance(identifier, str):
        return identifier
    if identifier not in RERANKERS:
        raise InputError(f"rerank is {identifier!r}; choose one of {', '.join(RERANKERS)}")
    return RERANKERS[identifier]()
