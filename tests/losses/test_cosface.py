from __future__ import annotations

from math import exp, log

import pytest

from siamese.losses import CosFaceLoss


def naive(compared, margin, scale):
    losses = []
    for positives, negatives in compared.rows():
        if positives:
            own = exp(scale * (sum(positives) / len(positives) - margin))
            losses.append(-log(own / (own + sum(exp(scale * s) for s in negatives))))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("margin", "scale"), [(0.35, 64.0), (0.1, 16.0)])
def test_matches_the_formula(compared, margin, scale):
    loss = CosFaceLoss(margin, scale)
    got = float(loss(compared.relations, compared.embeddings))
    assert got == pytest.approx(naive(compared, margin, scale), rel=1e-4)
