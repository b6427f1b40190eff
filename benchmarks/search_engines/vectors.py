"""Generate any number of vectors that are distributed like real embeddings.

A larger catalogue is not a denser copy of a small one: it has more items, each with as many
pictures as before. So every generated item is a real neighbourhood, moved elsewhere::

    x = unit(e_i + Σ_m w_m (e_b(m) - e_a) + s / √4 · Σ_m z_m (e_j(m) - e_i))

where e are real embeddings. The item has the picture a. Pictures b(1) to b(3) are among the
`ELSEWHERE` nearest of a outside its neighbourhood, and the weights w and 1 - Σ w are uniform among
the convex ones, so that e_a moves to a place between four real pictures. Each picture of the item
has another i from the neighbourhood of a, so that their distances stay about the same. The z are
normal, j(1) to j(4) are among the nearest of i, and s = `NOISE`, so that all items differ.
`describe_shape` measures how similar the result is to the real embeddings.
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
"""Number of neighbours per query."""

NEIGHBOURHOOD = 16
ELSEWHERE = 50
CORNERS = 3
DIRECTIONS = 4
NOISE = 0.4
PICTURES = (2, 16)
"""Smallest and largest number of pictures of an item; all are equally likely."""

LABELS = 200
LABELS_OF_ITEM = 2
"""Drawn by Zipf's law: the r-th most frequent label occurs 1/r times as often as the first."""
SELDOM = "one percent"
"""Label of every hundredth item, which filters searches."""

BLOCK = 4096
"""Number of items made at once."""


def reduce_dimensions(
    embeddings: NDArray[np.floating[Any]], dimensions: int
) -> NDArray[np.float32]:
    """Project embeddings to the dimensions that keep most of their inner products.

    Parameters
    ----------
    embeddings : array of shape (n, d)
    dimensions : int
        At most d.

    Returns
    -------
    float32 array of shape (n, dimensions)
        Vectors of length 1.
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


def describe_shape(distances: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Describe the distribution of vectors by the distances to their nearest neighbours.

    With the distances r₁ ≤ … ≤ r_k of a vector, the intrinsic dimension is ::

        dimension = (k - 2) / mean Σ_j log(r_k / r_j)
        two_nn = 1 / mean log(r₂ / r₁)

    Duplicates are left out.

    Parameters
    ----------
    distances : array of shape (n, k)

    Returns
    -------
    dict
        `dimension` and `two_nn`; `nearest` and `tenth`, the medians of r₁ and r_k; `nearest_low`
        and `nearest_high`, the quartiles of r₁.

    References
    ----------
    Levina and Bickel 2004, averaged as by MacKay and Ghahramani 2005 (`dimension`); Facco et al.
    2017 (`two_nn`).
    """
    radii = np.asarray(distances, np.float64)
    radii = radii[radii[:, 0] > 1e-3]
    low, middle, high = np.quantile(radii[:, 0], (0.25, 0.5, 0.75))
    logarithms = np.log(radii[:, -1:] / radii[:, :-1]).sum(axis=1)
    return {
        "dimension": float((radii.shape[1] - 2) / logarithms.mean()),
        "two_nn": float(1 / np.log(radii[:, 1] / radii[:, 0]).mean()),
        "nearest": float(middle),
        "nearest_low": float(low),
        "nearest_high": float(high),
        "tenth": float(np.median(radii[:, -1])),
    }


class Items:
    """Generates the pictures of further items from real ones.

    Parameters
    ----------
    real : array of shape (m, d)
        Embeddings of length 1.
    seed : int
    """

    def __init__(self, real: NDArray[np.float32], seed: int) -> None:
        self._real, self._seed = real, seed
        wide = min(NEIGHBOURHOOD + ELSEWHERE, len(real) - 1)
        _, near = nearest(real, real, wide, own=True)
        self._near = near[:, :NEIGHBOURHOOD]
        self._elsewhere = near[:, NEIGHBOURHOOD:]

    def blocks(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp]]]:
        """Yield vectors (n, d), their items (n,) and labels (n, 2) endlessly, as numbers."""
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
            # Number the pictures of each item, and draw from its neighbourhood in random order.
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
    """Generate a catalogue in a folder, unless it exists, and return its facts.

    The folder has `vectors.npy`, float32 (n, d); `items.npy` and `labels.npy`, int (n,) and (n, 2);
    `queries.npy`, float32 (q, d), generated in the same way but not in the index; `exact.npy` and
    `exact_seldom.npy`, int (q, 10), the nearest pictures of each query, and the nearest with the
    label `SELDOM`; and `facts.json`.

    Returns
    -------
    dict
        Numbers of `vectors`, `items` and `seldom` pictures, with the label `SELDOM`; and `shape`,
        see `describe_shape`.
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
        "shape": describe_shape(distances),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))


def metadata(folder: Path) -> list[dict[str, Any]]:
    """Return the metadata of the pictures of `prepare`; their filenames are their rows."""
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
