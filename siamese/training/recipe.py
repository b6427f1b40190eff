"""Training settings and their defaults; importing them does not load Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from siamese.models.defaults import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE, Pooling

Layers = Literal["all", "head"]
Sampling = Literal["batch-pairs", "random-pairs"]
Batches = Literal["uniform", "label-balanced", "hard-items"]
LossName = Literal[
    "multi-similarity",
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
"""Allowed values, as a Literal type, of each `Recipe` field that is a choice."""

TRAINED_PICTURE_SIZE = 160
"""Default side length in pixels when training all layers; small for speed."""
LEARNING_RATE = 3e-4
"""Default peak learning rate for the default backbone and base_cnn; see docs/recipe.md."""
OTHER_LEARNING_RATE = 1e-4
"""Default peak learning rate for every other backbone."""
HEAD_SIZE = 256
"""Default embedding size when only a head is trained."""


@dataclass(frozen=True)
class Recipe:
    """Training settings, with defaults for a pretrained backbone and a few thousand pictures.

    Attributes
    ----------
    backbone, weights, embedding_size, pooling
        See `siamese.models.embedding_model.embedding_model`.
    picture_size : int, optional
        Side length in pixels. The default is `TRAINED_PICTURE_SIZE`, or `DEFAULT_PICTURE_SIZE` if
        only a head is trained.
    layers : {"all", "head"}
        Train all layers, or only a projection head on precomputed features, which takes seconds;
        see `siamese.training.linear_head`.
    sampling, batch_size, pictures_per_item, batches, memory
        See `siamese.training.pair_generator.PairGenerator`.
    loss : str, optional
        A key of `siamese.training.objective.LOSSES`, by default multi-similarity. Random pairs
        always use the contrastive loss.
    margin : float, optional
        Margin of the loss; by default, the loss's own default.
    epochs : int
        Number of epochs. Uniform and hard-items batches show every picture once per epoch;
        label-balanced batches show as many pictures, but some repeatedly.
    budget : float, optional
        Maximum training time in seconds, including opening pictures and measuring retrieval. The
        learning rate falls to zero at the end of the budget or the last epoch, whichever is first.
    patience : int, optional
        Stop after this many epochs without improvement.
    learning_rate : float, optional
        Peak learning rate. The default is `LEARNING_RATE` for the default backbone and base_cnn,
        and `OTHER_LEARNING_RATE` for others.
    augmented : bool
        Whether to show a new random view of a picture each time.
    flip : bool
        Whether to mirror half of the views; suits items whose mirror image is equivalent.
    held_out : float
        Fraction of the items to hold out, for measuring retrieval after each epoch.
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
        """`picture_size`, or if that is None, the default for `layers`."""
        if self.picture_size is not None:
            return self.picture_size
        return DEFAULT_PICTURE_SIZE if self.layers == "head" else TRAINED_PICTURE_SIZE

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate`, or if that is None, the default for `backbone`."""
        if self.learning_rate is not None:
            return self.learning_rate
        fast = self.backbone in (DEFAULT_BACKBONE, "base_cnn")
        return LEARNING_RATE if fast else OTHER_LEARNING_RATE

    def problems(self) -> list[str]:
        """Return an error message for each conflict between settings."""
        problems = []
        if self.sampling == "random-pairs" and self.loss is not None:
            problems.append(
                f"--loss {self.loss} with --sampling random-pairs: they use the contrastive loss; "
                "omit --loss"
            )
        if self.layers == "head" and (flags := self._flags_of_all_layers()):
            problems.append(
                f"--layers head with {', '.join(flags)}: only for training all layers; omit "
                f"{'it' if len(flags) == 1 else 'them'}"
            )
        return problems

    def _flags_of_all_layers(self) -> list[str]:
        """Return the non-default flags that have no effect when only a head is trained."""
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
