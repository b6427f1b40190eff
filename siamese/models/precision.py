"""Change the precision that a built model computes in."""

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
"""Layers that scale pictures, embeddings and distances."""


def set_precision(model: keras.Model, precision: Precision) -> None:
    """Set the precision that a built model computes in; its weights stay float32.

    Layers that scale pictures, embeddings and distances always compute in float32. Layers with a
    precision of their own, such as float64 or a quantised one, keep it.

    Parameters
    ----------
    model : keras.Model
        Any built model. Its nested models are changed too.
    precision : {"float32", "mixed_float16", "mixed_bfloat16"}
        The Keras policy to set.
    """
    has_changed = False
    for layer in _layers_to_set(model):
        policy = "float32" if isinstance(layer, _ALWAYS_FLOAT32) else precision
        has_changed |= layer.dtype_policy.name != policy
        layer.dtype_policy = policy
    if has_changed:
        for part in walk_models(model):
            # Functions that were compiled before still compute in the previous precision.
            part.train_function = part.test_function = part.predict_function = None


@contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Set a model to float32 within the block, for example to save it during mixed training."""
    previous = [(layer, layer.dtype_policy) for layer in _layers_to_set(model)]
    for layer, _ in previous:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in previous:
            layer.dtype_policy = policy


def _layers_to_set(model: keras.Model) -> Iterator[layers.Layer]:
    """Yield the layers that have no precision of their own."""
    for part in walk_models(model):
        for layer in part.layers:
            if layer.dtype_policy.name in get_args(Precision):
                yield layer
