"""Retrieval metrics for embeddings: recall, precision, MAP@R, mAP and nDCG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.evaluation.relevant_ranks import RelevantRanks, compute_relevant_ranks
from siamese.vectors.unit_vectors import UnitVectors

ItemIds: TypeAlias = Sequence[object] | NDArray[Any]

METRICS = {
    "recall@1": "how often the most similar picture shows the same item",
    "recall@5": "how often at least one of the 5 most similar pictures shows the same item",
    "recall@10": "how often at least one of the 10 most similar pictures shows the same item",
    "precision@10": "share of the 10 most similar pictures that show the same item",
    "map@r": "1 if all pictures of the item rank before any other picture; the strictest metric",
    "map": "the same over the whole ranking, so that pictures found late still count a little",
    "ndcg@10": "how high the pictures of the item rank among the first 10",
}
"""Meaning of each metric, in the column order of `RetrievalResult.metrics`."""


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """Retrieval metrics of n queries. R is a query's number of relevant pictures."""

    metrics: NDArray[np.float32]  # (n, 7): values of METRICS; NaN if R = 0
    items: NDArray[np.intp]  # (n,): integer label of each query's item, from 0
    relevant: NDArray[np.intp]  # (n,): R of each query
    nearest_relevant: NDArray[np.float32]  # (n,): see RelevantRanks
    nearest_other: NDArray[np.float32]  # (n,): see RelevantRanks
    gallery_size: int  # number of pictures in the gallery
    gallery_items: int  # number of items in the gallery

    @property
    def has_relevant(self) -> NDArray[np.bool_]:
        """Boolean mask of the queries with R > 0, of shape (n,)."""
        return self.relevant > 0

    def mean_metrics(self) -> dict[str, float | int]:
        """Return the metrics averaged over the queries with R > 0, as `retrieval_metrics` does."""
        means = self.metrics[self.has_relevant].mean(axis=0, dtype=np.float64)
        return {
            **dict(zip(METRICS, means.tolist(), strict=True)),
            "queries": int(self.has_relevant.sum()),
            "gallery": self.gallery_size,
            "items": self.gallery_items,
        }


def retrieval_metrics(
    vectors: ArrayLike,
    item_ids: ItemIds,
    *,
    gallery: ArrayLike | None = None,
    gallery_item_ids: ItemIds | None = None,
    own_rows: ArrayLike | None = None,
) -> dict[str, float | int]:
    """Compute retrieval metrics of embeddings, averaged over the queries.

    For each query, the gallery is ranked by cosine similarity; equally similar pictures rank in row
    order. The R relevant pictures are the other pictures of the query's item in the gallery. For
    their ranks r_1 < … < r_R, counted from 1::

        recall@k      = 1 if r_1 ≤ k, else 0
        precision@10  = |{i : r_i ≤ 10}| / 10
        map@r         = 1/R · Σ_{i : r_i ≤ R} i / r_i
        map           = 1/R · Σ_i i / r_i
        ndcg@10       = Σ_{i : r_i ≤ 10} 1/log2(1 + r_i) / Σ_{i ≤ min(R, 10)} 1/log2(1 + i)

    Parameters
    ----------
    vectors : array-like of shape (n_queries, n_dimensions)
        Embeddings of the queries. They need not be normalised.
    item_ids : sequence of length n_queries
        Item of each query.
    gallery : array-like of shape (n_gallery, n_dimensions), optional
        Embeddings to search. By default, the queries themselves, with each query excluded from its
        own ranking (leave-one-out).
    gallery_item_ids : sequence of length n_gallery, optional
        Item of each gallery row. Required with `gallery`.
    own_rows : int array-like of shape (n_queries,), optional
        Gallery row of each query's own picture, which its ranking excludes, or -1 if the picture is
        not in the gallery. Requires `gallery`; by default, -1 for every query.

    Returns
    -------
    dict of str to float or int
        The averages of ``recall@1``, ``recall@5``, ``recall@10``, ``precision@10``, ``map@r``,
        ``map`` and ``ndcg@10``; and the counts ``queries`` (only those with R > 0, over which the
        metrics are averaged), ``gallery`` (gallery pictures) and ``items`` (gallery items).

    Raises
    ------
    InputError
        If the shapes do not match, a vector is zero or not finite, or no query has a relevant
        picture.

    References
    ----------
    K. Musgrave, S. Belongie, S.-N. Lim, "A Metric Learning Reality Check", ECCV 2020 (MAP@R).

    K. Järvelin, J. Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", ACM TOIS 20,
    2002 (nDCG).

    Examples
    --------
    >>> vectors = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5]]
    >>> metrics = retrieval_metrics(vectors, ["cup", "cup", "vase", "vase"])
    >>> metrics["recall@1"], metrics["map@r"], metrics["queries"]
    (0.75, 0.75, 4)
    """
    return measure_retrieval(
        vectors, item_ids, gallery=gallery, gallery_item_ids=gallery_item_ids, own_rows=own_rows
    ).mean_metrics()


