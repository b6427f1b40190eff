"""Any number of vectors that lie as real embeddings do, with labels and the exact answers.

A larger catalogue is not a denser copy of a small one: it has more items, each with as many
pictures as before. So every item made here is a real neighbourhood, moved elsewhere::

    x = unit(e_i + Σ_m w_m (e_b(m) - e_a) + s / √4 · Σ_m z_m (e_j(m) - e_i))

where e are real embeddings. a is the item's, b(1) to b(3) are of the `ELSEWHERE` nearest of a
beyond its neighbourhood, and w with 1 - Σ w is uniform among the convex weights: e_a comes to lie
amid four real pictures. i is a picture of a's neighbourhood, for each picture of the item another
one: their distances stay about the real ones. z are normal, j(1) to j(4) of the nearest of i, s =
`NOISE`: no two items are alike. What this keeps of the real embeddings, `shape_of` tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siamese.utils.files import atomic_path
from siamese.vectors.nearest import nearest as exact_neighbours
from siamese.vectors.unit_vectors import UnitVectors

K = 10
"""Neighbours that a search asks for."""

NEIGHBOURHOOD = 16
ELSEWHERE = 50
CORNERS = 3
DIRECTIONS = 4
NOISE = 0.4
PICTURES = (2, 16)
"""Of an item, at least and at most; all equally likely."""

LABELS = 200
LABELS_OF_ITEM = 2
"""Drawn by Zipf's law: the r-th most frequent label r times as seldom as the first."""
SELDOM = "one percent"
"""The label of every hundredth item, by which searches are filtered."""

BLOCK = 4096
"""Number of items made at once."""


def reduced(embeddings: NDArray[np.floating[Any]], dimensions: int) -> NDArray[np.float32]:
    """Embeddings in fewer dimensions, those that keep most of their inner products, of length 1.

    Parameters
    ----------
    embeddings : (n, d)
    dimensions : at most d
    """
    data = np.asarray(embeddings, np.float64)
    _, directions = np.linalg.eigh(data.T @ data)
    return _unit(data @ directions[:, ::-1][:, :dimensions])


