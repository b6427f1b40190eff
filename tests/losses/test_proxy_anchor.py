from __future__ import annotations

from math import exp, log

import pytest

from siamese.losses import ProxyAnchorLoss


def naive(compared, margin, scale):
    similarity = compared.embeddings @ compared.embeddings.T
    pulls, pushes = [], []
    for proxy in range(compared.relations.shape[1]):
        of_proxy = list(zip(compared.relations[:, proxy], similarity[:, proxy], strict=False))
        positives = [exp(-scale * (s - margin)) for r, s in of_proxy if r == 1]
        negatives = [exp(scale * (s + margin)) for r, s in of_proxy if r == -1]
        if positives:
            pulls.append(log(1 + sum(positives)))
        if positives or negatives:
            pushes.append(log(1 + sum(negatives)))
    return sum(pulls) / len(pulls) + sum(pushes) / len(pushes)


@pytest.mark.parametrize(("margin", "scale"), [(0.1, 32.0), (0.3, 8.0)])
def test_matches_the_formula(compared, margin, scale):
    loss = ProxyAnchorLoss(margin, scale)
    got = float(loss(compared.relations, compared.embeddings))
    assert got == pytest.approx(naive(compared, margin, scale), rel=1e-4)
