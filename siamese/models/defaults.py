"""The default backbone and its picture size, readable without loading Keras."""

from __future__ import annotations

from typing import Literal

Pooling = Literal["average", "max", "gem", "sum"]


DEFAULT_BACKBONE = "EfficientNetLite0"


DEFAULT_PICTURE_SIZE = 224
"""Pixels per side of the pictures a pretrained model embeds."""
