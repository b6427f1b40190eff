"""What is fitted: the model, with a random view before it and what it is compared with behind.

    pictures ── smaller ── view ── embedding model ── memory or proxies ──▶ loss over relations
    anchors, others ── smaller ── view ── siamese network ──▶ contrastive loss of pairs

None of what is added is a part of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
from keras import layers, ops

from siamese.errors import InputError
from siamese.losses import ContrastiveLoss
from siamese.losses.batch_contrastive import BatchContrastiveLoss
from siamese.losses.circle import CircleLoss
from siamese.losses.cosface import CosFaceLoss
from siamese.losses.multi_similarity import MultiSimilarityLoss
from siamese.losses.proxy_anchor import ProxyAnchorLoss
from siamese.losses.supervised_contrastive import SupervisedContrastiveLoss
from siamese.losses.triplet import TripletLoss
from siamese.models.layer_walk import allow_any_size
from siamese.training.augmentation import RandomView
from siamese.training.cross_batch_memory import CrossBatchMemory
from siamese.training.pair_generator import PairGenerator
from siamese.training.proxies import ItemProxies
from siamese.training.recipe import LossName, Recipe


def make_loss(recipe: Recipe) -> keras.losses.Loss:
    """The loss of a recipe, with its margin.

    Raises
    ------
    InputError
        If a margin is given for a loss that has none.
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
        raise InputError(f"--margin with --loss {name}: it has none; leave it out")
    return type(loss).from_config({**config, margin: recipe.margin})


def compares_with_items(recipe: Recipe) -> bool:
    """Whether the loss needs a proxy of each item."""
    return recipe.loss is not None and LOSSES[recipe.loss].needs_proxies


def batch_context(recipe: Recipe, generator: PairGenerator) -> layers.Layer | None:
    """What a batch is compared with besides itself, if with anything."""
    if compares_with_items(recipe):
        return ItemProxies(len(generator.item_ids), name="proxies")
    if generator.memory:
        return CrossBatchMemory(generator.memory, name="memory")
    return None


def fitted_model(
    model: keras.Model,
    picture_size: int,
    *,
    view: RandomView | None = None,
    context: layers.Layer | None = None,
) -> keras.Model:
    """The model that is fitted, around the same layers.

    Parameters
    ----------
    model : embedding model or siamese network
    picture_size : pixels of a side that it is shown, at most its own
    view : in front of each input
    context : behind the embeddings

    Raises
    ------
    InputError
        If the model cannot take pictures of this size.
    """
    own_size = keras.tree.flatten(model.input)[0].shape[1]
    before: Sequence[layers.Layer] = [view] if view is not None else []
    if picture_size != own_size:
        _allow_size(model, picture_size)
        before = [layers.Resizing(picture_size, picture_size, name="smaller"), *before]
    if not before and context is None:
        return model
    inputs = keras.tree.map_structure(lambda one: keras.Input(one.shape[1:]), model.input)
    seen = inputs
    for layer in before:
        seen = keras.tree.map_structure(layer, seen)
    outputs = model(seen)
    return keras.Model(inputs, outputs if context is None else context(outputs))


def _allow_size(model: keras.Model, picture_size: int) -> None:
    allow_any_size(model)
    # One picture in earnest: Keras builds a graph without asking its layers whether they fit.
    picture = keras.tree.map_structure(
        lambda one: ops.zeros((1, picture_size, picture_size, one.shape[-1])), model.input
    )
    try:
        model(picture)
    except Exception as error:  # which it is depends on the layer and on the backend
        own_size = keras.tree.flatten(model.input)[0].shape[1]
        raise InputError(
            f"--first-picture-size: the network takes no pictures of {picture_size} px, only of "
            f"{own_size}; leave it out"
        ) from error


@dataclass(frozen=True)
class LossKind:
    """A loss over relations, as `--loss` names it.

    Attributes
    ----------
    make : returns the loss with its default settings
    needs_proxies : it compares with a learned proxy of each item, not with other pictures
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
