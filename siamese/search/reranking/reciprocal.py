"""k-reciprocal re-ranking: similar pictures have the same neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes import EVERYTHING, Index, LabelFilter


def reciprocal_distances(
    query: NDArray[np.floating],
    candidates: NDArray[np.floating],
    k1: int,
    k2: int,
    own_share: float,
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
    The paper uses the whole gallery and all queries where this uses one query and its candidates.
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

    mutual = _mutual(order, k1)
    mutual_half = _mutual(order, round(k1 / 2))
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


@dataclass(frozen=True)
class Reciprocal:
    """Re-rank the nearest pictures by `reciprocal_distances`, and keep the order of the others.

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
        self,
        index: Index,
        queries: NDArray[np.floating],
        k: int,
        labels: LabelFilter = EVERYTHING,
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Rank the pictures, see `siamese.search.reranking.reranker.Reranker.rank`.

        The scores are the `reciprocal_distances`. Pictures that are not candidates are taken to
        share no neighbour with the query: their score, (1 - λ) + λ · d, is larger.
        """
        distances, rows = index.query(queries, max(k, self.candidates), labels)
        scores = 1 - self.own_share + self.own_share * distances**2 / 2  # d = distance² / 2
        for query, score, row in zip(queries, scores, rows, strict=True):
            candidates = index.vectors(row[: self.candidates])
            count = len(candidates)
            judged = reciprocal_distances(query, candidates, self.k1, self.k2, self.own_share)
            order = np.argsort(judged, kind="stable")
            score[:count], row[:count] = judged[order], row[order]
        return scores[:, :k], rows[:, :k]


def _neighbours(order: NDArray[np.intp], k: int) -> NDArray[np.bool_]:
    """Return whether g ∈ N(p, k) for all p and g, from the order of all g for each p."""
    near = np.zeros(order.shape, np.bool_)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    return near


def _mutual(order: NDArray[np.intp], k: int) -> NDArray[np.bool_]:
    """Return whether g ∈ R(p, k) for all p and g."""
    near = _neighbours(order, k)
    return near & near.T
