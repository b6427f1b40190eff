"""The networks: a base CNN or a pretrained backbone, the embedding model, the siamese network.

    pictures (n, s, s, 3) in [-1, 1] ── scaling ── backbone ── pooling ── [projection] ── length 1
                                     └──────────────── embedding_model ───────────────────┘
    anchors ─ embedding_model ─┐
                               ├─ Euclidean distance (n,)
    others ── embedding_model ─┘   (one model, shared)

Every embedding model takes RGB scaled to [-1, 1] and carries what its backbone wants inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from siamese.errors import InputError
from siamese.models.backbones import (
    build_backbone,
    lite_scaling,
)
from siamese.models.defaults import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE, Pooling
from siamese.models.devices import enable_memory_growth
from siamese.models.efficientnet_lite import efficientnet_lite0
from siamese.models.pooling import apply_pooling

EMBEDDING_MODEL = "embedding_model"
POOLING, PROJECTION = "pooling", "projection"
"""Names of layers of a fresh embedding model; the projection only where there is one."""


@keras.saving.register_keras_serializable("siamese")
class EuclideanDistance(layers.Layer):
    """d = √Σ (a − b)²: two (n, d) embeddings in, (n,) out.

    The gradient of √x is infinite at 0; below ε it is 0 instead, so two equal pictures do no harm.
    """

    EPSILON = 1e-12

    def call(self, inputs: Any) -> Any:
        anchor, other = inputs
        return ops.sqrt(ops.maximum(ops.sum(ops.square(anchor - other), axis=-1), self.EPSILON))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0][:1]


def embedding_model(
    backbone: str = DEFAULT_BACKBONE,
    picture_size: int = DEFAULT_PICTURE_SIZE,
    *,
    embedding_size: int | None = None,
    pooling: Pooling = "average",
    weights: str | None = "imagenet",
) -> keras.Model:
    """Build the network that embeds one picture.

    Parameters
    ----------
    backbone : one of `list_backbones()`
    picture_size : pixels of a side
    embedding_size : d of a learned projection behind the pooled features; None leaves them as
        they are (1,280 for the default)
    pooling : how the backbone's grid of features becomes one vector, see `siamese.models.pooling`
    weights : "imagenet", a weights file of this backbone without its classifier, or None for
        random ones; `base_cnn` always starts from random

    Returns
    -------
    float32 (n, s, s, 3), RGB in [-1, 1] → float32 (n, d), length 1

    Raises
    ------
    InputError
        Unknown backbone, weights that cannot be had or do not fit, pictures too small for it.
    """
    enable_memory_growth()
    inputs = keras.Input((picture_size, picture_size, 3), name="input")
    features, scaling = build_backbone(backbone, picture_size, weights)
    x = features(scaling(inputs))
    x = apply_pooling(x, pooling)
    if embedding_size is not None:
        x = layers.Dense(embedding_size, name=PROJECTION)(x)
    x = layers.UnitNormalization(name="embedding", dtype="float32")(x)
    return keras.Model(inputs, x, name=EMBEDDING_MODEL)


def pretrained_classifier(picture_size: int = DEFAULT_PICTURE_SIZE) -> keras.Model:
    """The pretrained default with both its outputs: the embedding and the ImageNet softmax.

    Returns
    -------
    float32 (n, s, s, 3), RGB in [-1, 1] → {"embedding": (n, 1280), "softmax": (n, 1000)}
    """
    enable_memory_growth()
    inputs = keras.Input((picture_size, picture_size, 3), name="input")
    classifier = efficientnet_lite0((picture_size, picture_size, 3), include_top=True)
    both = keras.Model(
        classifier.input,
        [classifier.get_layer("pooling").output, classifier.output],
        name=classifier.name,
    )
    features, softmax = both(lite_scaling()(inputs))
    embedding = layers.UnitNormalization(name="embedding", dtype="float32")(features)
    return keras.Model(inputs, {"embedding": embedding, "softmax": softmax}, name=EMBEDDING_MODEL)


def siamese_network(embedding_model: keras.Model) -> keras.Model:
    """Two pictures in, the distance of their embeddings out.

    Returns
    -------
    two float32 (n, s, s, 3), RGB in [-1, 1] → float32 (n,), between 0 and 2
    """
    anchor = keras.Input(embedding_model.input_shape[1:], name="anchor")
    other = keras.Input(embedding_model.input_shape[1:], name="other")
    distance = EuclideanDistance(name="distance", dtype="float32")(
        [embedding_model(anchor), embedding_model(other)]
    )
    return keras.Model([anchor, other], distance, name="siamese_network")


def extract_embedding_model(model: keras.Model, path: Path) -> keras.Model:
    """The embedding model of a loaded checkpoint.

    Of a siamese network that is its layer `embedding_model`, otherwise the model itself; it must
    have one picture input and one vector output, and is made to answer vectors of length 1.

    Raises
    ------
    InputError
        If there is no such model.
    """
    inner = [layer for layer in model.layers if layer.name == EMBEDDING_MODEL]
    model = inner[0] if inner else model
    # A model that was never built has no shapes.
    input_shape = getattr(model, "input_shape", None)
    output_shape = getattr(model, "output_shape", None)
    if not (
        isinstance(input_shape, tuple)
        and isinstance(output_shape, tuple)
        and len(input_shape) == 4
        and input_shape[1] is not None
        and input_shape[1] == input_shape[2]
        and input_shape[3] == 3
        and len(output_shape) == 2
    ):
        raise InputError(
            f"{path}: is no embedding model; it must take one square RGB picture and give one "
            f"vector (it takes {input_shape} and gives {output_shape}), or be a siamese network"
        )
    normalised = isinstance(model.layers[-1], layers.UnitNormalization)
    if normalised and model.name == EMBEDDING_MODEL:
        return model
    # A copy of the graph around the same layers: what wraps a model is found again when saved.
    outputs = model.outputs[0]
    if not normalised:
        outputs = layers.UnitNormalization(name="embedding", dtype="float32")(outputs)
    return keras.Model(model.inputs, outputs, name=EMBEDDING_MODEL)
