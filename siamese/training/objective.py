"""Build the loss and the model that is fitted.

::

    pictures ──── view ── embedding model ── memory or proxies ──▶ loss over relations
    pair of pictures ── view ── siamese network ─────────────────▶ contrastive loss of pairs

The view, the memory and the proxies are not part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from siamese.errors import InputError
from siamese.losses import (
    BatchContrastiveLoss,
    CircleLoss,
    ContrastiveLoss,
    CosFaceLoss,
    MultiSimilarityLoss,
    ProxyAnchorLoss,
    SupervisedContrastiveLoss,
    TripletLoss,
)
from siamese.training.augmentation import RandomView
from siamese.training.cross_batch_memory import CrossBatchMemory
from siamese.training.pair_generator import PairGenerator
from siamese.training.proxies import ItemProxies
from siamese.training.recipe import LossName, Recipe


@dataclass(frozen=True)
class LossKind:
    """Loss over relations that `--loss` names.

    Attributes
    ----------
    make : callable
        Returns the loss with its default settings.
    needs_proxies : bool
        Whether it compares pictures with a learned proxy of each item, not with other pictures.
    """

    make: Callable[[], keras.losses.Loss]
    needs_proxies: bool = False


LOSSES: dict[LossName, LossKind] = {
    "multi-similarity": LossKind(MultiSimilarityLoss),
    "contrastive": LossKind(BatchContrastiveLoss),
    "triplet": LossKind(TripletLoss),
    "triplet-hard": LossKind(lambda: TripletLoss(mining="hard")),
    "supervised-contrastive": LossKind(SupervisedContrastiveLoss),
    "circle": LossKind(CircleLoss),
    "proxy-anchor": LossKind(ProxyAnchorLoss, needs_proxies=True),
    "cosface": LossKind(CosFaceLoss, needs_proxies=True),
}


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
    loss = LOSSES[name].make()
    if recipe.margin is None:
        return loss
    config = loss.get_config()
    margin = next((key for key in ("margin", "negative_margin") if key in config), None)
    if margin is None:
        raise InputError(f"--margin with --loss {name}: this loss has no margin; omit --margin")
    return type(loss).from_config({**config, margin: recipe.margin})


def needs_proxies(recipe: Recipe) -> bool:
    """Return whether the loss of a recipe needs a proxy of each item."""
    return recipe.loss is not None and LOSSES[recipe.loss].needs_proxies


def make_context(recipe: Recipe, generator: PairGenerator) -> layers.Layer | None:
    """Return the layer that adds what a batch is compared with besides itself, if anything."""
    if needs_proxies(recipe):
        return ItemProxies(len(generator.item_ids), name="proxies")
    if generator.memory:
        return CrossBatchMemory(generator.memory, name="memory")
    return None


def build_fitted_model(
    model: keras.Model,
    *,
    view: RandomView | None = None,
    context: layers.Layer | None = None,
) -> keras.Model:
    """Build the model that is fitted, around the layers of another.

    Parameters
    ----------
    model : keras.Model
        Embedding model or siamese network.
    view : RandomView, optional
        Applied to each input.
    context : keras.layers.Layer, optional
        Applied to the output.

    Returns
    -------
    keras.Model
        `model` itself if nothing is added.
    """
    if view is None and context is None:
        return model
    inputs = keras.tree.map_structure(lambda tensor: keras.Input(tensor.shape[1:]), model.input)
    views = inputs if view is None else keras.tree.map_structure(view, inputs)
    outputs = model(views)
    return keras.Model(inputs, outputs if context is None else context(outputs))
