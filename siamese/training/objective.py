"""Loss of a recipe, and the model on which Keras minimises it.

::

    pictures ──────── view ── embedding model ── memory ──▶ loss over relations
    pair of pictures ── view ── siamese network ──────────▶ contrastive loss of pairs

Checkpoints do not include the view and the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras

from siamese.errors import InputError
from siamese.losses import (
    ContrastiveLoss,
    MultiSimilarityLoss,
    TripletLoss,
)
from siamese.training.augmentation import RandomView
from siamese.training.cross_batch_memory import CrossBatchMemory
from siamese.training.recipe import LossName, Recipe

LOSSES: dict[LossName, Callable[[], keras.losses.Loss]] = {
    "multi-similarity": MultiSimilarityLoss,
    "triplet": TripletLoss,
    "triplet-hard": partial(TripletLoss, mining="hard"),
}
"""Factory of each `--loss` for batch-pairs, with default settings."""


def make_loss(recipe: Recipe) -> keras.losses.Loss:
    """Create the loss that a recipe specifies.

    Raises
    ------
    InputError
        If the recipe sets a margin, but the loss has none.
    """
    name = recipe.loss or "multi-similarity"
    loss = ContrastiveLoss() if recipe.sampling == "random-pairs" else LOSSES[name]()
    if recipe.margin is None:
        return loss
    config = loss.get_config()
    if "margin" not in config:
        raise InputError(f"--margin with --loss {name}: this loss has no margin; omit --margin")
    return type(loss).from_config({**config, "margin": recipe.margin})


def build_fitted_model(
    model: keras.Model,
    *,
    view: RandomView | None = None,
    memory: int = 0,
) -> keras.Model:
    """Build the model to fit, by adding a random view and a memory to another model.

    Parameters
    ----------
    model : keras.Model
        Embedding model or siamese network.
    view : RandomView, optional
        Augmentation to apply to each input.
    memory : int, default 0
        Size of a `CrossBatchMemory` to apply to the output; 0 adds none.

    Returns
    -------
    keras.Model
        Model that shares the layers of `model`, or `model` itself if nothing is added.
    """
    if view is None and not memory:
        return model
    inputs = keras.tree.map_structure(lambda tensor: keras.Input(tensor.shape[1:]), model.input)
    views = inputs if view is None else keras.tree.map_structure(view, inputs)
    outputs = model(views)
    if memory:
        outputs = CrossBatchMemory(memory, name="memory")(outputs)
    return keras.Model(inputs, outputs)
