from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import BallTreeIndex
from siamese.models.facts import ModelFacts
from siamese.search.reranking.reciprocal import Reciprocal, reciprocal_distances


def unit(rng, count, size):
    vectors = rng.normal(size=(count, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive(query, candidates, k1, k2, own_share):
    """Compute the formulas of the paper with sets."""
    world = [query, *candidates]
    everyone = range(len(world))

    def distance(p, g):
        return 0.0 if p == g else 1 - float(np.dot(world[p], world[g]))

    @cache
    def nearest(p, k):
        others = sorted((g for g in everyone if g != p), key=lambda g: distance(p, g))
        return {p, *others[:k]}

    def reciprocal(p, k):
        return {g for g in nearest(p, k) if p in nearest(g, k)}

    def extended(p):
        core = reciprocal(p, k1)
        found = set(core)
        for q in core:
            half = reciprocal(q, round(k1 / 2))
            if len(core & half) >= 2 / 3 * len(half):
                found |= half
        return found

    sets = [extended(p) for p in everyone]
    encoded = [[math.exp(-distance(p, g)) * (g in sets[p]) for g in everyone] for p in everyone]
    averaged = []
    for p in everyone:
        near = nearest(p, k2)
        averaged.append([sum(encoded[q][g] for q in near) / len(near) for g in everyone])
    results = []
    for g in range(1, len(world)):
        least = sum(map(min, averaged[0], averaged[g]))
        greatest = sum(map(max, averaged[0], averaged[g]))
        results.append((1 - own_share) * (1 - least / greatest) + own_share * distance(0, g))
    return results


@pytest.mark.parametrize(
    ("k1", "k2", "own_share"),
    [(4, 2, 0.3), (5, 0, 0), (7, 3, 0.5), (1, 1, 0.1), (12, 6, 0.3), (99, 99, 0.2), (6, 2, 1)],
)
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_agrees_with_the_formulas_on_sets(k1, k2, own_share, spread):
    rng = np.random.default_rng(k1)
    centres = rng.normal(size=(4, 5))[rng.integers(4, size=26)]
    world = centres + spread * rng.normal(size=(26, 5))
    world /= np.linalg.norm(world, axis=1, keepdims=True)
    found = reciprocal_distances(world[0], world[1:], k1, k2, own_share)
    np.testing.assert_allclose(found, naive(world[0], world[1:], k1, k2, own_share), atol=1e-9)


def test_copies_of_the_query_are_nearest():
    rng = np.random.default_rng(1)
    world = unit(rng, 9, 4)
    candidates = np.concatenate([world[:1], world[:1], world])
    found = reciprocal_distances(world[0], candidates, 3, 1, 0.3)
    assert np.argsort(found, kind="stable")[:3].tolist() == [0, 1, 2]
    assert np.isfinite(found).all()


def test_shared_neighbours_count_more_than_a_small_distance():
    # Three pictures near the query, and another that is nearer than two of them but
    # has neighbours of its own.
    degrees = np.radians([5, 14, 20, -13, -16, -17, -18, -19])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    query = np.array([1.0, 0.0])
    assert np.argsort(-vectors @ query)[:4].tolist() == [0, 3, 1, 4]
    found = reciprocal_distances(query, vectors, 3, 0, 0.1)
    assert np.argsort(found)[:3].tolist() == [0, 1, 2]


@pytest.fixture
def index():
    rng = np.random.default_rng(2)
    metadata = [{"item_id": "", "filename": "", "labels": []}] * 60
    facts = ModelFacts("", "", 5, 1, None)
    return BallTreeIndex.build(unit(rng, 60, 5), metadata, facts)


def test_only_the_candidates_are_reordered(index):
    queries = unit(np.random.default_rng(3), 4, 5)
    _, nearest = index.query(queries, 60)
    order = Reciprocal(candidates=20, k1=5, k2=2, own_share=0.3)
    scores, rows = order.rank(index, queries, 60)
    assert (np.diff(scores) >= -1e-12).all()
    np.testing.assert_array_equal(rows[:, 20:], nearest[:, 20:])
    for query, score, row, near in zip(queries, scores, rows, nearest, strict=True):
        judged = reciprocal_distances(query, index.vectors(near[:20]), 5, 2, 0.3)
        np.testing.assert_array_equal(row[:20], near[np.argsort(judged, kind="stable")])
        np.testing.assert_array_equal(score[:20], np.sort(judged))
        np.testing.assert_allclose(score[20:], 1 - 0.3 * index.vectors(row[20:]) @ query)
    assert (rows[:, :20] != nearest[:, :20]).any()


def test_fewer_results_are_the_first_of_more(index):
    queries = unit(np.random.default_rng(4), 3, 5)
    order = Reciprocal(candidates=20, k1=5)
    whole = order.rank(index, queries, 60)
    for k in (1, 20, 33):
        for part, all_of_it in zip(order.rank(index, queries, k), whole, strict=True):
            np.testing.assert_allclose(part, all_of_it[:, :k])
    assert order.rank(index, np.empty((0, 5)), 7)[1].shape == (0, 7)


@pytest.mark.parametrize(
    "wrong", [{"candidates": 0}, {"k1": 0}, {"k2": -1}, {"own_share": 1.1}, {"own_share": math.nan}]
)
def test_invalid_settings_are_errors(wrong):
    with pytest.raises(InputError, match="own_share 0 to 1"):
        Reciprocal(**wrong)
