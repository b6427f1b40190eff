"""Embed pictures as PyTorch users do, with the workers of a DataLoader and a model of timm.

    torch_loader.py tf_efficientnet_lite0 224 32 2 < names

It prints the pictures per second. Starting the workers is timed, loading the model is not. The
weights are random, which does not change the speed.
"""

from __future__ import annotations

import os
import sys
import time

import torch
from torch import library

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # The compiled part of PyPI's torchvision needs CUDA, so it does not load with a CPU-only torch.
    # The transforms work without it, but the import expects these two operators to be defined.
    for operator in ("nms", "qnms"):
        library.define(f"torchvision::{operator}", "(Tensor boxes, Tensor scores) -> Tensor")
import timm
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Pictures(Dataset):
    """Pictures of files, padded with white to a square and resized."""

    def __init__(self, names: list[str], size: int) -> None:
        self.names = names
        self.transform = v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize((size, size), antialias=True),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> torch.Tensor:
        picture = Image.open(self.names[row]).convert("RGB")
        side = max(picture.size)
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return self.transform(square)


def main() -> None:
    """Print the best of several repeats."""
    name, size, batch, repeats = sys.argv[1], *map(int, sys.argv[2:5])
    names = sys.stdin.read().splitlines()
    torch.set_num_threads(os.cpu_count() or 1)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    model = model.to(memory_format=torch.channels_last)
    loader = DataLoader(Pictures(names, size), batch_size=batch, num_workers=os.cpu_count() or 1)
    best = 0.0
    with torch.inference_mode():
        model(torch.zeros(batch, 3, size, size).contiguous(memory_format=torch.channels_last))
        for _ in range(repeats):
            start = time.perf_counter()
            vectors = [
                torch.nn.functional.normalize(
                    model(pictures.contiguous(memory_format=torch.channels_last))
                )
                for pictures in loader
            ]
            if sum(map(len, vectors)) != len(names):
                raise RuntimeError(f"{sum(map(len, vectors))} vectors for {len(names)} pictures")
            best = max(best, len(names) / (time.perf_counter() - start))
    print(best)


if __name__ == "__main__":
    main()
