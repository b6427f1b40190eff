"""Change the precision a network computes in."""

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


def set_precision(model: keras.Model, precision: Precision) -> None:
    """Have a built model compute in a precision from now on; its weights stay float32.

    What turns grey levels into the backbone's input, and what makes embeddings and distances of
    its output, computes in float32 whatever the precision. Layers of another maker's own
    precision (float64, quantised) keep it.
    """
    changed = False
    for layer in _layers_of_a_precision(model):
        policy = "float32" if isinstance(layer, _IN_FLOAT32) else precision
        changed |= layer.dtype_policy.name != policy
        layer.dtype_policy = policy
    if changed:
        for one in walk_models(model):
            # What it compiled when it was first called is in the precision of then.
            one.train_function = one.test_function = one.predict_function = None


@contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """A model in float32 for as long as it is written to a file, though it may be in training."""
    earlier = [(layer, layer.dtype_policy) for layer in _layers_of_a_precision(model)]
    for layer, _ in earlier:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in earlier:
            layer.dtype_policy = policy


def _layers_of_a_precision(model: keras.Model) -> Iterator[layers.Layer]:
    for one in walk_models(model):
        for layer in one.layers:
            if layer.dtype_policy.name in get_args(Precision):
                yield layer


_IN_FLOAT32 = (
    PictureScaling,
    EuclideanDistance,
    GeneralisedMean,
    layers.Normalization,
    layers.Rescaling,
    layers.UnitNormalization,
)
