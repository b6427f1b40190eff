"""How to train: every choice and its default, without loading what trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults suit a pretrained backbone and a few thousand pictures.

    Attributes
    ----------
    backbone, weights, picture_size, embedding_size : see `siamese.networks.embedding_model`
    sampling, batch_size, pictures_per_item : see `siamese.pairs.PairGenerator`; the loss is
        multi-similarity for batch-pairs, contrastive for random-pairs
    margin : of the contrastive loss
    epochs : each shows every picture once
    learning_rate : the highest; reached after `warm_up` of all steps, then a cosine down to zero
    augmented : show each picture in a new random view each time
    held_out : share of the items kept from training to measure retrieval on, each epoch
    seed : decides the held-out items, the first weights, every draw and every random view
    """

    backbone: str = "EfficientNetLite0"
    weights: str | None = "imagenet"
    picture_size: int = 160
    embedding_size: int | None = None
    sampling: Sampling = "batch-pairs"
    batch_size: int = 128
    pictures_per_item: int = 4
    margin: float = 1.0
    epochs: int = 6
    learning_rate: float = 3e-4
    warm_up: float = 0.1
    augmented: bool = True
    held_out: float = 0.1
    seed: int = 0
