"""Choose how to train: every setting and its default, without loading Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from siamese.models.defaults import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE, Pooling

Layers = Literal["all", "head"]
Sampling = Literal["batch-pairs", "random-pairs"]
Batches = Literal["uniform", "label-balanced", "hard-items"]
LossName = Literal[
    "multi-similarity",
    "contrastive",
    "triplet",
    "triplet-hard",
]

CHOICES: dict[str, Any] = {
    "layers": Layers,
    "sampling": Sampling,
    "batches": Batches,
    "loss": LossName,
    "pooling": Pooling,
}
"""The values of each field of `Recipe` that is a choice."""

TRAINED_PICTURE_SIZE = 160
"""Side length in pixels for training all layers; smaller than the backbone's own, for speed."""
LEARNING_RATE = 3e-4
"""Peak learning rate of the default backbone and of base_cnn; see docs/recipe.md."""
OTHER_LEARNING_RATE = 1e-4
"""Peak learning rate of every other pretrained backbone."""
HEAD_SIZE = 256
"""Default number of dimensions of a head that is trained alone."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a training; the defaults suit a pretrained backbone and a few thousand pictures.

    Attributes
    ----------
    backbone, weights, embedding_size, pooling
        See `siamese.models.embedding_model.embedding_model`.
    picture_size : int, optional
        Side length in pixels. By default `TRAINED_PICTURE_SIZE`, or `DEFAULT_PICTURE_SIZE` if
        only a head is trained.
    layers : {"all", "head"}
        Which layers to train: all, or a projection alone on features that are computed once, which
        takes seconds; see `siamese.training.linear_head`.
    sampling, batch_size, pictures_per_item, batches, memory
        See `siamese.training.pair_generator.PairGenerator`.
    loss : str, optional
        A key of `siamese.training.objective.LOSSES`. By default multi-similarity; with
        random-pairs always the contrastive loss of pairs.
    margin : float, optional
        Margin of the loss. By default the loss's own.
    epochs : int
        Number of epochs. Each shows every picture once, or as many pictures if batches are
        label-balanced.
    budget : float, optional
        Seconds that the training may take, including opening and measuring. The learning rate
        reaches zero at the end of the budget or of the epochs, whichever comes first.
    patience : int, optional
        Stop after this many epochs without improvement.
    learning_rate : float, optional
        Peak learning rate. By default `LEARNING_RATE`, or `OTHER_LEARNING_RATE` for another
        pretrained backbone.
    augmented : bool
        Show each picture in a new random view each time.
    flip : bool
        Mirror half of the views, if left and right do not matter.
    held_out : float
        Share of the items to hold out from training and measure retrieval on after each epoch.
    seed : int
        Determines the held-out items, the initial weights, the batches and the random views.

    Examples
    --------
    >>> Recipe(epochs=3).effective_picture_size
    160
    >>> Recipe(backbone="MobileNet").peak_learning_rate
    0.0001
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
    loss: LossName | None = None
    margin: float | None = None
    epochs: int = 6
    budget: float | None = None
    patience: int | None = None
    learning_rate: float | None = None
    augmented: bool = True
    flip: bool = False
    held_out: float = 0.1
    seed: int = 0

    @property
    def effective_picture_size(self) -> int:
        """The picture size, or its default for the layers that are trained."""
        if self.picture_size is not None:
            return self.picture_size
        return DEFAULT_PICTURE_SIZE if self.layers == "head" else TRAINED_PICTURE_SIZE

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, or its default for the backbone."""
        if self.learning_rate is not None:
            return self.learning_rate
        fast = self.backbone in (DEFAULT_BACKBONE, "base_cnn")
        return LEARNING_RATE if fast else OTHER_LEARNING_RATE

    def problems(self) -> list[str]:
        """Return the settings that do not fit together, one line each."""
        problems = []
        if self.sampling == "random-pairs" and self.loss not in (None, "contrastive"):
            problems.append(f"--loss {self.loss} needs batch-pairs; random-pairs take contrastive")
        if self.layers == "head" and (flags := self._flags_of_all_layers()):
            problems.append(
                f"--layers head with {', '.join(flags)}: only for training all layers; omit "
                f"{'it' if len(flags) == 1 else 'them'}"
            )
        return problems

    def _flags_of_all_layers(self) -> list[str]:
        """Return the flags that differ from their default and have no effect on a head."""
        names = [
            *("sampling", "batch_size", "pictures_per_item", "batches", "memory", "loss"),
            *("margin", "epochs", "budget", "patience", "learning_rate", "flip"),
        ]
        flags = []
        for name in names:
            value, default = getattr(self, name), getattr(Recipe, name)
            if name == "loss":
                default = default or "multi-similarity"
                value = value or default
            if value != default:
                flag = f"--{name.replace('_', '-')}"
                flags.append(f"{flag} {value}" if name in CHOICES else flag)
        return flags
