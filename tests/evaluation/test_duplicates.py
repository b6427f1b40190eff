from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from siamese.evaluation.duplicates import Duplicate, find_duplicates


@pytest.fixture
def photos(tmp_path):
    """Save a photo, its copy, the same photo smaller and compressed, and another photo."""
    rng = np.random.default_rng(0)
    one, other = (
        Image.fromarray(rng.integers(256, size=(6, 6, 3), dtype=np.uint8)).resize((300, 200))
        for _ in range(2)
    )
    one.save(tmp_path / "one.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "one.png").read_bytes())
    one.resize((150, 100)).save(tmp_path / "worse.jpg", quality=50)
    other.save(tmp_path / "other.png")
    return [tmp_path / name for name in ("one.png", "copy.png", "worse.jpg", "other.png")]


def found(photos, rows, cosines):
    return find_duplicates(photos, photos, np.array(cosines, np.float32), np.array(rows))


def test_nearest_duplicate_is_found_with_or_without_equal_bytes(photos):
    rows = [[3, 1], [2, 0], [1, 3], [0, 1]]
    assert found(photos, rows, np.full((4, 2), 0.99)) == [
        Duplicate(0, 1, same_bytes=True),
        Duplicate(1, 2, same_bytes=False),
        Duplicate(2, 1, same_bytes=False),
    ]


def test_only_pictures_with_similar_embeddings_are_opened(photos, tmp_path):
    photos[1] = tmp_path / "not there.png"
    assert found(photos, [[1], [0], [-1], [2]], [[0.5], [0.2], [-np.inf], [0.8]]) == []


def test_deleted_picture_is_no_duplicate(photos):
    photos[1].unlink()
    assert found(photos, [[1], [0], [0], [0]], np.ones((4, 1))) == [Duplicate(2, 0, False)]
