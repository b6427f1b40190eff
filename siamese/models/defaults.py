"""Defaults of the models, in a module that does not import Keras."""

from __future__ import annotations

from typing import Literal

Pooling = Literal["average", "gem"]

DEFAULT_BACKBONE = "EfficientNetLite0"

DEFAULT_PICTURE_SIZE = 224
"""Side length in pixels of the pictures that a pretrained model embeds."""
