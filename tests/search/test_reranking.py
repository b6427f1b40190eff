from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from siamese.cli.main import cli
from siamese.errors import InputError
from siamese.indexes import BallTreeIndex
from siamese.indexes.gallery_augmentation import expand_query
from siamese.models.facts import ModelFacts
from siamese.search.reranking import (
    RERANKERS,
    Expansion,
    Nearest,
    Reciprocal,
    get_reranker,
    reciprocal_distances,
)


def unit(rng, count, size):
    vectors = rng.normal(size=(count, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive_expansion(vector, neighbours, alpha):
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
    np.testing.assert_allclose(found, naive_expansion(vector, neighbours, alpha), atol=1e-6)


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
    moved = naive_expansion(query[0], vectors[[0, 1]], 1)
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
def test_invalid_settings_of_the_expansion_are_errors(wrong):
    with pytest.raises(InputError, match="neighbours must be at least 1, alpha at least 0"):
        Expansion(**wrong)


def naive_distances(query, candidates, k1, k2, own_share):
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
def test_reciprocal_distances_agree_with_the_formulas_on_sets(k1, k2, own_share, spread):
    rng = np.random.default_rng(k1)
    centres = rng.normal(size=(4, 5))[rng.integers(4, size=26)]
    world = centres + spread * rng.normal(size=(26, 5))
    world /= np.linalg.norm(world, axis=1, keepdims=True)
    found = reciprocal_distances(world[0], world[1:], k1, k2, own_share)
    np.testing.assert_allclose(
        found, naive_distances(world[0], world[1:], k1, k2, own_share), atol=1e-9
    )


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
def test_invalid_settings_of_the_reciprocal_reranker_are_errors(wrong):
    with pytest.raises(InputError, match="own_share 0 to 1"):
        Reciprocal(**wrong)


def test_get_reranker_takes_a_name_or_a_reranker():
    assert isinstance(get_reranker(None), Nearest)
    assert isinstance(get_reranker("none"), Nearest)
    assert get_reranker("expansion") == Expansion() and get_reranker("reciprocal") == Reciprocal()
    own = Expansion(neighbours=7)
    assert get_reranker(own) is own
    with pytest.raises(
        InputError, match="rerank is 'best'; choose one of none, expansion, reciprocal"
    ):
        get_reranker("best")


def test_the_command_line_offers_all_rerankers():
    (option,) = [option for option in cli.commands["search"].params if option.name == "rerank"]
    assert list(option.type.choices) == list(RERANKERS)


@pytest.mark.parametrize("name", RERANKERS)
def test_rerankers_return_each_picture_once_and_rank_each_query_alone(name):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(150, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    facts = ModelFacts("", "", 6, 1, None)
    index = BallTreeIndex.build(
        vectors[:140], [{"item_id": "", "filename": "", "labels": []}] * 140, facts
    )
    scores, rows = get_reranker(name).rank(index, vectors[140:].astype(np.float32), 1000)
    assert scores.shape == rows.shape == (10, 140)
    assert (np.sort(rows, axis=1) == np.arange(140)).all()
    assert (np.diff(scores, axis=1) >= -1e-12).all()
    for place in range(10):
        one = get_reranker(name).rank(
            index, vectors[140 + place : 141 + place].astype(np.float32), 8
        )
        np.testing.assert_array_equal(one[1][0], rows[place, :8])
