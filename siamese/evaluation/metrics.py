"""How good a ranking is: embeddings and item ids in, retrieval figures out."""

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

FIGURES = ("recall@1", "recall@5", "recall@10", "precision@10", "map@r", "map", "ndcg@10")


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """The ranking of every query in figures.

    Attributes
    ----------
    figures : float32 (n, 7), a row a query in the order of `FIGURES`; NaN where R = 0
    items : int (n,), each query's item, numbered from 0
    relevant : int (n,), R: the pictures there are to find
    nearest_relevant : float32 (n,), the cosine to the nearest of them, -inf where R = 0
    nearest_other : float32 (n,), the cosine to the nearest picture of another item, -inf without
    gallery : how many pictures are searched
    gallery_items : how many items they show
    """

    figures: NDArray[np.float32]
    items: NDArray[np.intp]
    relevant: NDArray[np.intp]
    nearest_relevant: NDArray[np.float32]
    nearest_other: NDArray[np.float32]
    gallery: int
    gallery_items: int

    @property
    def has_relevant(self) -> NDArray[np.bool_]:
        """bool (n,): R > 0."""
        return self.relevant > 0

    def mean_metrics(self) -> dict[str, float | int]:
        """Average over the queries, as `retrieval_metrics` returns it."""
        means = self.figures[self.has_relevant].mean(axis=0, dtype=np.float64)
        return {
            **dict(zip(FIGURES, means.tolist(), strict=True)),
            "queries": int(self.has_relevant.sum()),
            "gallery": self.gallery,
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
    """Rank the gallery for every query by cosine and say how well its item is found.

    A query has R relevant pictures, the gallery's other pictures of its item; they stand at the
    ranks r_1 < … < r_R (from 1). Every figure follows from these alone and is averaged over
    the queries::

        recall@k      1 if r_1 ≤ k, else 0
        precision@10  |{i : r_i ≤ 10}| / 10
        map@r         1/R · Σ_{i : r_i ≤ R} i / r_i
        map           1/R · Σ_i i / r_i
        ndcg@10       Σ_{i : r_i ≤ 10} 1/log2(1 + r_i)  /  Σ_{i ≤ min(R, 10)} 1/log2(1 + i)

    Equally similar pictures rank in the order of their rows, as after a stable sort.

    Parameters
    ----------
    vectors : (n, d), the queries; of any length, compared by cosine
    item_ids : (n,), the item of each query
    gallery : (m, d), what is searched; by default `vectors` themselves, leave-one-out: a query
        is never in its own ranking
    gallery_item_ids : (m,), the item of each gallery row
    own_rows : int (n,), the gallery row that is the query's own picture and is left out of its
        ranking, -1 where there is none

    Returns
    -------
    The figures above for k = 1, 5, 10, and the counts `queries` (those with R > 0; the others
    are left out of the averages), `gallery` (pictures) and `items` (items of the gallery).

    Raises
    ------
    InputError
        If shapes do not agree, a vector is not finite or has length 0, or no query has a
        relevant picture.

    References
    ----------
    Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020 (MAP@R).
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
    """Rank as `retrieval_metrics` does, and keep the figures of every query."""
    queries = UnitVectors(vectors, "vectors")
    if gallery is None:
        if gallery_item_ids is not None or own_rows is not None:
            raise InputError("gallery_item_ids and own_rows go with a gallery; give it too")
        searched, searched_ids, own = queries, item_ids, np.arange(len(queries))
    else:
        if gallery_item_ids is None:
            raise InputError("a gallery needs its item ids; give gallery_item_ids too")
        searched, searched_ids = UnitVectors(gallery, "gallery"), gallery_item_ids
        own = np.full(len(queries), -1) if own_rows is None else np.asarray(own_rows)
    _require_agreement(queries, item_ids, searched, searched_ids, own)

    numbers: dict[object, int] = {}
    searched_items = np.array([numbers.setdefault(one, len(numbers)) for one in searched_ids])
    gallery_items = len(numbers)
    items = np.array([numbers.setdefault(one, len(numbers)) for one in item_ids])
    done = RetrievalResult(
        figures=np.full((len(queries), len(FIGURES)), np.nan, np.float32),
        items=items,
        relevant=np.zeros(len(queries), np.intp),
        nearest_relevant=np.empty(len(queries), np.float32),
        nearest_other=np.empty(len(queries), np.float32),
        gallery=len(searched),
        gallery_items=gallery_items,
    )
    known = np.where(items < gallery_items, items, -1)
    for part in compute_relevant_ranks(queries, known, searched, searched_items, own):
        done.relevant[part.rows] = part.relevant
        done.nearest_relevant[part.rows] = part.nearest_relevant
        done.nearest_other[part.rows] = part.nearest_other
        done.figures[part.rows[part.relevant > 0]] = _figures(part)
    if not done.has_relevant.any():
        raise InputError(
            "no query has another picture of its item in the gallery; give some items a second one"
        )
    return done


_GAINS = 1 / np.log2(np.arange(2, 12))  # of the ranks 1 to 10
_IDEAL = np.cumsum(_GAINS)


def _figures(part: RelevantRanks) -> NDArray[np.float64]:
    """(n, 7), the figures of the queries with R > 0, in the order of `FIGURES`."""
    relevant = part.relevant[part.relevant > 0]
    if not len(relevant):
        return np.empty((0, len(FIGURES)))
    first = np.cumsum(relevant) - relevant
    of_query = np.repeat(relevant, relevant)
    ranks = part.ranks
    precision = (np.arange(1, len(ranks) + 1) - np.repeat(first, relevant)) / ranks
    top = ranks <= 10
    gains = np.where(top, _GAINS[np.minimum(ranks, 10) - 1], 0)

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.add.reduceat(values.astype(np.float64), first)

    return np.stack(
        [
            ranks[first] <= 1,
            ranks[first] <= 5,
            ranks[first] <= 10,
            total(top) / 10,
            total(np.where(ranks <= of_query, precision, 0)) / relevant,
            total(precision) / relevant,
            total(gains) / _IDEAL[np.minimum(relevant, 10) - 1],
        ],
        axis=1,
    )


def _require_agreement(
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
