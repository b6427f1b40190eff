from __future__ import annotations

import math

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import BallTreeIndex
from siamese.indexes.gallery_augmentation import expand_query
from siamese.models.facts import ModelFacts
from siamese.search.reranking.expansion import Expansion


def unit(rng, count, size):
    vectors = rng.normal(size=(count, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive(vector, neighbours, alpha):
    """Compute the formula number by number."""
    total = [float(x) for x in vector]
    for neighbour in neighbours:
        cosine = sum(float(a) * float(b) for a, b in zip(vector, neighbour, strict=True))
        weight = max(cosine, 0.0) ** alpha
        total = [t + weight * float(x) for t, x in zip(total, neighbour, strict=True)]
    length = math.sqrt(sum(t * t for t in total))
    return [t / length for t in total]


@pytest.mark.parametrize("alpha", [0, 0.5, 3, 10.0])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_expand_query_agrees_with_a_loop(alpha, count):
    rng = np.random.default_rng(count)
    (vector,), neighbours = unit(rng, 1, 5), unit(rng, count, 5)
    found = expand_query(vector.astype(np.float32), neighbours, alpha)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, naive(vector, neighbours, alpha), atol=1e-6)


def test_an_opposite_neighbour_has_no_effect():
    there = np.array([1.0, 0.0])
    np.testing.assert_array_equal(expand_query(there, np.array([[-0.6, 0.8]]), 0.5), there)


def test_expansion_moves_the_query_towards_its_neighbours():
    # Pictures 15 degrees apart, and one on the other side of the query.
    degrees = np.radians([10, 25, 40, 55, -45])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    metadata = [{"item_id": str(row), "filename": "", "labels": []} for row in range(5)]
    facts = ModelFacts("", "", 2, 1, None)
    index = BallTreeIndex.build(vectors, metadata, facts)
    query = np.array([[1.0, 0.0]])
    assert index.query(query, 5)[1].tolist() == [[0, 1, 2, 4, 3]]
    scores, rows = Expansion(neighbours=2, alpha=1).rank(index, query, 5)
    moved = naive(query[0], vectors[[0, 1]], 1)
    assert rows.tolist() == [[0, 1, 2, 3, 4]]
    np.testing.assert_allclose(scores[0], np.linalg.norm(vectors - moved, axis=1)[rows[0]])


def test_expansion_of_no_query_and_with_more_neighbours_than_pictures():
    facts = ModelFacts("", "", 3, 1, None)
    metadata = [{"item_id": "", "filename": "", "labels": []}] * 2
    index = BallTreeIndex.build(np.eye(3)[:2], metadata, facts)
    scores, rows = Expansion().rank(index, np.empty((0, 3)), 5)
    assert scores.shape == rows.shape == (0, 2)
    assert Expansion(neighbours=9).rank(index, np.eye(3)[1:2], 5)[1].tolist() == [[1, 0]]


@pytest.mark.parametrize("wrong", [{"neighbours": 0}, {"alpha": -1}, {"alpha": math.nan}])
def test_invalid_settings_are_errors(wrong):
    with pytest.raises(InputError, match="neighbours must be at least 1, alpha at least 0"):
        Expansion(**wrong)
