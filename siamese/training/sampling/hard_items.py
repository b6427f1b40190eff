"""Order groups so that a batch holds neighbouring items, which are hard to tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from siamese.training.sampling.item_index import ItemIndex

NEIGHBOURHOOD = 8
"""Size of a neighbourhood: an item and its nearest. A batch holds several neighbourhoods."""
RANDOM_SHARE = 0.25
"""Share of the groups that stay in random order. Among neighbours alone, the network would learn
fine differences and forget the coarse ones."""
POOL = 16_384
"""Number of items, drawn at random, to search for neighbours."""
BLOCK = 256
"""Number of items to find neighbours of at once: 16 MB with a full pool."""


def order_by_neighbours(
    items: ItemIndex,
    groups: Sequence[np.ndarray],
    vectors: np.ndarray,
    per_batch: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return an order of groups in which those of neighbouring items are next to each other.

    The embedding of an item is the mean of its vectors, scaled to length 1. A neighbourhood is a
    random item and the negatives of it whose cosine is highest, among the items that still have
    groups left; each gives one group. (Items that share a label with it make no negative pairs.)
    Neighbourhoods are joined in random order, with the random groups spread evenly among them.

    Parameters
    ----------
    items : ItemIndex
        Items and labels of the rows.
    groups : sequence of g int ndarrays
        Rows of one item each.
    vectors : float32 ndarray of shape (n, d)
        Embeddings of the rows.
    per_batch : int
        Groups per batch.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    int ndarray of shape (g,)
        A permutation.

    References
    ----------
    C. Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017.

    W. Ge et al., "Deep Metric Learning with Hierarchical Triplet Loss", ECCV 2018: batches of a few
    random classes with the nearest of each.
    """
    shuffled = rng.permutation(len(groups))
    random = shuffled[: round(RANDOM_SHARE * len(groups))]
    waiting: list[list[int]] = [[] for _ in range(len(items))]
    for group in shuffled[len(random) :].tolist():
        waiting[items.item_of_row[groups[group][0]]].append(group)
    size = max(2, min(NEIGHBOURHOOD, round((1 - RANDOM_SHARE) * per_batch)))
    neighbourhoods = _neighbourhoods(items, waiting, _item_vectors(items, vectors), size, rng)
    order = rng.permutation(len(neighbourhoods))
    hard = np.array([group for number in order for group in neighbourhoods[number]], int)
    positions = np.concatenate([np.linspace(0, 1, len(random)), np.linspace(0, 1, len(hard))])
    return np.concatenate([random, hard])[np.argsort(positions, kind="stable")]


def _neighbourhoods(
    items: ItemIndex,
    waiting: list[list[int]],
    item_vectors: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Distribute the waiting groups of each item to neighbourhoods of at most `size`."""
    left = np.array([len(groups) for groups in waiting])
    neighbourhoods = []
    while left.any():
        pool = rng.permutation(np.flatnonzero(left))[:POOL]
        seeds = pool[:BLOCK]
        cosines = item_vectors[seeds] @ item_vectors[pool].T
        cosines[~items.rule.negative_matrix(seeds, pool)] = -np.inf
        for seed, similarity in zip(seeds, cosines, strict=True):
            if not left[seed]:
                continue
            similarity[left[pool] == 0] = -np.inf
            nearest = np.argpartition(-similarity, min(size, len(similarity)) - 1)[:size]
            nearest = nearest[np.argsort(-similarity[nearest], kind="stable")][: size - 1]
            members = [seed, *pool[nearest[similarity[nearest] > -np.inf]]]
            neighbourhoods.append([waiting[item].pop() for item in members])
            left[members] -= 1
    return neighbourhoods


def _item_vectors(items: ItemIndex, vectors: np.ndarray) -> np.ndarray:
    """Return the mean vector of each item, scaled to length 1: float32 (c, d)."""
    means = np.stack([vectors[rows].mean(axis=0) for rows in items.item_rows])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return means / np.maximum(lengths, np.finfo(np.float32).tiny)
