"""Keras' MobileNet 1.0 in torch, with the weights of Keras' own file, for the peers on torch."""

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
    # Torchvision's compiled part, as PyPI has it, is for CUDA and does not load beside a torch for
    # the CPU alone. Its transforms do without, but its import wants two operators to have a name.
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
"""Channels out and stride of each depthwise separable block."""

# [0, 1] → [-1, 1], MobileNet's own scaling, where a peer's example scales for another network.
to_scaled = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]


class MobileNet(nn.Sequential):
    """float32 (n, 3, s, s) in [-1, 1], s even → pooled features (n, 1024).

    TensorFlow's 'same' padding of a stride of 2 puts the odd pixel behind, and its batch norm has
    an epsilon of 1e-3; all else is as in any MobileNet.

    Parameters
    ----------
    weights : Keras' HDF5 file of the weights without the classifier
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
                _load(file, name, convolution, norm)
        # A fifth faster on a CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures.contiguous(memory_format=torch.channels_last))


def _load(file: h5py.File, name: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    (kernel,) = _arrays(file[name]).values()
    # Keras: (height, width, in, out), or of a depthwise one (height, width, channel, 1).
    order = (2, 3, 0, 1) if convolution.groups > 1 else (3, 2, 0, 1)
    stored = _arrays(file[f"{name}_bn"])
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(kernel.transpose(order)))
        norm.weight.copy_(torch.from_numpy(stored["gamma"]))
        norm.bias.copy_(torch.from_numpy(stored["beta"]))
        norm.running_mean.copy_(torch.from_numpy(stored["moving_mean"]))
        norm.running_var.copy_(torch.from_numpy(stored["moving_variance"]))


def _arrays(group: h5py.Group) -> dict[str, np.ndarray]:
    """The arrays of a layer by their last name, without the ``:0`` of older files."""
    found: dict[str, np.ndarray] = {}

    def keep(path: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset):
            found[path.rsplit("/", 1)[-1].split(":")[0]] = entry[()]

    group.visititems(keep)
    return found


class Pictures(Dataset):
    """Pictures in memory and the items they show.

    Parameters
    ----------
    pictures : uint8 (n, s, s, 3)
    items : int (n,)
    transform : uint8 (3, s, s) → float32 (3, s, s) in [-1, 1]
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
    """Use all cores, and draw as the seed decides."""
    torch.set_num_threads(os.cpu_count() or 1)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def embedder(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures, float32 (n, s, s, 3), to what the network makes of them."""

    def embed(pictures: np.ndarray) -> np.ndarray:
        network.eval()
        with torch.inference_mode():
            return network(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy()

    return embed
