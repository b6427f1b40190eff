from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from siamese.data.catalogue import Picture
from siamese.data.label_rule import pairwise_relations
from siamese.embedding.embed_catalogue import Embeddings
from siamese.errors import InputError
from siamese.evaluation import verification
from siamese.evaluation.verification import (
    evaluate_verification,
    measure_verification,
    sample_pair_distances,
)

ITEMS = ["a", "a", "b", "c", "b", "a", "d", "e", "e", "c"]
LABELS_OF = {"a": ["red"], "b": ["red", "blue"], "c": ["blue"], "d": [], "e": []}
LABELS = [LABELS_OF[item] for item in ITEMS]


def embed(vectors, items, labels) -> Embeddings:
    """Combine vectors with pictures of these items and labels."""
    pictures = [Picture(i, "a.png", tuple(of)) for i, of in zip(items, labels, strict=True)]
    return Embeddings(pictures, vectors, [])


def directions(count: int, size: int = 6) -> np.ndarray:
    vectors = np.random.default_rng(3).normal(size=(count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def every_pair(vectors, items, labels) -> tuple[list[float], list[float]]:
    """Compute the distances of all positives and of all negatives, pair by pair."""
    related = pairwise_relations(items, labels)
    kinds: dict[int, list[float]] = {1: [], 0: [], -1: []}
    for i, j in combinations(range(len(items)), 2):
        kinds[int(related[i, j])].append(float(np.sqrt(((vectors[i] - vectors[j]) ** 2).sum())))
    return kinds[1], kinds[-1]


def test_few_pairs_are_all_sampled_once():
    vectors = directions(len(ITEMS))
    distances, y = sample_pair_distances(embed(vectors, ITEMS, LABELS))
    positives, negatives = every_pair(vectors, ITEMS, LABELS)
    assert distances.dtype == np.float32 and y.dtype == np.int8
    assert sorted(distances[y == 1]) == pytest.approx(sorted(positives), abs=1e-6)
    assert sorted(distances[y == 0]) == pytest.approx(sorted(negatives), abs=1e-6)


def test_many_pairs_are_sampled_without_repetition(monkeypatch):
    monkeypatch.setattr(verification, "BLOCK_ROWS", 40)  # rows in several blocks
    rng = np.random.default_rng(0)
    items = rng.integers(30, size=200).tolist()
    labels = [[str(item % 5), str(item % 7)] for item in items]
    vectors = directions(200)
    positives, negatives = every_pair(vectors, items, labels)
    assert len(positives) > 300 and len(negatives) > 300
    distances, y = sample_pair_distances(embed(vectors, items, labels), pairs=600)
    for kind, known in ((1, positives), (0, negatives)):
        drawn = distances[y == kind]
        assert 290 < len(drawn) <= 300
        assert len(np.unique(drawn)) == len(drawn)  # no two pairs here are equally distant
        gap = np.abs(np.array(known)[:, None] - drawn).min(axis=0)
        assert gap.max() < 1e-6
        # A fair sample prefers neither near nor distant pairs.
        assert np.mean(drawn) == pytest.approx(np.mean(known), abs=0.08)


def test_pairs_are_equally_likely():
    """Sample one of 7 positives and one of 8 negatives 1,500 times."""
    items, labels = list("aaaabb"), [["x"]] * 4 + [["y"]] * 2
    vectors = directions(6)
    positives, negatives = every_pair(vectors, items, labels)
    seen: dict[float, int] = {}
    for seed in range(1500):
        for distance in sample_pair_distances(embed(vectors, items, labels), pairs=2, seed=seed)[0]:
            seen[round(float(distance), 4)] = seen.get(round(float(distance), 4), 0) + 1
    for known in (positives, negatives):
        counts = [seen[round(distance, 4)] for distance in known]
        assert sum(counts) == 1500
        assert counts == pytest.approx([1500 / len(known)] * len(known), abs=58)


def test_seed_changes_the_pairs():
    vectors = directions(len(ITEMS))
    draws = [
        sample_pair_distances(embed(vectors, ITEMS, LABELS), pairs=6, seed=seed)[0]
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_both_kinds_of_pairs_are_required():
    vectors = directions(3)
    with pytest.raises(InputError, match="no positive pair"):
        sample_pair_distances(embed(vectors, ["a", "b", "c"], [[], [], []]))
    with pytest.raises(InputError, match="no negative pair"):
        sample_pair_distances(embed(vectors, ["a", "a", "b"], [["red"], ["red"], ["red"]]))
    with pytest.raises(InputError, match="one kind"):
        measure_verification(np.array([0.5, 0.7]), np.array([1, 1]))


def test_vectors_must_be_finite():
    broken = embed(np.full((2, 2), np.nan, np.float32), ["a", "a"], [[], []])
    with pytest.raises(InputError, match="not finite"):
        sample_pair_distances(broken)


@pytest.mark.parametrize("seed", range(4))
def test_verification_equals_that_of_naive_loops(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=60)
    distances = (rng.integers(0, 40, 60) / 20 + 0.4 * (1 - y)).astype(np.float32)  # with ties
    positives, negatives = distances[y == 1], distances[y == 0]
    found = measure_verification(distances, y)

    wins = [(one < other) + (one == other) / 2 for one in positives for other in negatives]
    assert found.auc == pytest.approx(np.mean(wins))

    def rates(threshold: float) -> tuple[float, float]:
        return float(np.mean(negatives <= threshold)), float(np.mean(positives <= threshold))

    curve = [(0.0, 0.0)] + [rates(threshold) for threshold in sorted(set(distances.tolist()))]
    got = np.stack([found.false_positive_rate, found.true_positive_rate], axis=1)
    np.testing.assert_allclose(got, curve)
    balanced = [(true + 1 - false) / 2 for false, true in curve]
    assert found.accuracy == pytest.approx(max(balanced))
    false, true = rates(found.threshold)
    assert (true + 1 - false) / 2 == pytest.approx(found.accuracy)
    assert found.threshold not in distances  # half-way between two of them

    # The equal error rate lies on the curve, where both errors are equal.
    rate = found.equal_error_rate
    before = max(point for point in curve if point[0] <= 1 - point[1])
    after = min(point for point in curve if point[0] >= 1 - point[1])
    part = 0.0 if after == before else (rate - before[0]) / max(after[0] - before[0], 1e-12)
    if after[0] > before[0]:
        assert before[1] + part * (after[1] - before[1]) == pytest.approx(1 - rate)
    else:
        assert rate == pytest.approx(before[0])


@pytest.mark.parametrize("rate", [0, 0.05, 0.3, 1])
def test_fnmr_at_fmr_equals_that_of_a_naive_loop(rate):
    rng = np.random.default_rng(7)
    y = rng.integers(2, size=80)
    distances = (rng.integers(0, 40, 80) / 20 + 0.4 * (1 - y)).astype(np.float32)
    positives, negatives = distances[y == 1], distances[y == 0]
    allowed = [t for t in (-1, *distances) if np.mean(negatives <= t) <= rate]
    expected = min(np.mean(positives > threshold) for threshold in allowed)
    assert measure_verification(distances, y).false_non_match_rate(rate) == pytest.approx(expected)


def test_verification_as_json():
    figures = measure_verification(
        np.array([0.25, 0.5, 1.0, 1.5]), np.array([1, 1, 0, 0])
    ).as_dict()
    assert figures == {
        "auc": 1,
        "equal_error_rate": 0,
        "fnmr@fmr=1e-2": 0,
        "fnmr@fmr=1e-3": 0,
        "accuracy": 1,
        "threshold": 0.75,
        "positives": 2,
        "negatives": 2,
    }


def test_perfect_distances():
    found = measure_verification(np.array([0.25, 0.5, 1.0, 1.5]), np.array([1, 1, 0, 0]))
    assert (found.threshold, found.accuracy, found.auc, found.equal_error_rate) == (0.75, 1, 1, 0)


def test_reversed_distances():
    found = measure_verification(np.array([1.0, 0.5]), np.array([1, 0]))
    assert (found.accuracy, found.auc, found.equal_error_rate) == (0.5, 0, 1)
    assert np.isfinite(found.threshold)


def test_verification_of_embeddings_measures_the_sampled_pairs():
    embeddings = embed(directions(len(ITEMS)), ITEMS, LABELS)
    result = evaluate_verification(embeddings)
    distances, y = sample_pair_distances(embeddings)
    np.testing.assert_array_equal(result.distances, distances)
    np.testing.assert_array_equal(result.y, y)
    assert str(result).startswith(
        f"balanced accuracy {measure_verification(distances, y).accuracy:.3f} at distance"
    )
