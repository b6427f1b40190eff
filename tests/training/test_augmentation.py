from __future__ import annotations

from math import floor

import keras
import numpy as np
import pytest
from PIL import Image, ImageDraw

from siamese.data.images import to_network_input
from siamese.training.augmentation import (
    ANGLE,
    ASPECT,
    SHIFT,
    ZOOM,
    RandomView,
    _resample,
    _sampling_grid,
)


def square_on_white(size=64):
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((size * 3 // 8, size * 3 // 8, size * 5 // 8, size * 5 // 8), fill=(200, 40, 40))
    return to_network_input(np.asarray(picture))


def views(picture, count=60):
    return np.asarray(RandomView(seed=5)(np.stack([picture] * count), training=True))


def test_a_view_is_a_picture_and_each_is_another():
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    pictures[2] = pictures[1]
    before = pictures.copy()
    seen = np.asarray(RandomView()(pictures, training=True))
    assert seen.shape == pictures.shape and seen.dtype == np.float32
    assert np.abs(seen).max() <= 1
    assert (seen[0] != pictures[0]).any() and (seen[1] != seen[2]).any()
    np.testing.assert_array_equal(pictures, before)


def test_views_are_drawn_in_training_only():
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    view = RandomView()
    np.testing.assert_array_equal(view(pictures), pictures)
    np.testing.assert_array_equal(view(pictures, training=False), pictures)


def test_seed_and_epoch_decide_the_views():
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)

    def two_batches(view, epoch):
        view.begin_epoch(epoch)
        return [np.asarray(view(pictures, training=True)) for _ in range(2)]

    view = RandomView(seed=1)
    first, second = two_batches(view, 0), two_batches(view, 1)
    np.testing.assert_array_equal(two_batches(view, 0), first)
    np.testing.assert_array_equal(two_batches(RandomView(seed=1), 1), second)
    every = [*first, *second, *two_batches(RandomView(seed=2), 0)]
    for place, one in enumerate(every):
        assert all((one != other).any() for other in every[:place])


def test_the_item_stays_visible_on_white():
    for view in views(square_on_white()):
        red = view[..., 0] - view[..., 1] > 0.3
        # The square is 1/16 of the picture and is seen nearer or farther, never lost.
        assert 0.03 < red.mean() < 0.25
        # The light falls on what comes in as on the white that was there.
        corners = view[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.ptp(corners) < 1e-5 and corners.min() > 0.4


def test_views_move_and_light_changes_both_ways():
    picture = square_on_white()
    where = np.argwhere(picture[..., 1] < 0).mean(axis=0)
    reds, shifts = [], []
    for view in views(picture):
        red = view[..., 0] - view[..., 1] > 0.3
        reds.append(view[red].mean())
        shifts.append(np.argwhere(red).mean(axis=0) - where)
    assert min(reds) < picture[picture[..., 1] < 0].mean() < max(reds)
    assert (np.min(shifts, axis=0) < -2).all() and (np.max(shifts, axis=0) > 2).all()


def test_nothing_is_mirrored():
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 16:32] = 0, 0, 200  # blue left of yellow
    picture[16:48, 32:48] = 200, 200, 0
    for view in views(to_network_input(picture)):
        blue = view[..., 2] - view[..., 0] > 0.3
        yellow = view[..., 0] - view[..., 2] > 0.3
        assert np.argwhere(blue)[:, 1].mean() < np.argwhere(yellow)[:, 1].mean()


def noise(size=32):
    """A picture that is alike nowhere."""
    return np.random.default_rng(4).uniform(-0.5, 0.5, (size, size, 3)).astype(np.float32)


def test_flipping_mirrors_about_half_of_the_views_and_changes_nothing_else():
    count, picture = 200, noise(16)
    both = np.stack([picture, picture[:, ::-1]])
    # The same seed draws the same views; those that are mirrored look at the picture's mirror.
    plain, of_mirror = (
        np.asarray(RandomView(seed=5)(np.stack([one] * count), training=True)) for one in both
    )
    flipping = RandomView(seed=5, flip=True)
    flipped = np.asarray(flipping(np.stack([picture] * count), training=True))
    as_before = np.abs(flipped - plain).max(axis=(1, 2, 3)) < 1e-4
    mirrored = np.abs(flipped - of_mirror).max(axis=(1, 2, 3)) < 1e-4
    assert (as_before != mirrored).all()
    assert 0.4 < mirrored.mean() < 0.6
    np.testing.assert_array_equal(flipping(both), both)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_one_colour_stays_one_colour_within_the_range(value):
    for view in views(to_network_input(np.full((16, 16, 3), value, np.uint8)), 20):
        assert np.ptp(view[6:10, 6:10]) < 1e-5


def naive_resampled(picture, x, y):
    """Bilinear, one pixel at a time; white outside."""
    size = len(picture)

    def pixel(row, column):
        inside = 0 <= row < size and 0 <= column < size
        return picture[row, column] if inside else np.ones(3)

    seen = np.empty_like(picture)
    for place in np.ndindex(x.shape):
        column, row = floor(x[place]), floor(y[place])
        right, down = x[place] - column, y[place] - row
        upper = (1 - right) * pixel(row, column) + right * pixel(row, column + 1)
        lower = (1 - right) * pixel(row + 1, column) + right * pixel(row + 1, column + 1)
        seen[place] = (1 - down) * upper + down * lower
    return seen


def test_resampling_is_bilinear_on_white():
    rng = np.random.default_rng(3)
    pictures = rng.uniform(-1, 1, (3, 9, 9, 3)).astype(np.float32)
    x, y = rng.uniform(-3, 12, (2, 3, 9, 9)).astype(np.float32)
    x[0], y[0] = np.meshgrid(np.arange(9), np.arange(9))  # every pixel where it was
    seen = np.asarray(_resample(pictures, x, y))
    np.testing.assert_array_equal(seen[0], pictures[0])
    for got, picture, across, along in zip(seen, pictures, x, y, strict=True):
        np.testing.assert_allclose(got, naive_resampled(picture, across, along), atol=1e-5)


def test_a_view_is_drawn_within_its_limits():
    def seen(*drawn, size=10):
        rows = np.array(drawn, np.float32)[:, None]
        return [np.asarray(part)[0] for part in _sampling_grid(size, *rows)]

    same = (1 - sum(ZOOM) / 2) / ((ZOOM[1] - ZOOM[0]) / 2)  # the draw that zooms by 1
    columns, rows = np.meshgrid(np.arange(10), np.arange(10))
    for drawn, expected in (
        ((same, 0, 0, 0, 0), (columns, rows)),
        ((same, 0, 0, 1, 0), (columns + 10 * SHIFT, rows)),
        ((same, 0, 0, 0, -1), (columns, rows - 10 * SHIFT)),
        ((-1, 0, 0, 0, 0), (4.5 + ZOOM[0] * (columns - 4.5), 4.5 + ZOOM[0] * (rows - 4.5))),
        ((1, 0, 0, 0, 0), (4.5 + ZOOM[1] * (columns - 4.5), 4.5 + ZOOM[1] * (rows - 4.5))),
        (
            (same, 1, 0, 0, 0),
            (4.5 + np.exp(ASPECT) * (columns - 4.5), 4.5 + np.exp(-ASPECT) * (rows - 4.5)),
        ),
    ):
        for got, part in zip(seen(*drawn), expected, strict=True):
            np.testing.assert_allclose(got, part, atol=1e-5)
    x, y = seen(same, 0, 1, 0, 0)
    turn = np.exp(1j * np.radians(ANGLE))
    expected = (4.5 + 4.5j) + turn * ((columns - 4.5) + 1j * (rows - 4.5))
    np.testing.assert_allclose(x + 1j * y, expected, atol=1e-5)


def test_serialisation_keeps_the_settings():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, RandomView(seed=9, flip=True)(inputs))
    again = keras.Model.from_config(model.get_config()).layers[1]
    assert (again.seed, again.flip) == (9, True)
    assert again.compute_dtype == "float32"
    plain = RandomView.from_config(RandomView(seed=2).get_config())
    assert (plain.seed, plain.flip) == (2, False)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
@pytest.mark.parametrize("options", [{}, {"flip": True}])
def test_xla_can_compile_it(options):
    """A GPU trains through XLA, which refuses the whole network for one operation it lacks."""
    import tensorflow as tf

    compiled = tf.function(RandomView(**options), jit_compile=True)
    lowered = compiled.experimental_get_compiler_ir(tf.ones((2, 16, 16, 3)), training=True)
    assert "gather" in lowered(stage="hlo")


def test_the_same_under_jax(under_jax):
    done = under_jax(__file__)
    assert done.returncode == 0, done.stdout + done.stderr
