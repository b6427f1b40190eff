"""Hard items: similar items, which are hard to tell apart, placed in the same batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from siamese.training.sampling.item_index import ItemIndex

NEIGHBOURHOOD = 8
"""Maximum number of items in a neighbourhood: an item and its nearest negatives."""
RANDOM_SHARE = 0.25
"""Fraction of the groups placed at random. With neighbours alone, the network would learn fine
differences and forget coarse ones."""
POOL = 16_384
"""Maximum number of items, drawn at random, among which to search for neighbours."""
BLOCK = 256
"""Number of items whose neighbours are found at once; with a full pool this takes 16 MB."""


def order_by_neighbours(
    items: ItemIndex,
    groups: Sequence[np.ndarray],
    vectors: np.ndarray,
    per_batch: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Order groups so that those of similar items are next to each other.

    An item's embedding is the L2-normalised mean of its vectors. A neighbourhood takes one group
    from a random item, and one from each of the most similar items (by cosine) that form negative
    pairs with it and have groups left. Neighbourhoods are concatenated in random order, and a
    fraction `RANDOM_SHARE` of the groups, drawn at random, is spread evenly among them.

    Parameters
    ----------
    items : ItemIndex
        Items and labels of the rows.
    groups : sequence of g int ndarrays
        Groups to order; the rows in a group belong to the same item.
    vectors : float32 ndarray of shape (n, d)
        Embeddings of the rows.
    per_batch : int
        Number of groups per batch.
    rng : numpy.random.Generator
        Random number generator.

    Returns
    -------
    int ndarray of shape (g,)
        Permutation of the groups.

    References
    ----------
    C. Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017.

    W. Ge et al., "Deep Metric Learning with Hierarchical Triplet Loss", ECCV 2018: batches of a few
    random classes, each with its nearest classes.
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
    """Distribute the groups waiting for each item to neighbourhoods of at most `size` groups."""
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
    """Return the L2-normalised mean vector of each item: float32 (c, d)."""
    means = np.stack([vectors[rows].mean(axis=0) for rows in items.item_rows])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return means / np.maximum(lengths, np.finfo(np.float32).tiny)
