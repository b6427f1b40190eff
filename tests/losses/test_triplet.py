from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from siamese.losses import TripletLoss


def naive_semi_hard(compared, margin):
    costs = []
    for positives, negatives in compared.rows():
        for positive in positives:
            own = 2 - 2 * positive
            others = [2 - 2 * s for s in negatives]
            if others:
                farther = [other for other in others if other > own]
                negative = min(farther) if farther else max(others)
                costs.append(max(0.0, own - negative + margin))
    costs = [cost for cost in costs if cost > 0]
    return sum(costs) / len(costs) if costs else 0.0


def naive_hard(compared, margin):
    costs = []
    for positives, negatives in compared.rows():
        if positives and negatives:
            farthest, nearest = sqrt(2 - 2 * min(positives)), sqrt(2 - 2 * max(negatives))
            costs.append(max(0.0, farthest - nearest + margin))
    return sum(costs) / len(costs) if costs else 0.0


@pytest.mark.parametrize("margin", [0.2, 0.02, 1.0])
@pytest.mark.parametrize(
    ("mining", "naive"), [("semi-hard", naive_semi_hard), ("hard", naive_hard)]
)
def test_matches_the_formula(compared, mining, naive, margin):
    got = float(TripletLoss(margin, mining)(compared.relations, compared.embeddings))
    assert got == pytest.approx(naive(compared, margin), rel=1e-4)


# The anchor at 0°, its positive at 40°, and three negatives; squared distance 2 − 2 cos.
POSITIVE = 2 - 2 * np.cos(np.radians(40))


@pytest.mark.parametrize(
    ("negatives", "chosen"),
    [
        ((30, 45, 90), 45),  # not the one that is nearer than the positive
        ((90, 45, 30), 45),
        ((10, 20, 30), 30),  # all nearer: the farthest
        ((90, 120, 150), None),  # the nearest lies beyond the margin
    ],
)
def test_the_negative_that_is_mined(negatives, chosen, value_and_gradient):
    angles = np.radians([0, 40, *negatives])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    relation = np.array([[0, 1, -1, -1, -1]], np.int8)
    got, slope = value_and_gradient(TripletLoss(), relation, vectors)
    moved = slope.any(axis=1)
    if chosen is None:
        assert got == 0
        assert not moved.any()
    else:
        assert got == pytest.approx(POSITIVE - (2 - 2 * np.cos(np.radians(chosen))) + 0.2, rel=1e-4)
        assert moved.tolist() == [True, True, *(negative == chosen for negative in negatives)]


def test_an_unknown_mining_is_refused():
    with pytest.raises(ValueError, match="'soft', must be one of semi-hard, hard"):
        TripletLoss(mining="soft")
