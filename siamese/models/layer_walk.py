"""Iteration over nested models and their layers."""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import layers


def walk_models(model: keras.Model) -> Iterator[keras.Model]:
    """Yield a model and all models nested in it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from walk_models(layer)


def walk_layers(model: keras.Model) -> Iterator[layers.Layer]:
    """Yield the layers of a model and of its nested models, from input to output."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from walk_layers(layer)
        else:
            yield layer


def freeze_batch_norm(model: keras.Model) -> None:
    """Freeze batch normalisation, as pretrained statistics are better than small-batch ones."""
    for layer in walk_layers(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
