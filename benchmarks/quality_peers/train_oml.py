"""Train with open-metric-learning, as its README and its pipeline for SOP do.

Sources, in OML-Team/open-metric-learning: the example "Train + Validation" of README.md
(docs/readme/examples_source/extractor/train_val_img_txt.md) and
pipelines/features_extraction/extractor_sop/train_sop.yaml, products with a few pictures each.
"""

from __future__ import annotations

# The first import, because it starts the clock.
from peer import read_task  # isort: skip

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np
import torch
from mobilenet_torch import SCALING, MobileNet, Pictures, make_embed, set_up
from oml.interfaces.miners import ITripletsMiner
from oml.losses import TripletLossWithMiner
from oml.miners import AllTripletsMiner, HardTripletsMiner
from oml.samplers import BalanceSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode, v2


class Extractor(nn.Module):
    """MobileNet with the `normalise_features` of OML's extractors."""

    def __init__(self, trunk: MobileNet, normalise_features: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.normalise_features = normalise_features

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.trunk(pictures)
        return nn.functional.normalize(features) if self.normalise_features else features


def no_augmentation(size: int) -> Callable[[Tensor], Tensor]:
    """Return the README's transform without its resizing: the pictures have the right size."""
    return v2.Compose(SCALING)


def augs_hypvit(size: int) -> Callable[[Tensor], Tensor]:
    """Return the pipeline's `augs_hypvit_torch`."""
    crop = v2.RandomResizedCrop(size, scale=(0.2, 1), interpolation=InterpolationMode.BICUBIC)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), *SCALING])


@dataclass(frozen=True)
class Recipe:
    """Settings in which the recipes differ."""

    items_per_batch: int
    pictures_per_item: int
    margin: float
    miner: Callable[[], ITripletsMiner]
    normalise_features: bool
    transform: Callable[[int], Callable[[Tensor], Tensor]]


RECIPES = {
    "documented": Recipe(2, 2, 0.1, AllTripletsMiner, False, no_augmentation),
    # The pipeline's batches have 3 categories × 32 items × 6 pictures, and its learning rate of
    # 1e-5 is for very long trainings. 32 items × 4 allow more steps, at the README's rate.
    "sop": Recipe(32, 4, 0.15, HardTripletsMiner, True, augs_hypvit),
}
LEARNING_RATE = 1e-4
"""Of Adam, from the README."""


def main() -> None:
    """Train and embed."""
    task = read_task()
    recipe = RECIPES[task.recipe]
    set_up(task.seed)
    trunk = MobileNet(task.weights)
    task.require_same_features(make_embed(trunk))
    model = Extractor(trunk, recipe.normalise_features).train()

    # The sampler rejects items with one picture.
    counts = np.bincount(task.items)
    paired = counts[task.items] > 1
    transform = recipe.transform(task.pictures.shape[1])
    train = Pictures(task.pictures[paired], task.items[paired], transform)
    sampler = BalanceSampler(train.items, recipe.items_per_batch, recipe.pictures_per_item)
    loader = DataLoader(train, batch_sampler=sampler)
    criterion = TripletLossWithMiner(recipe.margin, recipe.miner(), need_logs=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    batch_size = recipe.items_per_batch * recipe.pictures_per_item
    steps = task.count_steps(batch_size)
    for pictures, items in islice(chain.from_iterable(repeat(loader)), steps):
        loss = criterion(model(pictures), items)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    task.write_answer(make_embed(model), steps * batch_size, ["open-metric-learning", "torch"])


if __name__ == "__main__":
    main()
