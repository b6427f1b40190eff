from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from siamese.augmentation import augment


def square_on_white(size=64):
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((size * 3 // 8, size * 3 // 8, size * 5 // 8, size * 5 // 8), fill=(200, 40, 40))
    return np.asarray(picture)


def views(picture, count=60):
    return [augment(picture, np.random.default_rng(seed)) for seed in range(count)]


def test_a_view_is_a_picture_and_the_generator_decides_it():
    picture = square_on_white()
    before = picture.copy()
    one, same, other = (augment(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == picture.shape and one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    np.testing.assert_array_equal(picture, before)


def test_the_thing_stays_in_sight_and_what_comes_in_is_white():
    for view in views(square_on_white()):
        red = view[..., 0].astype(int) - view[..., 1] > 40
        # The square is 1/16 of the picture and is seen nearer or farther, never lost.
        assert 0.03 < red.mean() < 0.25
        assert np.ptp(view[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)) <= 1, "corners differ"


def test_views_move_and_light_changes_both_ways():
    picture = square_on_white()
    where = np.argwhere(picture[..., 1] < 128).mean(axis=0)
    reds, shifts = [], []
    for view in views(picture):
        red = view[..., 0].astype(int) - view[..., 1] > 40
        reds.append(view[red].mean())
        shifts.append(np.argwhere(red).mean(axis=0) - where)
    assert min(reds) < picture[picture[..., 1] < 128].mean() < max(reds)
    assert (np.min(shifts, axis=0) < -2).all() and (np.max(shifts, axis=0) > 2).all()


def test_nothing_is_mirrored():
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 16:32] = 0, 0, 200  # blue left of yellow
    picture[16:48, 32:48] = 200, 200, 0
    for view in views(picture):
        blue = view[..., 2].astype(int) - view[..., 0] > 40
        yellow = view[..., 0].astype(int) - view[..., 2] > 40
        assert np.argwhere(blue)[:, 1].mean() < np.argwhere(yellow)[:, 1].mean()


def test_one_colour_stays_one_colour_within_the_range():
    for value in (0, 128, 255):
        for view in views(np.full((16, 16, 3), value, np.uint8), 20):
            inside = view[6:10, 6:10]
            assert np.ptp(inside.astype(int)) <= 1
