"""Train with pytorch-metric-learning, as its example MetricLossOnly does.

Source: examples/notebooks/MetricLossOnly.ipynb of KevinMusgrave/pytorch-metric-learning. Taken
over from there: TripletMarginLoss(margin=0.1), MultiSimilarityMiner(epsilon=0.1),
MPerClassSampler(m=4), 32 pictures a batch, Adam with a weight decay of 1e-4 and learning rates of
1e-5 (trunk) and 1e-4 (embedder), a linear embedder of 64 dimensions, RandomResizedCrop with
scale (0.16, 1) and ratio (0.75, 1.33), RandomHorizontalFlip. The example shows 120,000 pictures.
"""

from __future__ import annotations

# First of all: its clock starts before the imports below.
from peer import read_task  # isort: skip

from dataclasses import dataclass

import torch
from mobilenet_torch import MobileNet, Pictures, embedder, set_up, to_scaled
from pytorch_metric_learning import losses, miners, samplers, trainers
from torch import nn
from torchvision.transforms import v2

BATCH_SIZE = 32


@dataclass(frozen=True)
class Recipe:
    """What differs between the recipes: the learning rates, and whether there is an embedder."""

    trunk_rate: float
    embedder_rate: float | None


RECIPES = {
    "documented": Recipe(trunk_rate=1e-5, embedder_rate=1e-4),
    # The example's rates are meant for ten times as many pictures.
    "faster": Recipe(trunk_rate=1e-4, embedder_rate=1e-3),
    # The trainer takes the trunk's features as they are where no embedder is given.
    "no-embedder": Recipe(trunk_rate=1e-4, embedder_rate=None),
}


def main() -> None:
    """Train and embed."""
    task = read_task()
    recipe = RECIPES[task.recipe]
    set_up(task.seed)
    trunk = MobileNet(task.weights)
    task.require_same_features(embedder(trunk))

    def adam(model: nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=1e-4)

    models: dict[str, nn.Module] = {"trunk": trunk}
    optimizers = {"trunk_optimizer": adam(trunk, recipe.trunk_rate)}
    if recipe.embedder_rate is not None:
        models["embedder"] = nn.Linear(trunk.size, 64)
        optimizers["embedder_optimizer"] = adam(models["embedder"], recipe.embedder_rate)
    size = task.pictures.shape[1]
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.16, 1), ratio=(0.75, 1.33)),
            v2.RandomHorizontalFlip(0.5),
            *to_scaled,
        ]
    )
    steps = task.steps(BATCH_SIZE)
    trainer = trainers.MetricLossOnly(
        models,
        optimizers,
        BATCH_SIZE,
        {"metric_loss": losses.TripletMarginLoss(margin=0.1)},
        Pictures(task.pictures, task.items, transform),
        mining_funcs={"tuple_miner": miners.MultiSimilarityMiner(epsilon=0.1)},
        sampler=samplers.MPerClassSampler(
            task.items, m=4, length_before_new_iter=len(task.pictures)
        ),
        iterations_per_epoch=steps,
    )
    trainer.train(num_epochs=1)
    network = nn.Sequential(trunk, trainer.models["embedder"])
    task.answer(embedder(network), steps * BATCH_SIZE, ["pytorch-metric-learning", "torch"])


# The loader's workers import this file again where processes are not forked.
if __name__ == "__main__":
    main()
