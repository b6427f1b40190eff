"""The same thing photographed again: another distance, place, angle and light."""

from __future__ import annotations

from math import radians
from typing import Any

import keras
import numpy as np
from keras import layers, ops

ZOOM = (0.65, 1.1)
"""Side of the seen square by that of the picture: below 1 nearer, above 1 farther (on white)."""
ASPECT, ANGLE, SHIFT = 0.12, 12.0, 0.08
"""Greatest log aspect ratio, rotation in degrees, shift in parts of the side."""
BRIGHTNESS, CONTRAST, SATURATION = 0.15, 0.25, 0.3
"""Greatest change up or down, in parts of the whole."""
ERASED, LOG_RATIO = (0.02, 0.2), 1.2
"""Share of the view that an erased rectangle covers, and its greatest log ratio of the sides."""

_GREY = [0.299, 0.587, 0.114]


@keras.saving.register_keras_serializable("siamese")
class RandomView(layers.Layer):
    """A random view of each picture while training: one affine map and one map of the colours.

    Nothing is mirrored unless told so: an arrow, a shoe or a written word is another thing in the
    mirror. What comes in from outside is white. Without ``training=True`` pictures pass as they
    are.

    Parameters
    ----------
    seed : with the epoch it decides every view; see `begin_epoch`
    flip : mirror half of the views
    erasing : share of the views in which a rectangle is covered by one random colour (Zhong et
        al., "Random Erasing Data Augmentation", AAAI 2020)

    Call
    ----
    float32 (n, s, s, 3), RGB in [-1, 1] → the same
    """

    def __init__(
        self, seed: int = 0, flip: bool = False, erasing: float = 0.0, **kwargs: Any
    ) -> None:
        # Grey levels need more than the bits of mixed precision.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.seed = seed
        self.flip = flip
        self.erasing = erasing
        self.seed_generator = keras.random.SeedGenerator(seed)

    def begin_epoch(self, epoch: int) -> None:
        """Set the draws to where they are at the start of an epoch, also of one gone back to."""
        state = self.seed_generator.state
        numbers = np.random.SeedSequence((self.seed, epoch)).generate_state(2)
        state.assign(numbers.astype(state.dtype))

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        drawn = self._drawn(ops.shape(inputs)[0], 8)
        x, y = _seen(inputs.shape[1], *drawn[:5])
        if self.flip:
            (side,) = self._drawn(ops.shape(inputs)[0], 1)
            mirrored = ops.reshape(side, (-1, 1, 1)) < 0
            x = ops.where(mirrored, inputs.shape[1] - 1 - x, x)
        views = _lit(_resampled(inputs, x, y), *drawn[5:])
        if self.erasing:
            views = _erased(views, self.erasing, *self._drawn(ops.shape(inputs)[0], 8))
        return views

    def _drawn(self, pictures: Any, numbers: int) -> list[Any]:
        """Numbers for each picture, evenly from -1 to 1: a list of (n,)."""
        drawn = keras.random.uniform((pictures, numbers), -1, 1, seed=self.seed_generator)
        return ops.unstack(drawn, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        settings = {"seed": self.seed, "flip": self.flip, "erasing": self.erasing}
        return {**super().get_config(), **settings}


def _seen(size: int, *drawn: Any) -> tuple[Any, Any]:
    """Where each pixel of the view looks in the picture, in pixels: x and y, (n, size, size)."""
    zoom, aspect, angle, right, down = (ops.reshape(each, (-1, 1, 1)) for each in drawn)
    zoom = sum(ZOOM) / 2 + (ZOOM[1] - ZOOM[0]) / 2 * zoom
    aspect = ops.exp(ASPECT * aspect)
    angle = radians(ANGLE) * angle
    from_centre = ops.arange(size, dtype="float32") + (0.5 - size / 2)
    across, along = from_centre[None, None, :], from_centre[None, :, None]
    x = zoom * (aspect * ops.cos(angle) * across - ops.sin(angle) * along)
    y = zoom * (ops.sin(angle) * across + ops.cos(angle) / aspect * along)
    centre = (size - 1) / 2
    return x + (centre + SHIFT * size * right), y + (centre + SHIFT * size * down)


def _resampled(pictures: Any, x: Any, y: Any) -> Any:
    """The pictures at these places, bilinear, on white.

    By gathering: XLA cannot compile `keras.ops.image.affine_transform` on TensorFlow, and would
    then not be used for the network around it either.
    """
    size = pictures.shape[1]
    # A white frame, so that all four neighbours of every place exist.
    framed = ops.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    x, y = ops.clip(x + 1, 0, size + 1), ops.clip(y + 1, 0, size + 1)
    left, top = ops.minimum(ops.floor(x), size), ops.minimum(ops.floor(y), size)
    to_right, to_bottom = (x - left)[..., None], (y - top)[..., None]

    side = size + 2
    first = ops.arange(ops.shape(pictures)[0], dtype="int32")[:, None, None] * side**2
    place = first + ops.cast(top * side + left, "int32")
    pixels = ops.reshape(framed, (-1, 3))

    def row(start: Any) -> Any:
        one, next_one = ops.take(pixels, start, axis=0), ops.take(pixels, start + 1, axis=0)
        return one + to_right * (next_one - one)

    upper, lower = row(place), row(place + side)
    return upper + to_bottom * (lower - upper)


def _lit(pictures: Any, *drawn: Any) -> Any:
    """Saturation, then contrast about grey, then brightness; clipped to [-1, 1]."""
    saturation, contrast, brightness = (ops.reshape(each, (-1, 1, 1, 1)) for each in drawn)
    # By slices: a sum over an axis of three is slow on a CPU.
    grey = sum(part * pictures[..., channel, None] for channel, part in enumerate(_GREY))
    pictures = grey + (1 + SATURATION * saturation) * (pictures - grey)
    # Brightness is in parts of the whole range, which is 2 here.
    pictures = (1 + CONTRAST * contrast) * pictures + 2 * BRIGHTNESS * brightness
    return ops.clip(pictures, -1, 1)


def _erased(views: Any, share: float, *drawn: Any) -> Any:
    """A rectangle somewhere within each view takes one colour, in this share of the views."""
    chosen, area, ratio, right, down, *colour = (ops.reshape(each, (-1, 1, 1)) for each in drawn)
    size = views.shape[1]
    area = sum(ERASED) / 2 + (ERASED[1] - ERASED[0]) / 2 * area
    # Half of each side, in parts of the view's: their product is a quarter of the area.
    wide = ops.sqrt(area * ops.exp(LOG_RATIO * ratio)) / 2
    high = area / (4 * wide)
    place = (ops.arange(size, dtype="float32") + 0.5) / size
    within_width = ops.abs(place[None, None, :] - (0.5 + right * (0.5 - wide))) < wide
    within_height = ops.abs(place[None, :, None] - (0.5 + down * (0.5 - high))) < high
    covered = (chosen < 2 * share - 1) & within_width & within_height
    return ops.where(covered[..., None], ops.stack(colour, axis=-1), views)
