from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from siamese.data.images import square_picture
from siamese.errors import InputError
from siamese.training.picture_cache import PictureCache


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{row}.png" for row in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    paths[1].write_bytes(b"no picture")
    paths[3].unlink()
    return paths


@pytest.mark.parametrize("cached", [0, 2, 5], ids=["none in memory", "some", "all"])
def test_each_row_gives_its_picture(paths, cached):
    cache = PictureCache(paths, 16, memory_limit=cached * 3 * 16**2)
    assert len(cache) == 5
    assert cache.broken == {1: "not a picture", 3: "file missing"}
    for row in (0, 2, 4):
        assert cache[row].shape == (16, 16, 3) and cache[row].dtype == np.uint8
        np.testing.assert_array_equal(cache[row], square_picture(paths[row], 16))


def test_a_cached_picture_is_not_opened_again(paths):
    cache = PictureCache(paths, 16, memory_limit=3 * 3 * 16**2)
    expected = cache[0].copy()
    for path in paths:
        path.unlink(missing_ok=True)
    np.testing.assert_array_equal(cache[0], expected)
    with pytest.raises(InputError, match=r"4\.png: file missing, though it was fine at the start"):
        cache[4]
