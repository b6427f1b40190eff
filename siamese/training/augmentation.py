"""Augmentation: random views of a picture, as if the item were photographed again."""

from __future__ import annotations

from math import radians
from typing import Any

import keras
import numpy as np
from keras import layers, ops

ZOOM = (0.65, 1.1)
"""Range of the visible square's side, relative to the picture: below 1 zooms in, above 1 out."""
ASPECT, ANGLE, SHIFT = 0.12, 12.0, 0.08
"""Maximum log of width stretch (height: inverse), rotation in degrees, shift relative to side."""
BRIGHTNESS, CONTRAST, SATURATION = 0.15, 0.25, 0.3
"""Maximum relative change in either direction."""

_GREY = [0.299, 0.587, 0.114]


@keras.saving.register_keras_serializable("siamese")
class RandomView(layers.Layer):
    """Layer that applies a random affine transformation and colour change to each picture.

    Input and output are float32 pictures of shape (n, s, s, 3), RGB in [-1, 1]. Areas outside the
    picture are filled with white. Pictures are not mirrored by default, because the mirror image
    of an arrow, a shoe or text is a different thing. Except in training, the layer does nothing.

    Parameters
    ----------
    seed : int, default 0
        Determines the views, together with the epoch; see `begin_epoch`.
    flip : bool, default False
        Mirror half of the views.
    """

    def __init__(self, seed: int = 0, flip: bool = False, **kwargs: Any) -> None:
        # float16 and bfloat16 are too coarse for colours.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.seed = seed
        self.flip = flip
        self.seed_generator = keras.random.SeedGenerator(seed)

    def begin_epoch(self, epoch: int) -> None:
        """Reset the random state for an epoch, so that a resumed run draws the same views."""
        state = self.seed_generator.state
        numbers = np.random.SeedSequence((self.seed, epoch)).generate_state(2)
        state.assign(numbers.astype(state.dtype))

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        numbers = self._draw(ops.shape(inputs)[0], 8)
        x, y = _sampling_grid(inputs.shape[1], *numbers[:5])
        if self.flip:
            (side,) = self._draw(ops.shape(inputs)[0], 1)
            mirrored = ops.reshape(side, (-1, 1, 1)) < 0
            x = ops.where(mirrored, inputs.shape[1] - 1 - x, x)
        return _change_colours(_resample(inputs, x, y), *numbers[5:])

    def _draw(self, pictures: int, count: int) -> list[Any]:
        """Draw `count` tensors of shape (pictures,), uniformly from [-1, 1)."""
        numbers = keras.random.uniform((pictures, count), -1, 1, seed=self.seed_generator)
        return ops.unstack(numbers, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed, "flip": self.flip}


def _sampling_grid(size: int, *numbers: Any) -> tuple[Any, Any]:
    """Return the coordinates x, y to sample for each pixel of a view, each (n, size, size)."""
    zoom, aspect, angle, right, down = (ops.reshape(each, (-1, 1, 1)) for each in numbers)
    zoom = sum(ZOOM) / 2 + (ZOOM[1] - ZOOM[0]) / 2 * zoom
    aspect = ops.exp(ASPECT * aspect)
    angle = radians(ANGLE) * angle
    from_centre = ops.arange(size, dtype="float32") + (0.5 - size / 2)
    column, row = from_centre[None, None, :], from_centre[None, :, None]
    x = zoom * (aspect * ops.cos(angle) * column - ops.sin(angle) * row)
    y = zoom * (ops.sin(angle) * column + ops.cos(angle) / aspect * row)
    centre = (size - 1) / 2
    return x + (centre + SHIFT * size * right), y + (centre + SHIFT * size * down)


def _resample(pictures: Any, x: Any, y: Any) -> Any:
    """Sample pictures at coordinates x, y with bilinear interpolation and a white background.

    This uses `ops.take`, because XLA cannot compile `keras.ops.image.affine_transform` on
    TensorFlow, nor a network that contains it.
    """
    size = pictures.shape[1]
    # Add a white frame, so that all four neighbours of every point exist.
    framed = ops.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    x, y = ops.clip(x + 1, 0, size + 1), ops.clip(y + 1, 0, size + 1)
    left, top = ops.minimum(ops.floor(x), size), ops.minimum(ops.floor(y), size)
    to_right, to_bottom = (x - left)[..., None], (y - top)[..., None]

    side = size + 2
    offset = ops.arange(ops.shape(pictures)[0], dtype="int32")[:, None, None] * side**2
    index = offset + ops.cast(top * side + left, "int32")
    pixels = ops.reshape(framed, (-1, 3))

    def interpolate_row(index: Any) -> Any:
        first, second = ops.take(pixels, index, axis=0), ops.take(pixels, index + 1, axis=0)
        return first + to_right * (second - first)

    upper, lower = interpolate_row(index), interpolate_row(index + side)
    return upper + to_bottom * (lower - upper)


def _change_colours(pictures: Any, *numbers: Any) -> Any:
    """Change saturation, then contrast about grey, then brightness; clip to [-1, 1]."""
    saturation, contrast, brightness = (ops.reshape(each, (-1, 1, 1, 1)) for each in numbers)
    # Add slices, because reducing an axis of length three is slow on a CPU.
    grey = sum(part * pictures[..., channel, None] for channel, part in enumerate(_GREY))
    pictures = grey + (1 + SATURATION * saturation) * (pictures - grey)
    # Brightness is relative to the whole range of values, which is 2.
    pictures = (1 + CONTRAST * contrast) * pictures + 2 * BRIGHTNESS * brightness
    return ops.clip(pictures, -1, 1)
