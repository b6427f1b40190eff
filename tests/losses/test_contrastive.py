from __future__ import annotations

import numpy as np
import pytest

from siamese.losses import ContrastiveLoss
from siamese.models.embedding_model import EuclideanDistance


def naive(y, distance, margin):
    total = 0.0
    for one_y, d in zip(y, distance, strict=True):
        total += one_y * d**2 / 2 + (1 - one_y) * max(0.0, margin - d) ** 2 / 2
    return total / len(y)


@pytest.mark.parametrize("margin", [0.3, 1.0, 1.7])
def test_matches_the_formula(margin):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 50)
    distance = rng.uniform(0, 2, 50).astype(np.float32)
    got = float(ContrastiveLoss(margin)(y, distance))
    assert got == pytest.approx(naive(y, distance, margin), rel=1e-5)
    # A column against a row is the same pairs, not every y with every distance.
    assert float(ContrastiveLoss(margin)(y[:, None], distance)) == pytest.approx(got, rel=1e-6)


def test_by_hand():
    loss = ContrastiveLoss(margin=1.0, reduction="none")
    got = np.asarray(loss(np.array([1, 1, 0, 0, 0]), np.array([0.0, 2.0, 0.0, 0.5, 1.5], "f4")))
    assert got.tolist() == [0.0, 2.0, 0.5, 0.125, 0.0]


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("apart", [0.0, 1e-9, 1.0])
def test_gradients_are_finite_at_zero_and_at_the_margin(y, apart, value_and_gradient):
    def loss(target, vectors):
        distance = EuclideanDistance()([vectors[:1], vectors[1:]])
        return ContrastiveLoss(margin=1.0)(target, distance)

    vectors = np.array([[0.0, 0.0], [apart, 0.0]], np.float32)
    _, got = value_and_gradient(loss, np.array([y]), vectors)
    assert np.isfinite(got).all()
    if y == 1 and apart == 1:
        np.testing.assert_allclose(got, [[-1, 0], [1, 0]], atol=1e-5)
