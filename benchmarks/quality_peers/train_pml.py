"""Train with pytorch-metric-learning, as its example MetricLossOnly does.

Source: examples/notebooks/MetricLossOnly.ipynb in KevinMusgrave/pytorch-metric-learning. Its
settings: TripletMarginLoss(margin=0.1), MultiSimilarityMiner(epsilon=0.1),
MPerClassSampler(m=4), 32 pictures per batch, Adam with a weight decay of 1e-4 and learning rates of
1e-5 (trunk) and 1e-4 (embedder), a linear embedder of 64 dimensions, RandomResizedCrop with
scale (0.16, 1) and ratio (0.75, 1.33), RandomHorizontalFlip. It trains on 120,000 pictures.
"""

from __future__ import annotations

# The first import, because it starts the clock.
from peer import read_task  # isort: skip

from dataclasses import dataclass

import torch
from mobilenet_torch import SCALING, MobileNet, Pictures, make_embed, set_up
from pytorch_metric_learning import losses, miners, samplers, trainers
from torch import nn
from torchvision.transforms import v2

BATCH_SIZE = 32


@dataclass(frozen=True)
class Recipe:
    """Settings in which the recipes differ. Without `embedder_rate` there is no embedder."""

    trunk_rate: float
    embedder_rate: float | None


RECIPES = {
    "documented": Recipe(trunk_rate=1e-5, embedder_rate=1e-4),
    # The example's rates are for about ten times as many pictures.
    "faster": Recipe(trunk_rate=1e-4, embedder_rate=1e-3),
    # Without an embedder, the trainer uses the features of the trunk.
    "no-embedder": Recipe(trunk_rate=1e-4, embedder_rate=None),
}


def main() -> None:
    """Train and embed."""
    task = read_task()
    recipe = RECIPES[task.recipe]
    set_up(task.seed)
    trunk = MobileNet(task.weights)
    task.require_same_features(make_embed(trunk))

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
            *SCALING,
        ]
    )
    steps = task.count_steps(BATCH_SIZE)
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
    task.write_answer(make_embed(network), steps * BATCH_SIZE, ["pytorch-metric-learning", "torch"])


# Workers of the data loader import this file again on systems that do not fork.
if __name__ == "__main__":
    main()
