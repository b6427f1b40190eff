"""How to train: every choice and its default, without loading what trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from siamese.models.defaults import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE, Pooling

Sampling = Literal["batch-pairs", "random-pairs"]
Batches = Literal["uniform", "label-balanced", "hard-items"]
LossName = Literal[
    "multi-similarity",
    "contrastive",
    "triplet",
    "triplet-hard",
    "supervised-contrastive",
    "circle",
    "proxy-anchor",
    "cosface",
]
Layers = Literal["all", "head", "head-then-all"]

TRAINED_PICTURE_SIZE = 160
"""Pixels per side of the pictures all layers are trained on: training sees each one many times."""
LEARNING_RATE, OTHERS_LEARNING_RATE = 3e-4, 1e-4
"""Of the default backbone and of base_cnn, which starts from nothing; and of other pretrained ones,
which it would spoil. See docs/recipe.md."""
HEAD_SIZE = 256
"""Dimensions of a head that is trained alone, where none are given."""


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults suit a pretrained backbone and a few thousand pictures.

    Attributes
    ----------
    backbone, weights, embedding_size, pooling : see `siamese.models.embedding_model.embedding_model`
    picture_size : pixels of a side; None is `TRAINED_PICTURE_SIZE`, or `DEFAULT_PICTURE_SIZE` for a
        head alone
    layers : which are trained. "all"; "head": a projection alone, on features that are computed
        once (see `siamese.training.linear_head`), which takes seconds; "head-then-all": the head is the first epoch
    sampling, batch_size, pictures_per_item, batches, memory, hard_negatives : see
        `siamese.training.pair_generator.PairGenerator`
    loss : one of `siamese.training.objective.LOSSES` over the pairs of a batch, by default multi-similarity;
        random-pairs have the contrastive loss of pairs
    margin : of the loss; None is the loss's own
    epochs : each shows every picture once, or as many where batches are label-balanced
    budget : seconds for all of it, opening and measuring too. The learning rate comes down in this
        time, or in `epochs`, whichever ends first
    patience : epochs without a better one after which training ends; None goes on to the end
    learning_rate : the highest; reached after `warm_up` of the way, then a cosine down to zero.
        None is `LEARNING_RATE`, or `OTHERS_LEARNING_RATE` for another pretrained backbone
    first_layer_rate : rate of the backbone's first layer, in parts of its last one's
    projection_rate : rate of a projection, in parts of `learning_rate`
    weight_average : momentum of an average of the weights, which is then what is measured and
        kept; 0 keeps the weights themselves
    augmented : show each picture in a new random view each time
    flip : mirror half of the views, where left and right do not matter
    erasing : share of the views in which a rectangle is covered
    first_picture_size : pixels of a side to begin with; they grow to `picture_size` over the first
        two thirds of the epochs
    held_out : share of the items kept from training to measure retrieval on, each epoch
    seed : decides the held-out items, the first weights, every draw and every random view
    """

    backbone: str = DEFAULT_BACKBONE
    weights: str | None = "imagenet"
    picture_size: int | None = None
    pooling: Pooling = "average"
    embedding_size: int | None = None
    layers: Layers = "all"
    sampling: Sampling = "batch-pairs"
    batch_size: int = 128
    pictures_per_item: int = 4
    batches: Batches = "uniform"
    memory: int = 0
    hard_negatives: bool = False
    loss: LossName | None = None
    margin: float | None = None
    epochs: int = 6
    budget: float | None = None
    patience: int | None = None
    learning_rate: float | None = None
    warm_up: float = 0.1
    first_layer_rate: float = 1.0
    projection_rate: float = 1.0
    weight_average: float = 0.0
    augmented: bool = True
    flip: bool = False
    erasing: float = 0.0
    first_picture_size: int | None = None
    held_out: float = 0.1
    seed: int = 0

    @property
    def picture_side(self) -> int:
        """Pixels of a side, given or by the layers that are trained."""
        if self.picture_size is not None:
            return self.picture_size
        return DEFAULT_PICTURE_SIZE if self.layers == "head" else TRAINED_PICTURE_SIZE

    @property
    def highest_rate(self) -> float:
        """The learning rate, given or by the backbone."""
        if self.learning_rate is not None:
            return self.learning_rate
        usual = self.backbone in (DEFAULT_BACKBONE, "base_cnn")
        return LEARNING_RATE if usual else OTHERS_LEARNING_RATE

    def picture_size_of(self, epoch: int) -> int:
        """Pixels of a side in an epoch (from 0): in steps of 32, the networks' stride."""
        first = self.first_picture_size
        if first is None or first >= self.picture_side or epoch >= self.epochs - 1:
            return self.picture_side
        share = min(1.0, epoch / max(1, round(self.epochs * 2 / 3)))
        grown = first + share * (self.picture_side - first)
        stepped = max(32, round(grown / 32) * 32)
        return self.picture_side if share == 1 else min(stepped, self.picture_side)

    def problems(self) -> list[str]:
        """What does not go together, a line each."""
        problems = []
        if self.sampling == "random-pairs" and self.loss not in (None, "contrastive"):
            problems.append(f"--loss {self.loss} needs batch-pairs; random-pairs take contrastive")
        if self.memory and self.loss in ("proxy-anchor", "cosface"):
            problems.append(
                f"--memory with --loss {self.loss}: it compares with items; leave it out"
            )
        if self.layers == "head":
            for flag, value in (
                ("--sampling random-pairs", self.sampling == "random-pairs"),
                ("--first-picture-size", self.first_picture_size is not None),
                (f"--loss {self.loss}", self.loss not in (None, "multi-similarity")),
                ("--memory", self.memory),
                (f"--batches {self.batches}", self.batches != "uniform"),
            ):
                if value:
                    problems.append(f"--layers head with {flag}: it is for training all layers")
        elif self.layers == "head-then-all" and self.epochs < 2:
            problems.append(
                "--layers head-then-all needs --epochs 2 or more: the head is the first"
            )
        return problems
