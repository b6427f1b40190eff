from __future__ import annotations

import numpy as np

from siamese.indexes import BACKENDS, LabelFilter, open_index
from tests.indexes.conftest import LABELS, SIZE, contents, facts, grouped


def test_alternating_filters_keep_their_own_results(folder):
    index = open_index(folder)
    names = [LabelFilter.from_lists([label]) for label in LABELS] + [
        LabelFilter.from_lists((), (), [label]) for label in LABELS
    ]
    first = [index.query(grouped(3, seed=1), 5, labels) for labels in names]
    for _ in range(2):
        for labels, expected in zip(names, first, strict=True):
            again = index.query(grouped(3, seed=1), 5, labels)
            for one, other in zip(again, expected, strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_filter_finds_pictures_far_from_the_query(tmp_path, graphs):
    # Two distant groups; the pictures with the label are not in the group of the queries.
    rng = np.random.default_rng(0)
    middles = np.repeat(np.eye(SIZE)[:2], 300, axis=0)
    vectors = (middles + 0.2 * rng.normal(size=(600, SIZE))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    metadata = [
        {"item_id": str(row), "filename": str(row), "labels": ["there"] if row >= 300 else []}
        for row in range(600)
    ]
    index = BACKENDS["faiss"].build(tmp_path / "i", vectors, metadata, contents(600), facts())
    assert index.layout.kind == "graph"
    _, rows = index.query(vectors[:50], 10, LabelFilter.from_lists(["there"]))
    expected = 300 + np.argsort(-vectors[:50] @ vectors[300:].T, axis=1)[:, :10]
    agree = [len(set(one) & set(other)) for one, other in zip(rows, expected, strict=True)]
    assert np.mean(agree) > 9.8  # vectors are kept in 16 bits