def measure_retrieval(
    vectors: ArrayLike,
    item_ids: ItemIds,
    *,
    gallery: ArrayLike | None = None,
    gallery_item_ids: ItemIds | None = None,
    own_rows: ArrayLike | None = None,
) -> RetrievalResult:
    """Compute the metrics of `retrieval_metrics` for every query, without averaging them."""
    queries = UnitVectors(vectors, "vectors")
    if gallery is None:
        if gallery_item_ids is not None or own_rows is not None:
            raise InputError("gallery_item_ids and own_rows need a gallery; pass gallery too")
        searched, searched_ids, own = queries, item_ids, np.arange(len(queries))
    else:
        if gallery_item_ids is None:
            raise InputError("a gallery needs its item ids; pass gallery_item_ids too")
        searched, searched_ids = UnitVectors(gallery, "gallery"), gallery_item_ids
        own = np.full(len(queries), -1) if own_rows is None else np.asarray(own_rows)
    _require_matching_shapes(queries, item_ids, searched, searched_ids, own)

    numbers: dict[object, int] = {}  # item to number; gallery items come first
    searched_items = np.array([numbers.setdefault(item, len(numbers)) for item in searched_ids])
    gallery_items = len(numbers)
    items = np.array([numbers.setdefault(item, len(numbers)) for item in item_ids])
    result = RetrievalResult(
        metrics=np.full((len(queries), len(METRICS)), np.nan, np.float32),
        items=items,
        relevant=np.zeros(len(queries), np.intp),
        nearest_relevant=np.empty(len(queries), np.float32),
        nearest_other=np.empty(len(queries), np.float32),
        gallery_size=len(searched),
        gallery_items=gallery_items,
    )
    query_items = np.where(items < gallery_items, items, -1)
    for ranks in compute_relevant_ranks(queries, query_items, searched, searched_items, own):
        result.relevant[ranks.rows] = ranks.relevant
        result.nearest_relevant[ranks.rows] = ranks.nearest_relevant
        result.nearest_other[ranks.rows] = ranks.nearest_other
        result.metrics[ranks.rows[ranks.relevant > 0]] = _compute_metrics(ranks)
    if not result.has_relevant.any():
        raise InputError(
            "no query has another picture of its item in the gallery; give some items a second one"
        )
    return result


_GAINS = 1 / np.log2(np.arange(2, 12))  # gains at ranks 1 to 10
_IDEAL_GAINS = np.cumsum(_GAINS)


def _compute_metrics(block: RelevantRanks) -> NDArray[np.float64]:
    """Compute the `METRICS` of a block's queries with R > 0, as an array of shape (n, 7)."""
    ranks, relevant = block.ranks, block.relevant[block.relevant > 0]
    first = np.cumsum(relevant) - relevant  # index of each query's first rank
    precision = (np.arange(1, len(ranks) + 1) - np.repeat(first, relevant)) / ranks
    in_first_10 = ranks <= 10
    gains = np.where(in_first_10, _GAINS[np.minimum(ranks, 10) - 1], 0)

    def sum_by_query(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.add.reduceat(values.astype(np.float64), first)

    return np.stack(
        [
            ranks[first] <= 1,
            ranks[first] <= 5,
            ranks[first] <= 10,
            sum_by_query(in_first_10) / 10,
            sum_by_query(np.where(ranks <= np.repeat(relevant, relevant), precision, 0)) / relevant,
            sum_by_query(precision) / relevant,
            sum_by_query(gains) / _IDEAL_GAINS[np.minimum(relevant, 10) - 1],
        ],
        axis=1,
    )


def _require_matching_shapes(
    queries: UnitVectors,
    item_ids: ItemIds,
    gallery: UnitVectors,
    gallery_item_ids: ItemIds,
    own: NDArray[np.intp],
) -> None:
    if len(item_ids) != len(queries):
        raise InputError(f"{len(queries)} vectors, but {len(item_ids)} item ids")
    if len(gallery_item_ids) != len(gallery):
        raise InputError(f"{len(gallery)} gallery vectors, but {len(gallery_item_ids)} item ids")
    if queries.size != gallery.size:
        raise InputError(
            f"queries have {queries.size} dimensions, the gallery {gallery.size}; "
            "embed both with one model"
        )
    if own.shape != (len(queries),) or own.dtype.kind not in "iu":
        raise InputError(f"own_rows must be {len(queries)} integers, a gallery row or -1 each")
    if own.min() < -1 or own.max() >= len(gallery):
        raise InputError(f"own_rows must lie between -1 and {len(gallery) - 1}")
