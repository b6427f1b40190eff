"""Generate any number of vectors that are distributed like real embeddings.

A larger catalogue is not a denser copy of a small one: it has more items, each with as many
pictures as before. So every generated item is a real neighbourhood, moved to another place::

    x = unit(e_i + Σ_m w_m (e_b(m) - e_a) + s / √4 · Σ_m z_m (e_j(m) - e_i))

where e are real embeddings. Each item starts from one real picture a. Pictures b(1) to b(3) are
drawn from the `OUTER_NEIGHBOURS` nearest pictures outside the neighbourhood of a. The weights w and
1 - Σ w are drawn uniformly from the simplex, so e_a moves to a convex combination of four real
pictures. Each picture of the item takes a different i from the neighbourhood of a, so the distances
within the item hardly change. The noise makes all items differ: the z are standard normal, j(1) to
j(4) are drawn from the neighbourhood of i, and s = `NOISE`. `describe_shape` measures how similar
the result is to the real embeddings.
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
OUTER_NEIGHBOURS = 50
CORNERS = 3
DIRECTIONS = 4
NOISE = 0.4
PICTURES = (2, 16)
"""Smallest and largest number of pictures per item, drawn uniformly."""

LABELS = 200
LABELS_OF_ITEM = 2
"""Drawn by Zipf's law: the r-th most frequent label is r times as rare as the first."""
RARE_LABEL = "one percent"
"""Label of every hundredth item, which the filtered searches require."""

BLOCK = 4096
"""Number of items to generate at once."""


def reduce_dimensions(
    embeddings: NDArray[np.floating[Any]], dimensions: int
) -> NDArray[np.float32]:
    """Project embeddings to the dimensions that keep most of their inner products.

    Parameters
    ----------
    embeddings : array of shape (n, d)
        Real embeddings.
    dimensions : int
        Number of dimensions, at most d.

    Returns
    -------
    float32 array of shape (n, dimensions)
        Vectors of length 1.
    """
    data = np.asarray(embeddings, np.float64)
    _, directions = np.linalg.eigh(data.T @ data)
    return scale_to_unit_length(data @ directions[:, ::-1][:, :dimensions])


def find_nearest(
    X: NDArray[np.float32], data: NDArray[np.float32], k: int, own: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Find the k nearest of each row of X exactly, with only blocks of `data` in memory.

    Parameters
    ----------
    X, data : arrays of shape (n, d) and (m, d)
        Vectors of length 1.
    k : int
        Number of neighbours per row of X.
    own : bool, default False
        Whether X is `data` and each row is left out of its own neighbours.

    Returns
    -------
    distances : array of shape (n, k)
        In ascending order.
    rows : int array of shape (n, k)
        Rows of `data`.
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

    Vectors that have a duplicate are ignored.

    Parameters
    ----------
    distances : array of shape (n, k)
        Distances of each vector to its k nearest neighbours, in ascending order.

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


class ItemGenerator:
    """Generator of items whose pictures are distributed like real ones.

    Parameters
    ----------
    real : array of shape (m, d)
        Real embeddings of length 1.
    seed : int
        Seed of the random numbers.
    """

    def __init__(self, real: NDArray[np.float32], seed: int) -> None:
        self._real, self._seed = real, seed
        k = min(NEIGHBOURHOOD + OUTER_NEIGHBOURS, len(real) - 1)
        _, rows = find_nearest(real, real, k, own=True)
        self._inner, self._outer = rows[:, :NEIGHBOURHOOD], rows[:, NEIGHBOURHOOD:]

    def generate_blocks(
        self,
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp]]]:
        """Yield vectors (n, d), item numbers (n,) and label numbers (n, 2) without end."""
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
                b = self._outer[a, rng.integers(self._outer.shape[1], size=BLOCK)]
                move += weight[:, None] * (self._real[b] - self._real[a])
            # The pictures of an item take its neighbourhood in random order.
            place = np.arange(len(items)) - np.searchsorted(items, items)
            order = rng.permuted(np.tile(np.arange(NEIGHBOURHOOD), (BLOCK, 1)), axis=1)
            i = self._inner[a[items], order[items, place]]
            vectors = self._real[i] + move[items]
            for _ in range(DIRECTIONS):
                j = self._inner[i, rng.integers(NEIGHBOURHOOD, size=len(i))]
                z = NOISE / DIRECTIONS**0.5 * rng.standard_normal((len(i), 1), np.float32)
                vectors += z * (self._real[j] - self._real[i])
            labels = rng.choice(LABELS, size=(BLOCK, LABELS_OF_ITEM), p=frequency / frequency.sum())
            yield scale_to_unit_length(vectors), block * BLOCK + items, labels[items]
            block += 1


