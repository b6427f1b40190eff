from __future__ import annotations

from math import sqrt

import pytest

from siamese.losses import BatchContrastiveLoss


def naive(compared, positive_margin=0.0, negative_margin=1.0):
    pulls, pushes = [], []
    for positives, negatives in compared.rows():
        pulls += [sqrt(2 - 2 * s) - positive_margin for s in positives]
        pushes += [negative_margin - sqrt(2 - 2 * s) for s in negatives]
    total = 0.0
    for costs in (pulls, pushes):
        above = [cost for cost in costs if cost > 0]
        total += sum(above) / len(above) if above else 0.0
    return total


@pytest.mark.parametrize("margins", [{}, {"positive_margin": 0.9, "negative_margin": 1.3}])
def test_matches_the_formula(compared, margins):
    got = float(BatchContrastiveLoss(**margins)(compared.relations, compared.embeddings))
    assert got > 0
    assert got == pytest.approx(naive(compared, **margins), rel=1e-4)
