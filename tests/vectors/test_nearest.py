from __future__ import annotations

import numpy as np
import pytest

from siamese.vectors import nearest as neighbours
from siamese.vectors.nearest import nearest
from siamese.vectors.unit_vectors import UnitVectors


def naive(queries, gallery, own, k):
    rows = []
    for query, left_out in zip(queries, own, strict=True):
        others = [row for row in range(len(gallery)) if row != left_out]
        others.sort(key=lambda row: -float(np.dot(query, gallery[row])))
        rows.append((others + [-1] * k)[:k])
    return np.array(rows)


@pytest.mark.parametrize("gallery_rows", [1, 3, 8, neighbours.GALLERY_ROWS])
@pytest.mark.parametrize("k", [1, 4, 60])
def test_agrees_with_naive_loop(monkeypatch, gallery_rows, k):
    monkeypatch.setattr(neighbours, "GALLERY_ROWS", gallery_rows)
    monkeypatch.setattr(neighbours, "QUERY_ROWS", 7)
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 5)).astype(np.float32)
    gallery[20:30] = gallery[rng.integers(20, size=10)]  # equal ones, in the order of their rows
    queries = rng.normal(size=(30, 5)).astype(np.float32)
    own = rng.integers(-1, 40, size=30)
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    cosines, rows = nearest(UnitVectors(queries, "q"), UnitVectors(gallery, "g"), own, k)
    np.testing.assert_array_equal(rows, naive(queries, unit, own, k))
    there = rows >= 0
    assert np.isneginf(cosines[~there]).all()
    expected = np.einsum("nd,nkd->nk", queries, unit[rows])
    expected /= np.linalg.norm(queries, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines[there], expected[there], atol=1e-6)
