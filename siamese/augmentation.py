"""The same thing photographed again: another distance, place, angle and light."""

from __future__ import annotations

from math import cos, exp, radians, sin

import numpy as np
from PIL import Image

ZOOM = (0.65, 1.1)
"""Side of the seen square by that of the picture: below 1 nearer, above 1 farther (on white)."""
ASPECT, ANGLE, SHIFT = 0.12, 12.0, 0.08
"""Greatest log aspect ratio, rotation in degrees, shift in parts of the side."""
BRIGHTNESS, CONTRAST, SATURATION = 0.15, 0.25, 0.3
"""Greatest change up or down, in parts of the whole."""

_GREY = np.array([0.299, 0.587, 0.114])


def augment(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a random view: one affine map and one linear map of the colours, both in C.

    There is no mirroring: an arrow, a shoe or a written word is another thing in the mirror.

    Parameters
    ----------
    picture : uint8 (s, s, 3)
    rng : its state alone decides what is drawn

    Returns
    -------
    uint8 (s, s, 3)
    """
    size = picture.shape[0]
    view = Image.fromarray(picture).transform(
        (size, size),
        Image.Transform.AFFINE,
        _view(size, rng),
        Image.Resampling.BILINEAR,
        fillcolor="white",
    )
    return np.asarray(view.convert("RGB", _light(rng)))


def _view(size: int, rng: np.random.Generator) -> tuple[float, ...]:
    """(a, b, c, d, e, f): the output (x, y) shows the input at (ax + by + c, dx + ey + f)."""
    zoom = rng.uniform(*ZOOM)
    aspect = exp(rng.uniform(-ASPECT, ASPECT))
    angle = radians(rng.uniform(-ANGLE, ANGLE))
    x, y = size * (0.5 + rng.uniform(-SHIFT, SHIFT, 2))
    a, b = zoom * aspect * cos(angle), -zoom * sin(angle)
    d, e = zoom * sin(angle), zoom / aspect * cos(angle)
    half = size / 2
    return a, b, x - a * half - b * half, d, e, y - d * half - e * half


def _light(rng: np.random.Generator) -> tuple[float, ...]:
    """Rows of a 3 × 4 colour matrix: saturation, then contrast about grey, then brightness."""
    brightness, contrast, saturation = (
        1 + rng.uniform(-most, most) for most in (BRIGHTNESS, CONTRAST, SATURATION)
    )
    colours = saturation * np.eye(3) + (1 - saturation) * _GREY
    offset = 127.5 * (1 - contrast) + 255 * (brightness - 1)
    return tuple(np.column_stack([contrast * colours, np.full(3, offset)]).ravel().tolist())
