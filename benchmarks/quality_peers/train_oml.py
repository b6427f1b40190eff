"""Train with open-metric-learning, as its README and its pipeline for SOP do.

Sources, of OML-Team/open-metric-learning: the example "Train + Validation" of README.md
(docs/readme/examples_source/extractor/train_val_img_txt.md) and
pipelines/features_extraction/extractor_sop/train_sop.yaml, products with a few pictures each.
"""

from __future__ import annotations

# First of all: its clock starts before the imports below.
from peer import read_task  # isort: skip

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np
import torch
from mobilenet_torch import MobileNet, Pictures, embedder, set_up, to_scaled
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


def as_they_are(size: int) -> Callable[[Tensor], Tensor]:
    """The README's transform: resized, which they are, and scaled."""
    return v2.Compose(to_scaled)


def augs_hypvit(size: int) -> Callable[[Tensor], Tensor]:
    """The pipeline's `augs_hypvit_torch`."""
    crop = v2.RandomResizedCrop(size, scale=(0.2, 1), interpolation=InterpolationMode.BICUBIC)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), *to_scaled])


@dataclass(frozen=True)
class Recipe:
    """What differs between the two."""

    items_a_batch: int
    pictures_an_item: int
    margin: float
    miner: Callable[[], ITripletsMiner]
    normalise_features: bool
    transform: Callable[[int], Callable[[Tensor], Tensor]]


RECIPES = {
    "documented": Recipe(2, 2, 0.1, AllTripletsMiner, False, as_they_are),
    # The pipeline draws from 3 categories, 32 items × 6 pictures of each, at a learning rate of
    # 1e-5 for as long as it takes. Here: 32 items × 4, for more steps, at the README's rate.
    "sop": Recipe(32, 4, 0.15, HardTripletsMiner, True, augs_hypvit),
}
LEARNING_RATE = 1e-4
"""The README's, of Adam."""


def main() -> None:
    """Train and embed."""
    task = read_task()
    recipe = RECIPES[task.recipe]
    set_up(task.seed)
    trunk = MobileNet(task.weights)
    task.require_same_features(embedder(trunk))
    model = Extractor(trunk, recipe.normalise_features).train()

    # The sampler refuses items of one picture.
    counts = np.bincount(task.items)
    paired = counts[task.items] > 1
    transform = recipe.transform(task.pictures.shape[1])
    train = Pictures(task.pictures[paired], task.items[paired], transform)
    sampler = BalanceSampler(train.items, recipe.items_a_batch, recipe.pictures_an_item)
    loader = DataLoader(train, batch_sampler=sampler)
    criterion = TripletLossWithMiner(recipe.margin, recipe.miner(), need_logs=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    batch_size = recipe.items_a_batch * recipe.pictures_an_item
    steps = task.steps(batch_size)
    for pictures, items in islice(chain.from_iterable(repeat(loader)), steps):
        loss = criterion(model(pictures), items)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    task.answer(embedder(model), steps * batch_size, ["open-metric-learning", "torch"])


if __name__ == "__main__":
    main()
