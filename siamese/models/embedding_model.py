"""Build embedding models and siamese networks.

::

    pictures (n, s, s, 3) ─ scaling ─ backbone ─ pooling ─ [projection] ─ unit length ─ (n, d)
                            └──────────────────── embedding_model ─────────────────┘

    anchor ─ embedding_model ─┐
                              ├─ Euclidean distance (n,)          both use the same weights
    other ── embedding_model ─┘

Every embedding model takes RGB in [-1, 1]; the scaling converts it to the input of the backbone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from siamese.errors import InputError
from siamese.models.backbones import build_backbone, derive_scaling
from siamese.models.defaults import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE, Pooling
from siamese.models.devices import enable_memory_growth
from siamese.models.efficientnet_lite import efficientnet_lite0
from siamese.models.pooling import apply_pooling

EMBEDDING_MODEL = "embedding_model"
"""Name of the embedding model, also as a layer of a siamese network."""

POOLING, PROJECTION = "pooling", "projection"
"""Names of layers in the embedding model; without an embedding size, there is no projection."""


def embedding_model(
    backbone: str = DEFAULT_BACKBONE,
    picture_size: int = DEFAULT_PICTURE_SIZE,
    *,
    embedding_size: int | None = None,
    pooling: Pooling = "average",
    weights: str | None = "imagenet",
) -> keras.Model:
    """Build a model that maps pictures to embeddings.

    Parameters
    ----------
    backbone : str, default="EfficientNetLite0"
        "EfficientNetLite0", "base_cnn" or the name of a model in `keras.applications`.
    picture_size : int, default=224
        Side length s of the pictures in pixels.
    embedding_size : int, optional
        Dimensions d of a learned projection of the pooled features. By default, there is no
        projection, and d is the number of features: 1,280 for the default backbone.
    pooling : {"average", "gem"}, default="average"
        Pooling of the grid of features into one vector, see `siamese.models.pooling`.
    weights : str, optional
        "imagenet" (the default), the path of a weights file of the backbone without its classifier,
        or None for random weights. `base_cnn` always has random ones.

    Returns
    -------
    keras.Model
        Maps float32 (n, s, s, 3), RGB in [-1, 1], to float32 (n, d), vectors of length 1.

    Raises
    ------
    InputError
        If the backbone is unknown, the weights do not fit or cannot be downloaded, or the pictures
        are too small for the backbone.

    Examples
    --------
    >>> model = embedding_model("base_cnn", 32, embedding_size=16)
    >>> model.output_shape
    (None, 16)
    """
    enable_memory_growth()
    inputs = keras.Input((picture_size, picture_size, 3), name="input")
    features, scaling = build_backbone(backbone, picture_size, weights)
    x = apply_pooling(features(scaling(inputs)), pooling)
    if embedding_size is not None:
        x = layers.Dense(embedding_size, name=PROJECTION)(x)
    return keras.Model(inputs, _normalise(x), name=EMBEDDING_MODEL)


def siamese_network(embedding_model: keras.Model) -> keras.Model:
    """Build a model that computes the distance between the embeddings of two pictures.

    Parameters
    ----------
    embedding_model : keras.Model
        Embeds both pictures; see `embedding_model`.

    Returns
    -------
    keras.Model
        Maps two float32 (n, s, s, 3), RGB in [-1, 1], to float32 (n,), distances from 0 to 2.
    """
    anchor = keras.Input(embedding_model.input_shape[1:], name="anchor")
    other = keras.Input(embedding_model.input_shape[1:], name="other")
    distance = EuclideanDistance(name="distance", dtype="float32")(
        [embedding_model(anchor), embedding_model(other)]
    )
    return keras.Model([anchor, other], distance, name="siamese_network")


@keras.saving.register_keras_serializable("siamese")
class EuclideanDistance(layers.Layer):
    """Euclidean distance √Σ (a − b)² between the rows of two tensors (n, d)."""

    EPSILON = 1e-12
    """Lower bound of the squared distance: at 0, the gradient of the square root is infinite."""

    def call(self, inputs: Any) -> Any:
        anchor, other = inputs
        return ops.sqrt(ops.maximum(ops.sum(ops.square(anchor - other), axis=-1), self.EPSILON))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0][:1]


def pretrained_classifier(picture_size: int = DEFAULT_PICTURE_SIZE) -> keras.Model:
    """Build the pretrained default model with two outputs.

    They are "embedding" (n, 1280), vectors of length 1, and "softmax" (n, 1000), the probabilities
    of the ImageNet classes.
    """
    enable_memory_growth()
    inputs = keras.Input((picture_size, picture_size, 3), name="input")
    classifier = efficientnet_lite0(input_shape=inputs.shape[1:], include_top=True)
    with_features = keras.Model(
        classifier.input,
        [classifier.get_layer("pooling").output, classifier.output],
        name=classifier.name,
    )
    features, softmax = with_features(derive_scaling(efficientnet_lite0)(inputs))
    outputs = {"embedding": _normalise(features), "softmax": softmax}
    return keras.Model(inputs, outputs, name=EMBEDDING_MODEL)


def extract_embedding_model(model: keras.Model, path: Path) -> keras.Model:
    """Return the embedding model of a checkpoint, with vectors of length 1.

    It is the layer `EMBEDDING_MODEL` or, without one, the whole model. `path` is for errors.
    """
    model = next((layer for layer in model.layers if layer.name == EMBEDDING_MODEL), model)
    # A model that was never built has no shapes.
    input_shape = getattr(model, "input_shape", None)
    output_shape = getattr(model, "output_shape", None)
    has_vector = isinstance(output_shape, tuple) and len(output_shape) == 2
    if not (_is_square_picture(input_shape) and has_vector):
        raise InputError(
            f"{path}: is not an embedding model; it must take one square RGB picture and give one "
            f"vector (it takes {input_shape} and gives {output_shape}), or be a siamese network"
        )
    is_normalised = isinstance(model.layers[-1], layers.UnitNormalization)
    if is_normalised and model.name == EMBEDDING_MODEL:
        return model
    # The new model must not nest the old one, which would be found first in its checkpoint.
    outputs = model.outputs[0] if is_normalised else _normalise(model.outputs[0])
    return keras.Model(model.inputs, outputs, name=EMBEDDING_MODEL)


def _normalise(vectors: Any) -> Any:
    """Scale vectors to length 1, in float32 whatever the precision of the model."""
    return layers.UnitNormalization(name="embedding", dtype="float32")(vectors)


def _is_square_picture(shape: Any) -> bool:
    match shape:  # a list of shapes if the model has several inputs
        case (_, int(height), width, 3):
            return height == width
    return False
