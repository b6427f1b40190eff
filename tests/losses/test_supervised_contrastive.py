from __future__ import annotations

from math import exp, log

import pytest

from siamese.losses import SupervisedContrastiveLoss


def naive(compared, temperature):
    losses = []
    for positives, negatives in compared.rows():
        below = sum(exp(s / temperature) for s in [*positives, *negatives])
        logs = [log(exp(s / temperature) / below) for s in positives]
        if logs:
            losses.append(-sum(logs) / len(logs))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.07, 1.0])
def test_matches_the_formula(compared, temperature):
    loss = SupervisedContrastiveLoss(temperature)
    got = float(loss(compared.relations, compared.embeddings))
    assert got == pytest.approx(naive(compared, temperature), rel=1e-4)
