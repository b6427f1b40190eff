from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from siamese.errors import InputError
from siamese.reports.canvas import make_thumbnail, write_picture


def test_thumbnail_keeps_the_aspect_ratio(tmp_path):
    for width, height in ((200, 100), (20, 10)):
        Image.new("RGB", (width, height), "blue").save(tmp_path / "wide.png")
        pixels = np.asarray(make_thumbnail(tmp_path / "wide.png", 60))
        assert pixels.shape == (60, 60, 3)
        assert (pixels[16:44] == (0, 0, 255)).all()  # across the whole tile, also a small one
        assert (pixels[:14] == 255).all() and (pixels[46:] == 255).all()


def test_thumbnail_of_a_strip(tmp_path):
    Image.new("RGB", (900, 1), "blue").save(tmp_path / "strip.png")
    assert make_thumbnail(tmp_path / "strip.png", 60).size == (60, 60)


def test_thumbnail_of_a_missing_file_shows_the_reason(tmp_path):
    pixels = np.asarray(make_thumbnail(tmp_path / "gone.png", 60))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1  # grey ground, and ink on it
    large = np.asarray(make_thumbnail(tmp_path / "gone.png", 240), int)
    _, columns = np.nonzero(large.sum(axis=2) < 600)
    assert np.ptp(columns) > 240 / 3  # a tile twice as large is as legible


def test_unwritable_path_is_one_error_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_picture(Image.new("RGB", (4, 4)), tmp_path / "file" / "a.png")
