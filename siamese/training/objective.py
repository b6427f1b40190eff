"""Build the loss and the model that is fitted.

::

    pictures ──────── view ── embedding model ── memory ──▶ loss over relations
    pair of pictures ── view ── siamese network ──────────▶ contrastive loss of pairs

The view and the memory are not part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras

from siamese.errors import InputError
from siamese.losses import (
    BatchContrastiveLoss,
    ContrastiveLoss,
    MultiSimilarityLoss,
    TripletLoss,
)
from siamese.training.augmentation import RandomView
from siamese.training.cross_batch_memory import CrossBatchMemory
from siamese.training.recipe import LossName, Recipe

LOSSES: dict[LossName, Callable[[], keras.losses.Loss]] = {
    "multi-similarity": MultiSimilarityLoss,
    "contrastive": BatchContrastiveLoss,
    "triplet": TripletLoss,
    "triplet-hard": partial(TripletLoss, mining="hard"),
}
"""The losses over relations that `--loss` names, with their default settings."""


def make_loss(recipe: Recipe) -> keras.losses.Loss:
    """Return the loss of a recipe, with its margin.

    Raises
    ------
    InputError
        If the recipe gives a margin and the loss has none.
    """
    if recipe.sampling == "random-pairs":
        return ContrastiveLoss() if recipe.margin is None else ContrastiveLoss(recipe.margin)
    name = recipe.loss or "multi-similarity"
    loss = LOSSES[name]()
    if recipe.margin is None:
        return loss
    config = loss.get_config()
    margin = next((key for key in ("margin", "negative_margin") if key in config), None)
    if margin is None:
        raise InputError(f"--margin with --loss {name}: this loss has no margin; omit --margin")
    return type(loss).from_config({**config, margin: recipe.margin})


def build_fitted_model(
    model: keras.Model,
    *,
    view: RandomView | None = None,
    memory: int = 0,
) -> keras.Model:
    """Build the model that is fitted, around the layers of another.

    Parameters
    ----------
    model : keras.Model
        Embedding model or siamese network.
    view : RandomView, optional
        Applied to each input.
    memory : int, default 0
        Size of a `CrossBatchMemory` applied to the output.

    Returns
    -------
    keras.Model
        `model` itself if nothing is added.
    """
    if view is None and not memory:
        return model
    inputs = keras.tree.map_structure(lambda tensor: keras.Input(tensor.shape[1:]), model.input)
    views = inputs if view is None else keras.tree.map_structure(view, inputs)
    outputs = model(views)
    if memory:
        outputs = CrossBatchMemory(memory, name="memory")(outputs)
    return keras.Model(inputs, outputs)
