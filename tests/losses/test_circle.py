from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from siamese.losses import CircleLoss


def weights(similarity, margin):
    return np.maximum(1 + margin - similarity, 0), np.maximum(similarity + margin, 0)


def naive(compared, margin, scale):
    losses = []
    for positives, negatives in compared.rows():
        if positives and negatives:
            pulled = sum(exp(-scale * weights(s, margin)[0] * (s - 1 + margin)) for s in positives)
            pushed = sum(exp(scale * weights(s, margin)[1] * (s - margin)) for s in negatives)
            losses.append(log(1 + pulled * pushed))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 128.0), (0.4, 80.0), (0.1, 5.0)])
def test_matches_the_formula(compared, margin, scale):
    loss = CircleLoss(margin, scale)
    got = float(loss(compared.relations, compared.embeddings))
    assert got == pytest.approx(naive(compared, margin, scale), rel=1e-4)


def test_the_weights_are_constants_to_the_gradient(value_and_gradient):
    # One anchor at 0°, a positive and a negative: L = log(1 + exp(x)) with x linear in cosines.
    margin, scale = 0.25, 4.0
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, -0.8]], np.float32)
    loss, relation = CircleLoss(margin, scale), np.array([[0, 1, -1]])
    _, got = value_and_gradient(loss, relation, vectors)
    pull, push = weights(0.8, margin)[0], weights(0.6, margin)[1]
    x = scale * (push * (0.6 - margin) - pull * (0.8 - 1 + margin))
    slope = scale / (1 + exp(-x))
    np.testing.assert_allclose(got[1], -slope * pull * vectors[0], rtol=1e-4)
    np.testing.assert_allclose(got[2], slope * push * vectors[0], rtol=1e-4)
