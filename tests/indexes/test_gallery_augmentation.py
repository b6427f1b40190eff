from __future__ import annotations

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes.gallery_augmentation import augment_gallery


def unit(rng, count, size):
    vectors = rng.normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive(vectors, neighbours, alpha):
    """Apply the formula picture by picture."""
    augmented = []
    for row, vector in enumerate(vectors):
        others = [other for other in range(len(vectors)) if other != row]
        others.sort(key=lambda other: -float(np.dot(vector, vectors[other])))
        total = vector.astype(np.float64)
        for other in others[:neighbours]:
            total = total + max(float(np.dot(vector, vectors[other])), 0) ** alpha * vectors[other]
        augmented.append(total / np.sqrt((total**2).sum()))
    return augmented


@pytest.mark.parametrize(("neighbours", "alpha"), [(1, 0), (3, 2.5), (39, 3), (100, 1)])
def test_agrees_with_a_loop(neighbours, alpha):
    vectors = unit(np.random.default_rng(0), 40, 6)
    before = vectors.copy()
    found = augment_gallery(vectors, neighbours, alpha)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, naive(vectors, neighbours, alpha), atol=1e-6)
    np.testing.assert_array_equal(vectors, before)


def test_a_single_picture_is_unchanged():
    np.testing.assert_array_equal(augment_gallery(np.eye(3)[:1]), np.eye(3)[:1])
    assert augment_gallery(np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("wrong", [{"neighbours": 0}, {"alpha": -0.1}, {"alpha": np.nan}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match="they must be at least 1 and 0"):
        augment_gallery(np.eye(3), **wrong)
