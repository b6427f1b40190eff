"""Build backbones: EfficientNet-Lite0, a small CNN, or any of keras.applications."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from siamese.errors import InputError
from siamese.models.defaults import DEFAULT_BACKBONE
from siamese.models.efficientnet_lite import efficientnet_lite0
from siamese.utils.artefacts import MODELS, require_artefact


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


def list_backbones() -> list[str]:
    """The names `--backbone` takes: ours, and every model of `keras.applications`."""
    return [DEFAULT_BACKBONE, "base_cnn", *sorted(_applications())]


def lite_scaling() -> PictureScaling:
    """Return the scaling that EfficientNet-Lite expects, (value - 127) / 128."""
    # (value - 127) / 128 for value = (x + 1) · 127.5
    return PictureScaling([127.5 / 128] * 3, [0.5 / 128] * 3, name="scaling")


def _applications() -> dict[str, Any]:
    return {
        name: build
        for name, build in vars(keras.applications).items()
        if inspect.isfunction(build) and name[0].isupper()
    }


def build_backbone(
    name: str, picture_size: int, weights: str | None
) -> tuple[keras.Model, layers.Layer]:
    """The backbone without its classifier, and the layer that makes its input from [-1, 1]."""
    if name == "base_cnn":
        if picture_size < 16:
            raise InputError(f"--picture-size {picture_size}: base_cnn needs at least 16 pixels")
        if weights not in (None, "imagenet"):
            raise InputError(f"--weights {weights}: base_cnn has none; leave it out")
        return base_cnn(picture_size), PictureScaling([1.0] * 3, [0.0] * 3, name="scaling")
    if name not in list_backbones():
        raise InputError(f"--backbone {name}: unknown; one of {', '.join(list_backbones())}")
    if weights not in (None, "imagenet"):
        require_artefact(str(weights), "a weights file", *MODELS)
        if not Path(str(weights)).is_file():
            raise InputError(f"{weights}: no such weights file for --backbone {name}")
    shape = (picture_size, picture_size, 3)
    try:
        if name == DEFAULT_BACKBONE:
            model = efficientnet_lite0(shape, weights="imagenet" if weights == "imagenet" else None)
            if weights not in (None, "imagenet"):
                model.load_weights(weights)
            return model, lite_scaling()
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