def prepare_catalogue(
    folder: Path, real: NDArray[np.float32], size: int, queries: int, seed: int
) -> dict[str, Any]:
    """Generate a catalogue in a folder, unless it exists, and return its facts.

    The folder has the files

    - `vectors.npy`, float32 (n, d), the pictures to index;
    - `items.npy`, int (n,), and `labels.npy`, int (n, 2), their items and labels;
    - `queries.npy`, float32 (q, d), further pictures of these items;
    - `exact.npy`, int (q, 10), the nearest pictures of each query;
    - `exact_seldom.npy`, int (q, 10), the nearest pictures with the label `RARE_LABEL`;
    - `facts.json`, the result.

    Parameters
    ----------
    folder : Path
        Folder to write.
    real : array of shape (m, d)
        Real embeddings of length 1.
    size : int
        Number of pictures in the index.
    queries : int
        Number of queries.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    dict
        Numbers of `vectors`, `items` and `seldom` pictures, which have the label `RARE_LABEL`; and
        `shape`, the result of `describe_shape` for the queries.
    """
    if not (folder / "facts.json").is_file():
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            _write_catalogue(temporary, real, size, queries, seed)
    return json.loads((folder / "facts.json").read_text())


def _write_catalogue(
    folder: Path, real: NDArray[np.float32], size: int, queries: int, seed: int
) -> None:
    total, dimensions = size + queries, real.shape[1]
    is_query = np.zeros(total, np.bool_)
    is_query[np.random.default_rng(seed).choice(total, queries, replace=False)] = True
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", "w+", dtype=np.float32, shape=(size, dimensions)
    )
    query_vectors = np.empty((queries, dimensions), np.float32)
    items, labels = np.empty(size, np.int32), np.empty((size, LABELS_OF_ITEM), np.int16)
    start = indexed = 0
    for block in ItemGenerator(real, seed).generate_blocks():
        mask = is_query[start : start + len(block[0])]
        block_vectors, block_items, block_labels = (array[: len(mask)] for array in block)
        queried = start - indexed
        query_vectors[queried : queried + mask.sum()] = block_vectors[mask]
        end = indexed + (~mask).sum()
        vectors[indexed:end] = block_vectors[~mask]
        items[indexed:end], labels[indexed:end] = block_items[~mask], block_labels[~mask]
        start, indexed = start + len(mask), end
        if start == total:
            break
    vectors.flush()
    distances, exact = find_nearest(query_vectors, vectors, K)
    rare_rows = np.flatnonzero(items % 100 == 0)
    _, exact_rare = find_nearest(query_vectors, vectors[rare_rows], min(K, len(rare_rows)))
    for name, array in (
        ("queries", query_vectors),
        ("items", items),
        ("labels", labels),
        ("exact", exact),
        ("exact_seldom", rare_rows[exact_rare]),
    ):
        np.save(folder / f"{name}.npy", array)
    facts = {
        "vectors": size,
        "items": len(np.unique(items)),
        "seldom": len(rare_rows),
        "shape": describe_shape(distances),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))


def read_metadata(folder: Path) -> list[dict[str, Any]]:
    """Read the metadata of the pictures of a catalogue; the filenames contain the rows."""
    names = [f"label {number}" for number in range(LABELS)]
    items, labels = (np.load(folder / f"{name}.npy").tolist() for name in ("items", "labels"))
    return [
        {
            "item_id": f"item {item}",
            "filename": f"{row}.jpg",
            "labels": [names[label] for label in dict.fromkeys(item_labels)]
            + ([RARE_LABEL] if item % 100 == 0 else []),
        }
        for row, (item, item_labels) in enumerate(zip(items, labels, strict=True))
    ]


def scale_to_unit_length(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Scale each row to length 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / length).astype(np.float32)
