"""Neighbouring items side by side, so that a batch holds negatives that are hard to tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from siamese.training.sampling.item_index import ItemIndex

NEIGHBOURHOOD = 8
"""Items of a neighbourhood: one and its nearest. A batch holds several, each elsewhere."""
RANDOM_SHARE = 0.25
"""Of the groups, those that stay in random order. With neighbours alone the network would see
only the fine differences and forget the coarse ones."""
POOL = 16_384
"""Most items, drawn at random, that neighbours are sought among."""
BLOCK = 256
"""Items whose neighbours are sought in one go: 16 MB with a full pool."""


def neighbours_together(
    items: ItemIndex,
    groups: Sequence[np.ndarray],
    vectors: np.ndarray,
    per_batch: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Order of the groups in which those of neighbouring items stand side by side.

    An item is the mean of its vectors, scaled to length 1. A neighbourhood is a random item and
    those of its compatible negatives whose cosine to it is highest among those that still have
    groups to give; each gives one. (Items that share a label with it make no negative pairs, so
    they have no business there, near as they may be.) Neighbourhoods are laid end to end in
    random order, the random groups strewn among them evenly.

    After C. Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, on why negatives
    are not left to chance, and W. Ge et al., "Deep Metric Learning with Hierarchical Triplet
    Loss", ECCV 2018, on batches of a few random classes with the nearest of each.

    Parameters
    ----------
    groups : rows of one item each
    vectors : float32 (n, d), of the rows
    per_batch : groups that go into a batch
    rng : decides what is random

    Returns
    -------
    int (g,), a permutation
    """
    shuffled = rng.permutation(len(groups))
    random = shuffled[: round(RANDOM_SHARE * len(groups))]
    waiting: list[list[int]] = [[] for _ in range(len(items))]
    for group in shuffled[len(random) :].tolist():
        waiting[items.of_row[groups[group][0]]].append(group)
    size = max(2, min(NEIGHBOURHOOD, round((1 - RANDOM_SHARE) * per_batch)))
    neighbourhoods = _neighbourhoods(items, waiting, _centroids(items, vectors), size, rng)
    hard = np.array(
        [group for one in rng.permutation(len(neighbourhoods)) for group in neighbourhoods[one]],
        int,
    )
    places = np.concatenate([np.linspace(0, 1, len(random)), np.linspace(0, 1, len(hard))])
    return np.concatenate([random, hard])[np.argsort(places, kind="stable")]


def _neighbourhoods(
    items: ItemIndex,
    waiting: list[list[int]],
    centroids: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Deal the waiting groups of each item to neighbourhoods of at most `size`."""
    left = np.array([len(groups) for groups in waiting])
    neighbourhoods = []
    while left.any():
        pool = rng.permutation(np.flatnonzero(left))[:POOL]
        seeds = pool[:BLOCK]
        cosines = centroids[seeds] @ centroids[pool].T
        cosines[~items.rule.negative_matrix(seeds, pool)] = -np.inf
        for seed, near in zip(seeds, cosines, strict=True):
            if not left[seed]:
                continue
            near[left[pool] == 0] = -np.inf
            nearest = np.argpartition(-near, min(size, len(near)) - 1)[:size]
            nearest = nearest[np.argsort(-near[nearest], kind="stable")][: size - 1]
            members = [seed, *pool[nearest[near[nearest] > -np.inf]]]
            neighbourhoods.append([waiting[item].pop() for item in members])
            left[members] -= 1
    return neighbourhoods


def _centroids(items: ItemIndex, vectors: np.ndarray) -> np.ndarray:
    """Mean vector of each item, scaled to length 1: float32 (m, d)."""
    centroids = np.stack([vectors[rows].mean(axis=0) for rows in items.rows])
    lengths = np.linalg.norm(centroids, axis=1, keepdims=True)
    return centroids / np.maximum(lengths, np.finfo(np.float32).tiny)
