"""The networks: a base CNN or a pretrained backbone, the embedding model, the siamese network.

    pictures (n, s, s, 3) in [-1, 1] ── scaling ── backbone ── pooling ── [projection] ── length 1
                                     └──────────────── embedding_model ───────────────────┘
    anchors ─ embedding_model ─┐
                               ├─ Euclidean distance (n,)
    others ── embedding_model ─┘   (one model, shared)

Every embedding model takes RGB scaled to [-1, 1] and carries what its backbone wants inside.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import keras
import numpy as np
from keras import layers, ops

from siamese.errors import InputError
from siamese.models.devices import Precision, grow_memory
from siamese.models.efficientnet_lite import efficientnet_lite0
from siamese.models.pooling import GeneralisedMean, pooled
from siamese.training.recipe import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE, Pooling

EMBEDDING_MODEL = "embedding_model"
POOLING, PROJECTION = "pooling", "projection"
"""Names of layers of a fresh embedding model; the projection only where there is one."""


@keras.saving.register_keras_serializable("siamese")
class PictureScaling(layers.Layer):
    """Turn RGB in [-1, 1] into what a backbone wants: x · scale + offset per channel.

    Parameters
    ----------
    scale, offset : one number a channel, in RGB order
    reverse_channels : hand the channels over as BGR
    """

    def __init__(
        self,
        scale: list[float],
        offset: list[float],
        reverse_channels: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale = list(scale)
        self.offset = list(offset)
        self.reverse_channels = reverse_channels

    def call(self, inputs: Any) -> Any:
        x = inputs * ops.convert_to_tensor(self.scale, inputs.dtype)
        x = x + ops.convert_to_tensor(self.offset, inputs.dtype)
        return ops.flip(x, axis=-1) if self.reverse_channels else x

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale": self.scale,
            "offset": self.offset,
            "reverse_channels": self.reverse_channels,
        }


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


def base_cnn(picture_size: int) -> keras.Model:
    """A small network from scratch, for small pictures: (n, s, s, 3) → (n, s / 16, s / 16, 256)."""
    inputs = keras.Input((picture_size, picture_size, 3), name="scaled_pictures")
    x = inputs
    for stage, filters in enumerate((32, 64, 128, 256)):
        for step in range(2):
            name = f"stage{stage}_{step}"
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            # By group, not by batch: the same in training and use, whatever the batch size.
            x = layers.GroupNormalization(8, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(name=f"stage{stage}_pooling")(x)
    return keras.Model(inputs, x, name="base_cnn")


def backbone_names() -> list[str]:
    """The names `--backbone` takes: ours, and every model of `keras.applications`."""
    return [DEFAULT_BACKBONE, "base_cnn", *sorted(_applications())]


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
    backbone : one of `backbone_names()`
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
    grow_memory()
    inputs = keras.Input((picture_size, picture_size, 3), name="input")
    features, scaling = _backbone(backbone, picture_size, weights)
    x = features(scaling(inputs))
    x = pooled(x, pooling)
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
    grow_memory()
    inputs = keras.Input((picture_size, picture_size, 3), name="input")
    classifier = efficientnet_lite0((picture_size, picture_size, 3), include_top=True)
    both = keras.Model(
        classifier.input,
        [classifier.get_layer("pooling").output, classifier.output],
        name=classifier.name,
    )
    features, softmax = both(_lite_scaling()(inputs))
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


def allow_any_size(model: keras.Model) -> None:
    """Let a built model be called on pictures of other sizes than it was built for.

    What it is made of must not depend on the size: convolutions and pooling do not.
    """
    for one in _models(model):
        one.input_spec = None


def freeze_batch_norm(model: keras.Model) -> None:
    """Keep the statistics of a pretrained backbone: small batches would only blur them."""
    for layer in all_layers(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


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
        for one in _models(model):
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


_IN_FLOAT32 = (
    PictureScaling,
    EuclideanDistance,
    GeneralisedMean,
    layers.Normalization,
    layers.Rescaling,
    layers.UnitNormalization,
)


def _models(model: keras.Model) -> Iterator[keras.Model]:
    """The model and those inside it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _models(layer)


def all_layers(model: keras.Model) -> Iterator[layers.Layer]:
    """The layers of a model and of the models in it, from the input on."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer


def _layers_of_a_precision(model: keras.Model) -> Iterator[layers.Layer]:
    for one in _models(model):
        for layer in one.layers:
            if layer.dtype_policy.name in get_args(Precision):
                yield layer


def _lite_scaling() -> PictureScaling:
    # (value - 127) / 128 for value = (x + 1) · 127.5
    return PictureScaling([127.5 / 128] * 3, [0.5 / 128] * 3, name="scaling")


def _applications() -> dict[str, Any]:
    return {
        name: build
        for name, build in vars(keras.applications).items()
        if inspect.isfunction(build) and name[0].isupper()
    }


def _backbone(
    name: str, picture_size: int, weights: str | None
) -> tuple[keras.Model, layers.Layer]:
    """The backbone without its classifier, and the layer that makes its input from [-1, 1]."""
    if name == "base_cnn":
        if picture_size < 16:
            raise InputError(f"--picture-size {picture_size}: base_cnn needs at least 16 pixels")
        if weights not in (None, "imagenet"):
            raise InputError(f"--weights {weights}: base_cnn has none; leave it out")
        return base_cnn(picture_size), PictureScaling([1.0] * 3, [0.0] * 3, name="scaling")
    if name not in backbone_names():
        raise InputError(f"--backbone {name}: unknown; one of {', '.join(backbone_names())}")
    if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
        raise InputError(f"{weights}: no such weights file for --backbone {name}")
    shape = (picture_size, picture_size, 3)
    try:
        if name == DEFAULT_BACKBONE:
            model = efficientnet_lite0(shape, weights="imagenet" if weights == "imagenet" else None)
            if weights not in (None, "imagenet"):
                model.load_weights(weights)
            return model, _lite_scaling()
        build = _applications()[name]
        model = build(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = {
            None: "give larger pictures with --picture-size",
            "imagenet": "where there is no network, pass a weights file with --weights",
        }.get(weights, "the file must hold this backbone's weights without its classifier")
        raise InputError(
            f"--backbone {name} at {picture_size} px cannot be built: {reason}; {remedy}"
        ) from error
    return model, _scaling_of(sys.modules[build.__module__])


def _scaling_of(application: ModuleType) -> PictureScaling:
    """Read off what an application's `preprocess_input` does: it is affine, BGR for some."""

    def preprocess(rgb: list[float]) -> np.ndarray:
        return np.asarray(application.preprocess_input(np.array([[[rgb]]], np.float32)))[0, 0, 0]

    black = preprocess([0, 0, 0])
    reverse = bool(preprocess([255, 0, 0])[2] != black[2])
    to_rgb = slice(None, None, -1) if reverse else slice(None)
    offset = black[to_rgb].astype(float)
    gain = (preprocess([255, 255, 255])[to_rgb] - offset) / 255
    # value = (x + 1) · 127.5, so gain · value + offset = 127.5 gain · x + (127.5 gain + offset)
    scale = 127.5 * gain
    return PictureScaling(scale.tolist(), (scale + offset).tolist(), reverse, name="scaling")


def inner_embedding_model(model: keras.Model, path: Path) -> keras.Model:
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
