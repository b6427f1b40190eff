"""Backbones: EfficientNet-Lite0, a small CNN, and the models of `keras.applications`."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from siamese.errors import InputError
from siamese.models.defaults import DEFAULT_BACKBONE
from siamese.models.efficientnet_lite import efficientnet_lite0
from siamese.utils.artefacts import MODELS, require_artefact


def list_backbones() -> list[str]:
    """Return the names of the backbones that `build_backbone` can build."""
    return [DEFAULT_BACKBONE, "base_cnn", *sorted(set(find_builders()) - {DEFAULT_BACKBONE})]


def find_builders() -> dict[str, Callable[..., keras.Model]]:
    """Return the functions that build pretrained backbones, keyed by backbone name."""
    return {DEFAULT_BACKBONE: efficientnet_lite0} | {
        name: build
        for name, build in vars(keras.applications).items()
        if inspect.isfunction(build) and name[0].isupper()
    }


def build_backbone(
    name: str, picture_size: int, weights: str | None
) -> tuple[keras.Model, PictureScaling]:
    """Build a backbone (without its classifier) and the scaling layer that goes before it.

    The layer scales RGB in [-1, 1] to the backbone's input range. The backbone maps scaled pictures
    (n, s, s, 3) to feature maps (n, h, w, c).
    """
    weights_file = None if weights in (None, "imagenet") else weights
    if name == "base_cnn":
        if picture_size < 16:
            raise InputError(f"--picture-size {picture_size}: base_cnn needs at least 16 pixels")
        if weights_file is not None:
            raise InputError(
                f"--weights {weights}: base_cnn has no pretrained weights; omit the option"
            )
        return base_cnn(picture_size), PictureScaling([1.0] * 3, [0.0] * 3, name="scaling")
    if name not in list_backbones():
        raise InputError(f"--backbone {name}: unknown; {_suggest_backbone(name)}")
    if weights_file is not None:
        require_artefact(weights_file, "a weights file", *MODELS)
        if not Path(weights_file).is_file():
            raise InputError(f"{weights}: no such weights file for --backbone {name}")
    build = find_builders()[name]
    try:
        shape = (picture_size, picture_size, 3)
        model = build(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = {
            None: "give larger pictures with --picture-size",
            "imagenet": "without a network connection, give a weights file with --weights",
        }.get(weights, "the file must hold this backbone's weights without its classifier")
        raise InputError(
            f"--backbone {name} at {picture_size} px cannot be built: {reason}; {remedy}"
        ) from error
    return model, derive_scaling(build)


def _suggest_backbone(name: str) -> str:
    by_lower_case = {known.lower(): known for known in list_backbones()}
    if close := difflib.get_close_matches(name.lower(), by_lower_case, n=1):
        return f"did you mean {by_lower_case[close[0]]}?"
    return f"give {DEFAULT_BACKBONE}, base_cnn or a model of keras.applications (MobileNetV2, ...)"


def base_cnn(picture_size: int) -> keras.Model:
    """Build a small convolutional network to train from scratch on small pictures.

    Parameters
    ----------
    picture_size : int
        Side length s of the input in pixels, at least 16.

    Returns
    -------
    keras.Model
        Model that maps float32 pictures (n, s, s, 3) to features (n, s // 16, s // 16, 256).
    """
    inputs = keras.Input((picture_size, picture_size, 3), name="scaled_pictures")
    x = inputs
    for stage, filters in enumerate((32, 64, 128, 256)):
        for step in range(2):
            name = f"stage{stage}_{step}"
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            # Unlike batch normalisation, this computes the same in training and in inference.
            x = layers.GroupNormalization(8, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(name=f"stage{stage}_pooling")(x)
    return keras.Model(inputs, x, name="base_cnn")


@keras.saving.register_keras_serializable("siamese")
class PictureScaling(layers.Layer):
    """Layer that scales RGB in [-1, 1] for a backbone: y = x · scale + offset in each channel.

    `scale` and `offset` are in RGB order. If `reverse_channels` is true, the output is BGR.
    """

    def __init__(
        self,
        scale: list[float],
        offset: list[float],
        reverse_channels: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = list(scale), list(offset)
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


def derive_scaling(build: Callable[..., keras.Model]) -> PictureScaling:
    """Derive a backbone's scaling from `preprocess_input` in the module that defines `build`.

    `preprocess_input` is affine in every channel, and converts RGB to BGR in some modules.
    """
    module = sys.modules[build.__module__]

    def preprocess(*rgb: int) -> np.ndarray:
        return np.asarray(module.preprocess_input(np.array([[[rgb]]], np.float32)))[0, 0, 0]

    black = preprocess(0, 0, 0)
    reverse = bool(preprocess(255, 0, 0)[2] != black[2])
    to_rgb = slice(None, None, -1) if reverse else slice(None)
    offset = black[to_rgb].astype(float)
    gain = (preprocess(255, 255, 255)[to_rgb] - offset) / 255
    # With value = 127.5 (x + 1), gain · value + offset = 127.5 gain · x + (127.5 gain + offset).
    scale = 127.5 * gain
    return PictureScaling(scale.tolist(), (scale + offset).tolist(), reverse, name="scaling")
