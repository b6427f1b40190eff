"""How good a ranking is: embeddings and item ids in, retrieval figures out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError

ItemIds: TypeAlias = Sequence[object] | NDArray[Any]

BLOCK_BYTES = 64 * 2**20
"""Memory for the similarities of one block of queries, whatever the number of queries."""


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
    vectors : (n, d), the queries; scaled to length 1 here
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
    queries = _normalised(vectors, "vectors")
    if gallery is None:
        if gallery_item_ids is not None or own_rows is not None:
            raise InputError("gallery_item_ids and own_rows go with a gallery; give it too")
        searched, searched_ids, own = queries, item_ids, np.arange(len(queries))
    else:
        if gallery_item_ids is None:
            raise InputError("a gallery needs its item ids; give gallery_item_ids too")
        searched, searched_ids = _normalised(gallery, "gallery"), gallery_item_ids
        own = np.full(len(queries), -1) if own_rows is None else np.asarray(own_rows)
    _require_agreement(queries, item_ids, searched, searched_ids, own)

    rows_of: dict[object, list[int]] = {}
    for row, item_id in enumerate(searched_ids):
        rows_of.setdefault(item_id, []).append(row)
    relevant_rows = {item_id: np.array(rows) for item_id, rows in rows_of.items()}

    total, answered = np.zeros(len(_FIGURES)), 0
    for query, similarity, ascending in _rankings(queries, searched, own):
        relevant = relevant_rows.get(item_ids[query], _NONE)
        relevant = relevant[relevant != own[query]]
        if len(relevant):
            total += _figures(_ranks(relevant, similarity, ascending))
            answered += 1
    if not answered:
        raise InputError("no query has another picture of its item in the gallery")
    return {
        **dict(zip(_FIGURES, (total / answered).tolist(), strict=True)),
        "queries": answered,
        "gallery": len(searched),
        "items": len(rows_of),
    }


_FIGURES = ("recall@1", "recall@5", "recall@10", "precision@10", "map@r", "map", "ndcg@10")
_NONE = np.empty(0, int)
_GAINS = 1 / np.log2(np.arange(2, 12))  # of the ranks 1 to 10
_IDEAL = np.cumsum(_GAINS)


def _figures(ranks: NDArray[np.intp]) -> NDArray[np.float64]:
    """The figures of one query, in the order of `_FIGURES`, from its ascending ranks."""
    relevant = len(ranks)
    precision = np.arange(1, relevant + 1) / ranks
    top = ranks[ranks <= 10]
    return np.array(
        [
            ranks[0] <= 1,
            ranks[0] <= 5,
            ranks[0] <= 10,
            len(top) / 10,
            precision[ranks <= relevant].sum() / relevant,
            precision.sum() / relevant,
            _GAINS[top - 1].sum() / _IDEAL[min(relevant, 10) - 1],
        ]
    )


def _ranks(
    rows: NDArray[np.intp], similarity: NDArray[np.float32], ascending: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Where some gallery rows stand in a ranking, ascending, without sorting out all the others.

    rank = 1 + |{more similar rows}| + |{equally similar rows before it}|
    """
    values = similarity[rows]
    upto = np.searchsorted(ascending, values, side="right")
    tied = upto - np.searchsorted(ascending, values, side="left") > 1
    ranks = 1 + len(ascending) - upto
    for place in np.flatnonzero(tied):
        ranks[place] += np.count_nonzero(similarity[: rows[place]] == values[place])
    return np.sort(ranks)


def _rankings(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], own: NDArray[np.intp]
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """For each query: its row, its similarity to the gallery rows, and the same sorted.

    Its own picture is given the similarity -inf, which is behind all others.
    """
    # A matrix product may round equal columns differently, by where they stand; multiplied
    # once and copied, equal vectors stay equal.
    as_bytes = gallery.view(np.dtype((np.void, gallery.itemsize * gallery.shape[1]))).ravel()
    _, first, place = np.unique(as_bytes, return_index=True, return_inverse=True)
    distinct = gallery if len(first) == len(gallery) else gallery[first]

    size = max(1, BLOCK_BYTES // (3 * gallery.itemsize * len(gallery)))
    for start in range(0, len(queries), size):
        similarity = queries[start : start + size] @ distinct.T
        if distinct is not gallery:
            similarity = similarity[:, place]
        (with_own,) = np.nonzero(own[start : start + size] >= 0)
        similarity[with_own, own[start + with_own]] = -np.inf
        ascending = np.sort(similarity, axis=1)
        for row in range(len(similarity)):
            yield start + row, similarity[row], ascending[row]


def _normalised(vectors: ArrayLike, name: str) -> NDArray[np.float32]:
    """As float32 (n, d) of length 1."""
    array = np.asarray(vectors, np.float32)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name}: the shape is {array.shape}, not (pictures, dimensions)")
    length = np.linalg.norm(array.astype(np.float64), axis=1, keepdims=True)
    if len(bad := np.flatnonzero(~np.isfinite(length) | (length == 0))):
        raise InputError(
            f"{name}: {len(bad)} of {len(array)} have no direction (NaN, infinite or all 0), "
            f"the first in row {bad[0]}; the model that made them is broken"
        )
    # + 0: there is no -0.0 then, and equal vectors have equal bytes.
    return (array / length).astype(np.float32) + np.float32(0)


def _require_agreement(
    queries: NDArray[np.float32],
    item_ids: ItemIds,
    gallery: NDArray[np.float32],
    gallery_item_ids: ItemIds,
    own: NDArray[np.intp],
) -> None:
    if len(item_ids) != len(queries):
        raise InputError(f"{len(queries)} vectors, but {len(item_ids)} item ids")
    if len(gallery_item_ids) != len(gallery):
        raise InputError(f"{len(gallery)} gallery vectors, but {len(gallery_item_ids)} item ids")
    if queries.shape[1] != gallery.shape[1]:
        raise InputError(
            f"queries have {queries.shape[1]} dimensions, the gallery {gallery.shape[1]}; "
            "embed both with one model"
        )
    if own.shape != (len(queries),) or own.dtype.kind not in "iu":
        raise InputError(f"own_rows must be {len(queries)} integers, a gallery row or -1 each")
    if own.min() < -1 or own.max() >= len(gallery):
        raise InputError(f"own_rows must lie between -1 and {len(gallery) - 1}")
