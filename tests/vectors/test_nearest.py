from __future__ import annotations

import numpy as np
import pytest

from siamese.vectors import nearest as module
from siamese.vectors.nearest import TopK, nearest, nearest_by_distance
from siamese.vectors.unit_vectors import UnitVectors


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def vectors():
    """40 vectors of length 1, of which 10 are equal to another."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 5)).astype(np.float32)
    vectors[20:30] = vectors[rng.integers(20, size=10)]
    return unit(vectors)


@pytest.fixture
def queries():
    return np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)


@pytest.fixture(params=[1, 3, 8, module.GALLERY_ROWS])
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(module, "GALLERY_ROWS", request.param)
    monkeypatch.setattr(module, "QUERY_ROWS", 7)


def naive(queries, gallery, rows, k):
    """The k most similar of some rows of each query; equal ones in ascending order."""
    found = []
    for query, allowed in zip(queries, rows, strict=True):
        ranked = sorted(allowed, key=lambda row: -float(np.dot(query, gallery[row])))
        found.append((ranked + [-1] * k)[:k])
    return np.array(found)


@pytest.mark.parametrize("k", [1, 4, 60])
def test_nearest_agrees_with_a_loop(small_blocks, queries, vectors, k):
    own = np.random.default_rng(2).integers(-1, 40, size=30)
    cosines, rows = nearest(UnitVectors(queries, "q"), UnitVectors(vectors, "g"), k, own=own)
    others = [[row for row in range(40) if row != left_out] for left_out in own]
    np.testing.assert_array_equal(rows, naive(queries, vectors, others, k))
    is_found = rows >= 0
    assert np.isneginf(cosines[~is_found]).all()
    expected = np.einsum("nd,nkd->nk", unit(queries), vectors[rows])
    np.testing.assert_allclose(cosines[is_found], expected[is_found], atol=1e-6)


def test_nearest_leaves_no_row_out_by_default(queries, vectors):
    _, rows = nearest(UnitVectors(queries, "q"), UnitVectors(vectors, "g"), 4)
    np.testing.assert_array_equal(rows, naive(queries, vectors, [range(40)] * 30, 4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("some", [None, np.r_[1:9, 20:33, 39]])
@pytest.mark.parametrize("k", [1, 4, 12, 60])
def test_nearest_by_distance_agrees_with_a_loop(small_blocks, queries, vectors, k, some, dtype):
    # Coordinates of a few bits make products exact, so that equal vectors tie.
    queries, vectors = (np.round(64 * values).astype(dtype) / 64 for values in (queries, vectors))
    distances, rows = nearest_by_distance(queries, vectors, k, some)
    allowed = range(40) if some is None else some.tolist()
    k = min(k, len(allowed))
    np.testing.assert_array_equal(rows, naive(queries, vectors, [allowed] * 30, k))
    assert distances.shape == (30, k) and distances.dtype == np.float64
    cosines = np.einsum("nd,nkd->nk", queries, vectors[rows])
    np.testing.assert_allclose(distances, np.sqrt(np.maximum(2 - 2 * cosines, 0)), atol=1e-6)


def test_nearest_by_distance_in_double_precision_finds_a_distance_of_almost_0(vectors):
    vectors = unit(vectors.astype(np.float64))
    distances, rows = nearest_by_distance(vectors[:3], vectors, 1)
    assert rows.ravel().tolist() == [0, 1, 2]
    np.testing.assert_allclose(distances, 0, atol=1e-7)


def test_without_queries_or_vectors_nothing_is_found(vectors):
    assert nearest_by_distance(vectors[:0], vectors, 3)[1].shape == (0, 3)
    assert nearest_by_distance(vectors, vectors[:0], 3)[1].shape == (40, 0)
    assert nearest_by_distance(vectors, vectors, 3, np.array([], np.intp))[0].shape == (40, 0)


def test_the_parts_of_a_gallery_may_have_any_labels(queries, vectors):
    queries = unit(queries).astype(np.float64)
    top = TopK(len(queries), 9, np.float64)
    labels = np.sort(np.random.default_rng(0).choice(2**62, 40, replace=False))
    for part in (slice(0, 1), slice(1, 30), slice(30, 40)):
        top.add(queries @ vectors[part].T, labels[part])
    distances, rows = nearest_by_distance(queries, vectors, 9)
    np.testing.assert_array_equal(top.rows, labels[rows])
    np.testing.assert_allclose(top.distances(), distances, atol=1e-12)


def test_memory_is_bounded_for_many_results():
    for k in (1, module.GALLERY_ROWS, 10**6):
        size = module.query_blocks(10**6, k)[0].stop
        assert size * max(k, module.GALLERY_ROWS) <= max(module.QUERY_ROWS * module.GALLERY_ROWS, k)
