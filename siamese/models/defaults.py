"""Default settings of models, in a module that does not import Keras."""

from __future__ import annotations

from typing import Literal

Pooling = Literal["average", "gem"]

DEFAULT_BACKBONE = "EfficientNetLite0"

DEFAULT_PICTURE_SIZE = 224
"""Default side length of a model's input pictures, in pixels."""
