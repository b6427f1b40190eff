"""Held-out items, on which retrieval is measured during training."""

from __future__ import annotations

import sys

from siamese.data.catalogue import Catalogue
from siamese.errors import InputError
from siamese.training.pair_generator import PairGenerator
from siamese.training.recipe import Recipe

HELD_OUT_PICTURES = 2000
"""Approximate limit on held-out pictures, because embedding them after each epoch takes time."""


def hold_out_items(catalogue: Catalogue, recipe: Recipe) -> tuple[Catalogue, Catalogue | None]:
    """Split a catalogue into items to train on and items to hold out.

    Returns
    -------
    training : Catalogue
        The items to train on.
    held_out : Catalogue or None
        The held-out items. If there are too few to hold any out, None, with a note on stderr.
    """
    pairable = sum(len(item.images) > 1 for item in catalogue.items.values())
    if round(recipe.held_out * pairable) < 2:
        print(
            f"too few items with two pictures ({pairable}) to hold any out: the epoch with the "
            "lowest loss will be the best; give other items with --held-out",
            file=sys.stderr,
        )
        return catalogue, None
    share = min(recipe.held_out, HELD_OUT_PICTURES / len(catalogue.pictures))
    return catalogue.split(1 - share, recipe.seed)


def make_validation(held_out: Catalogue, recipe: Recipe) -> PairGenerator | None:
    """Make a generator of held-out pictures; if they lack pairs, print a note and return None."""
    try:
        return PairGenerator(
            held_out,
            picture_size=recipe.effective_picture_size,
            sampling=recipe.sampling,
            batch_size=recipe.batch_size,
            pictures_per_item=recipe.pictures_per_item,
            redraw=False,
            seed=recipe.seed,
        )
    except InputError as error:
        print(f"held-out items: {error}; only the loss is measured", file=sys.stderr)
        return None
