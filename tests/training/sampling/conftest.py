from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

CATALOGUES = st.lists(
    st.tuples(st.integers(1, 6), st.frozensets(st.sampled_from("abcd"), max_size=3)),
    min_size=1,
    max_size=9,
)
"""(pictures, labels) of each item."""


def rows_of(catalogue):
    """Return the item and the labels of each row."""
    items = [item for item, (count, _) in enumerate(catalogue) for _ in range(count)]
    return items, [catalogue[item][1] for item in items]


def has_both_kinds(catalogue):
    siblings = any(count > 1 for count, _ in catalogue)
    strangers = any(
        not one & other
        for i, (_, one) in enumerate(catalogue)
        for j, (_, other) in enumerate(catalogue)
        if i != j
    )
    return siblings and strangers


def kinds_of(batch, items, labels):
    """Return whether a batch holds a positive pair, and a negative pair, pair by pair."""
    positive = negative = False
    for one in batch:
        for other in batch:
            positive |= one != other and items[one] == items[other]
            negative |= items[one] != items[other] and not set(labels[one]) & set(labels[other])
    return positive, negative


def clustered(items, size=16, spread=0.05, clusters=10, seed=0):
    """Vectors of length 1: item i is in cluster i % clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, size))
    vectors = centres[np.array(items) % clusters] + spread * rng.normal(size=(len(items), size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
