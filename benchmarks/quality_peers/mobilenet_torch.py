"""Keras' MobileNet 1.0 in torch, with the weights of Keras' file, for the peers that use torch."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, library, nn
from torch.utils.data import Dataset

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # The compiled part of PyPI's torchvision needs CUDA, so it does not load with a CPU-only torch.
    # The transforms work without it, but the import expects these two operators to be defined.
    for operator in ("nms", "qnms"):
        library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores) -> Tensor")
from torchvision.transforms import v2

BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
"""Output channels and stride of each depthwise separable block."""

# MobileNet's scaling to [-1, 1], which replaces the scaling of the peers' examples.
SCALING = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]


class MobileNet(nn.Sequential):
    """MobileNet from pictures, float32 (n, 3, s, s) in [-1, 1], to pooled features, (n, 1024).

    Two details follow TensorFlow: for a stride of 2, 'same' padding adds the odd pixel at the end,
    and batch norm has an epsilon of 1e-3. The side length s must be even.

    Parameters
    ----------
    weights : Path
        Keras' HDF5 file of the weights without the classifier.
    """

    size = 1024

    def __init__(self, weights: Path) -> None:
        layers: list[nn.Module] = [nn.ZeroPad2d((0, 1, 0, 1))]
        names: list[str] = []

        def add(name: str, convolution: nn.Conv2d) -> None:
            norm = nn.BatchNorm2d(convolution.out_channels, eps=1e-3)
            layers.extend([convolution, norm, nn.ReLU6(inplace=True)])
            names.append(name)

        channels = 32
        add("conv1", nn.Conv2d(3, channels, 3, stride=2, bias=False))
        for number, (wider, stride) in enumerate(BLOCKS, start=1):
            if stride == 2:
                layers.append(nn.ZeroPad2d((0, 1, 0, 1)))
            padding = 1 if stride == 1 else 0
            depthwise = nn.Conv2d(
                channels, channels, 3, stride, padding, groups=channels, bias=False
            )
            add(f"conv_dw_{number}", depthwise)
            add(f"conv_pw_{number}", nn.Conv2d(channels, wider, 1, bias=False))
            channels = wider
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
        with h5py.File(weights, "r") as file:
            for name, convolution, norm in zip(names, convolutions, norms, strict=True):
                _load_layer(file, name, convolution, norm)
        # A fifth faster on a CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures.contiguous(memory_format=torch.channels_last))


def _load_layer(file: h5py.File, name: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    (kernel,) = _read_arrays(file[name]).values()
    # Keras: (height, width, in, out), or (height, width, channel, 1) for a depthwise kernel.
    order = (2, 3, 0, 1) if convolution.groups > 1 else (3, 2, 0, 1)
    stored = _read_arrays(file[f"{name}_bn"])
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(kernel.transpose(order)))
        norm.weight.copy_(torch.from_numpy(stored["gamma"]))
        norm.bias.copy_(torch.from_numpy(stored["beta"]))
        norm.running_mean.copy_(torch.from_numpy(stored["moving_mean"]))
        norm.running_var.copy_(torch.from_numpy(stored["moving_variance"]))


def _read_arrays(group: h5py.Group) -> dict[str, np.ndarray]:
    """Read the arrays of a layer by their last name, without the ``:0`` of older files."""
    arrays: dict[str, np.ndarray] = {}

    def add(path: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset):
            arrays[path.rsplit("/", 1)[-1].split(":")[0]] = entry[()]

    group.visititems(add)
    return arrays


class Pictures(Dataset):
    """Pictures in memory and the items they show.

    Parameters
    ----------
    pictures : uint8 array of shape (n, s, s, 3)
        Pictures.
    items : int array of shape (n,)
        Item of each picture.
    transform : callable
        From a picture, uint8 (3, s, s), to the network's input, float32 (3, s, s) in [-1, 1].
    """

    def __init__(
        self, pictures: np.ndarray, items: np.ndarray, transform: Callable[[Tensor], Tensor]
    ) -> None:
        self.pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        self.items = items
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[row]), int(self.items[row])


def set_up(seed: int) -> None:
    """Use all cores, and seed all random generators."""
    torch.set_num_threads(os.cpu_count() or 1)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def make_embed(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from pictures, float32 (n, s, s, 3), to the output of a network."""

    def embed(pictures: np.ndarray) -> np.ndarray:
        network.eval()
        with torch.inference_mode():
            return network(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy()

    return embed
