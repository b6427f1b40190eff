from __future__ import annotations

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.vectors import unit_vectors as module
from siamese.vectors.unit_vectors import UnitVectors, recompute_exactly, reproducible_cosines


def test_vectors_are_scaled_when_they_are_taken_and_not_copied(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 3)
    vectors = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    made = UnitVectors(vectors, "vectors")
    assert made.vectors is vectors and made.size == 4 and len(made) == 10
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(made.take(slice(2, 9)), expected[2:9], rtol=1e-6)
    np.testing.assert_allclose(made.take(np.array([7, 1])), expected[[7, 1]], rtol=1e-6)


def test_equal_directions_are_found(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    made = UnitVectors([[1, 0], [0, 2], [2, 0], [-0.0, 3], [1, 1e-7]], "vectors")
    assert made.first_equal().tolist() == [0, 1, 0, 1, 4]


def test_equal_vectors_have_equal_cosines_at_any_position():
    rng = np.random.default_rng(0)
    one = UnitVectors(rng.normal(size=(17, 65)), "one")
    other = UnitVectors(np.repeat(rng.normal(size=(1, 65)), 40, axis=0), "other")
    ours = one.take(slice(None))
    exact = reproducible_cosines(ours, other.take(slice(None)))
    assert (exact == exact[:, :1]).all()
    assert (
        reproducible_cosines(other.take(slice(3, 4)), ours) == exact[:, 7]
    ).all()  # either way round
    cosines = ours @ other.take(slice(None)).T
    untouched = cosines[:, 1::2].copy()
    recompute_exactly(cosines, ours, other, np.where(np.arange(40) % 2, -1, 0))
    assert (cosines[:, ::2] == exact[:, ::2]).all()
    assert (cosines[:, 1::2] == untouched).all()


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vector_without_a_direction_is_one_line(bad):
    with pytest.raises(InputError, match=r"1 of 3 have no direction .*, the first is in row 1"):
        UnitVectors([[1, 1], [bad, bad], [1, 0]], "vectors")
