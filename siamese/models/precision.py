"""Control of the precision in which built models compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import keras
from keras import layers

from siamese.models.backbones import PictureScaling
from siamese.models.devices import Precision
from siamese.models.embedding_model import EuclideanDistance
from siamese.models.layer_walk import walk_models
from siamese.models.pooling import GeneralisedMean

_ALWAYS_FLOAT32 = (
    PictureScaling,
    EuclideanDistance,
    GeneralisedMean,
    layers.Normalization,
    layers.Rescaling,
    layers.UnitNormalization,
)
"""Layers that compute in float32 whatever the model's precision, because they need the accuracy."""


def set_precision(model: keras.Model, precision: Precision) -> None:
    """Set the precision in which a built model computes; its weights stay float32.

    Layers whose dtype policy is not a `Precision`, such as float64 or quantised layers, keep it.
    """
    has_changed = False
    for layer in _layers_to_set(model):
        policy = "float32" if isinstance(layer, _ALWAYS_FLOAT32) else precision
        has_changed |= layer.dtype_policy.name != policy
        layer.dtype_policy = policy
    if has_changed:
        for part in walk_models(model):
            # Discard compiled functions, which would still compute in the previous precision.
            part.train_function = part.test_function = part.predict_function = None


@contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Set a model to float32 within a `with` block, for example to save it during training."""
    previous = [(layer, layer.dtype_policy) for layer in _layers_to_set(model)]
    for layer, _ in previous:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in previous:
            layer.dtype_policy = policy


def _layers_to_set(model: keras.Model) -> Iterator[layers.Layer]:
    """Yield the layers whose precision `set_precision` may change."""
    for part in walk_models(model):
        for layer in part.layers:
            if layer.dtype_policy.name in get_args(Precision):
                yield layer
