"""Walk over the layers of a network and change what they allow."""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import layers


def allow_any_size(model: keras.Model) -> None:
    """Let a built model be called on pictures of other sizes than it was built for.

    What it is made of must not depend on the size: convolutions and pooling do not.
    """
    for one in walk_models(model):
        one.input_spec = None


def freeze_batch_norm(model: keras.Model) -> None:
    """Keep the statistics of a pretrained backbone: small batches would only blur them."""
    for layer in walk_layers(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def walk_models(model: keras.Model) -> Iterator[keras.Model]:
    """The model and those inside it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from walk_models(layer)


def walk_layers(model: keras.Model) -> Iterator[layers.Layer]:
    """The layers of a model and of the models in it, from the input on."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from walk_layers(layer)
        else:
            yield layer
