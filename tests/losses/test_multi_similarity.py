from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from siamese.losses import MultiSimilarityLoss


def naive(compared, alpha=2.0, beta=50.0, threshold=0.5, epsilon=0.1):
    total = 0.0
    for positives, negatives in compared.rows():
        hard_positives = [s for s in positives if not negatives or s < max(negatives) + epsilon]
        hard_negatives = [s for s in negatives if not positives or s > min(positives) - epsilon]
        pull = sum(exp(-alpha * (s - threshold)) for s in hard_positives)
        push = sum(exp(beta * (s - threshold)) for s in hard_negatives)
        total += log(1 + pull) / alpha + log(1 + push) / beta
    return total / len(compared.relations)


def test_matches_the_formula(compared):
    got = float(MultiSimilarityLoss()(compared.relations, compared.embeddings))
    assert got == pytest.approx(naive(compared), rel=1e-4)
    others = {"alpha": 3.0, "beta": 20.0, "threshold": 0.2, "epsilon": 0.3}
    got = float(MultiSimilarityLoss(**others)(compared.relations, compared.embeddings))
    assert got == pytest.approx(naive(compared, **others), rel=1e-4)


def test_one_value_an_anchor(compared):
    loss = MultiSimilarityLoss(reduction="none")
    got = np.asarray(loss(compared.relations, compared.embeddings))
    assert got.shape == (len(compared.relations),)
    assert got.mean() == pytest.approx(naive(compared), rel=1e-4)
