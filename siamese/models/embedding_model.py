"""Embedding models and siamese networks.

::

    pictures (n, s, s, 3) ─ scaling ─ backbone ─ pooling ─ [projection] ─ normalise ─ (n, d)
                            └─────────────────── embedding_model ────────────────┘

    anchor ─ embedding_model ─┐
                              ├─ Euclidean distance (n,)      both branches share their weights
    other ── embedding_model ─┘

Every embedding model takes RGB in [-1, 1]; its scaling layer adapts this range to the backbone.
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
"""Name of every embedding model, and of its layer in a siamese network."""

POOLING, PROJECTION = "pooling", "projection"
"""Names of layers in an embedding model. The projection exists only if `embedding_size` is set."""


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
        Output dimension d of a learned projection of the pooled features. By default, there is no
        projection, and d is the number of features: 1,280 for the default backbone.
    pooling : {"average", "gem"}, default="average"
        How the backbone's feature map is pooled into one vector; see `siamese.models.pooling`.
    weights : str or None, default="imagenet"
        "imagenet", the path of a weights file for the backbone without its classifier, or None
        for random weights. `base_cnn` takes no file and always starts from random weights.

    Returns
    -------
    keras.Model
        Model that maps pictures (n, s, s, 3), float32 RGB in [-1, 1], to unit-length float32
        vectors (n, d).

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
        Model that embeds both pictures, built by the function `embedding_model`.

    Returns
    -------
    keras.Model
        Model that maps two batches of pictures (n, s, s, 3), float32 RGB in [-1, 1], to the
        float32 distances (n,) between them, from 0 to 2.
    """
    anchor = keras.Input(embedding_model.input_shape[1:], name="anchor")
    other = keras.Input(embedding_model.input_shape[1:], name="other")
    distance = EuclideanDistance(name="distance", dtype="float32")(
        [embedding_model(anchor), embedding_model(other)]
    )
    return keras.Model([anchor, other], distance, name="siamese_network")


@keras.saving.register_keras_serializable("siamese")
class EuclideanDistance(layers.Layer):
    """Euclidean distance √Σ (a − b)² between corresponding rows of two tensors (n, d)."""

    EPSILON = 1e-12
    """Lower bound of the squared distance, as the gradient of the square root is infinite at 0."""

    def call(self, inputs: Any) -> Any:
        anchor, other = inputs
        return ops.sqrt(ops.maximum(ops.sum(ops.square(anchor - other), axis=-1), self.EPSILON))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0][:1]


def pretrained_classifier(picture_size: int = DEFAULT_PICTURE_SIZE) -> keras.Model:
    """Build the default pretrained model with two outputs: the embedding and the ImageNet classes.

    The outputs are "embedding" (n, 1280), unit-length vectors, and "softmax" (n, 1000), the
    probabilities of the classes.
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
    """Return the embedding model in a loaded checkpoint, changed if needed to return unit vectors.

    This is the layer named `EMBEDDING_MODEL`, or the whole model if it has no such layer. `path` is
    the checkpoint's path, for error messages.
    """
    model = next((layer for layer in model.layers if layer.name == EMBEDDING_MODEL), model)
    # An unbuilt model has no shapes.
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
    # Do not nest the old model in the new one: after reloading, the old one would be found first.
    outputs = model.outputs[0] if is_normalised else _normalise(model.outputs[0])
    return keras.Model(model.inputs, outputs, name=EMBEDDING_MODEL)


def _normalise(vectors: Any) -> Any:
    """Scale vectors to unit length, in float32 whatever the model's precision."""
    return layers.UnitNormalization(name="embedding", dtype="float32")(vectors)


def _is_square_picture(shape: Any) -> bool:
    match shape:  # `shape` is a list if the model has several inputs
        case (_, int(height), width, 3):
            return height == width
    return False