def nearest(
    X: NDArray[np.float32], data: NDArray[np.float32], k: int, own: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Find the k nearest of each row of X exactly, with only blocks of `data` in memory.

    Parameters
    ----------
    X, data : arrays of shape (n, d) and (m, d)
        Vectors of length 1.
    k : int
    own : bool, default False
        Whether X is `data`, and no row is its own neighbour.

    Returns
    -------
    distances : array of shape (n, k)
        In ascending order.
    rows : int array of shape (n, k)
    """
    cosines, rows = exact_neighbours(
        UnitVectors(X, "queries"),
        UnitVectors(data, "vectors"),
        k,
        own=np.arange(len(X)) if own else None,
    )
    return np.sqrt(np.maximum(2 - 2 * cosines, 0)), rows


def shape_of(distances: NDArray[np.floating[Any]]) -> dict[str, float]:
    """How vectors lie, by the distances r₁ ≤ … ≤ r_k of some to their nearest others.

    ``dimension = (k - 2) / mean Σ_j log(r_k / r_j)`` is the intrinsic one (Levina and Bickel 2004,
    averaged as MacKay and Ghahramani 2005), ``two_nn = 1 / mean log(r₂ / r₁)`` the same from the
    nearest two (Facco et al. 2017). Pictures that are there twice are left out.

    Returns
    -------
    `dimension`, `two_nn`; `nearest` and `tenth`, the medians of r₁ and r_k; `nearest_low` and
    `nearest_high`, the quartiles of r₁
    """
    known = np.asarray(distances, np.float64)
    known = known[known[:, 0] > 1e-3]
    low, middle, high = np.quantile(known[:, 0], (0.25, 0.5, 0.75))
    logarithms = np.log(known[:, -1:] / known[:, :-1]).sum(axis=1)
    return {
        "dimension": float((known.shape[1] - 2) / logarithms.mean()),
        "two_nn": float(1 / np.log(known[:, 1] / known[:, 0]).mean()),
        "nearest": float(middle),
        "nearest_low": float(low),
        "nearest_high": float(high),
        "tenth": float(np.median(known[:, -1])),
    }


class Items:
    """Makes pictures of items that are not there, like those that are.

    Parameters
    ----------
    real : (m, d), embeddings of length 1
    seed : another seed, another draw
    """

    def __init__(self, real: NDArray[np.float32], seed: int) -> None:
        self._real, self._seed = real, seed
        wide = min(NEIGHBOURHOOD + ELSEWHERE, len(real) - 1)
        _, near = nearest(real, real, wide, own=True)
        self._near = near[:, :NEIGHBOURHOOD]
        self._elsewhere = near[:, NEIGHBOURHOOD:]

    def blocks(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp]]]:
        """Without end: vectors (n, d), the number of each one's item (n,), and labels (n, 2)."""
        frequency = 1 / np.arange(1, LABELS + 1)
        block = 0
        while True:
            rng = np.random.default_rng([self._seed, block])
            items = np.repeat(
                np.arange(BLOCK), rng.integers(PICTURES[0], PICTURES[1] + 1, size=BLOCK)
            )
            a = rng.integers(len(self._real), size=BLOCK)
            weights = rng.dirichlet(np.ones(1 + CORNERS), size=BLOCK).astype(np.float32)
            move = np.zeros((BLOCK, self._real.shape[1]), np.float32)
            for weight in weights.T[1:]:
                b = self._elsewhere[a, rng.integers(self._elsewhere.shape[1], size=BLOCK)]
                move += weight[:, None] * (self._real[b] - self._real[a])
            # The place of each picture in its item, and of each item the pictures in random order.
            place = np.arange(len(items)) - np.searchsorted(items, items)
            order = rng.permuted(np.tile(np.arange(NEIGHBOURHOOD), (BLOCK, 1)), axis=1)
            i = self._near[a[items], order[items, place]]
            made = self._real[i] + move[items]
            for _ in range(DIRECTIONS):
                j = self._near[i, rng.integers(NEIGHBOURHOOD, size=len(i))]
                z = NOISE / DIRECTIONS**0.5 * rng.standard_normal((len(i), 1), np.float32)
                made += z * (self._real[j] - self._real[i])
            labels = rng.choice(LABELS, size=(BLOCK, LABELS_OF_ITEM), p=frequency / frequency.sum())
            yield _unit(made), block * BLOCK + items, labels[items]
            block += 1


def prepare(
    folder: Path, real: NDArray[np.float32], size: int, queries: int, seed: int
) -> dict[str, Any]:
    """Make a catalogue in a folder, or read what is told of the one that is there.

    It holds `vectors.npy`, float32 (n, d); `items.npy` and `labels.npy`, int (n,) and (n, 2);
    `queries.npy`, float32 (q, d), drawn in the same way but not in the index; `exact.npy` and
    `exact_seldom.npy`, int (q, 10), the nearest of each query, and of those with the label
    `SELDOM`; `facts.json`, which is what is returned.

    Returns
    -------
    `vectors`, `items`, `seldom` (pictures with that label) and `shape`, see `shape_of`
    """
    if not (folder / "facts.json").is_file():
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            _make(temporary, real, size, queries, seed)
    return json.loads((folder / "facts.json").read_text())


def _make(folder: Path, real: NDArray[np.float32], size: int, queries: int, seed: int) -> None:
    total, dimensions = size + queries, real.shape[1]
    asked = np.zeros(total, np.bool_)
    asked[np.random.default_rng(seed).choice(total, queries, replace=False)] = True
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", "w+", dtype=np.float32, shape=(size, dimensions)
    )
    searched = np.empty((queries, dimensions), np.float32)
    items, labels = np.empty(size, np.int32), np.empty((size, LABELS_OF_ITEM), np.int16)
    made = kept = 0
    for some, of_items, of_labels in Items(real, seed).blocks():
        query = asked[made : made + len(some)]
        some, of_items, of_labels = (of[: len(query)] for of in (some, of_items, of_labels))
        done = made - kept
        searched[done : done + query.sum()] = some[query]
        end = kept + (~query).sum()
        vectors[kept:end] = some[~query]
        items[kept:end], labels[kept:end] = of_items[~query], of_labels[~query]
        made, kept = made + len(query), end
        if made == total:
            break
    vectors.flush()
    distances, exact = nearest(searched, vectors, K)
    seldom = np.flatnonzero(items % 100 == 0)
    _, exact_seldom = nearest(searched, vectors[seldom], min(K, len(seldom)))
    for name, array in (
        ("queries", searched),
        ("items", items),
        ("labels", labels),
        ("exact", exact),
        ("exact_seldom", seldom[exact_seldom]),
    ):
        np.save(folder / f"{name}.npy", array)
    facts = {
        "vectors": size,
        "items": len(np.unique(items)),
        "seldom": len(seldom),
        "shape": shape_of(distances),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))


def metadata(folder: Path) -> list[dict[str, Any]]:
    """What an index keeps of the pictures of `prepare`; filenames are their rows."""
    names = [f"label {number}" for number in range(LABELS)]
    items, labels = (np.load(folder / f"{name}.npy").tolist() for name in ("items", "labels"))
    return [
        {
            "item_id": f"item {item}",
            "filename": f"{row}.jpg",
            "labels": [names[label] for label in dict.fromkeys(some)]
            + ([SELDOM] if item % 100 == 0 else []),
        }
        for row, (item, some) in enumerate(zip(items, labels, strict=True))
    ]


def _unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / length).astype(np.float32)
