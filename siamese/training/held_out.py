"""Hold items out of training to measure retrieval on."""

from __future__ import annotations

import sys

from siamese.data.catalogue import Catalogue
from siamese.errors import InputError
from siamese.training.pair_generator import PairGenerator
from siamese.training.recipe import Recipe

HELD_OUT_PICTURES = 2000
"""Most pictures of held-out items that are looked at each epoch."""


def _hold_out(catalogue: Catalogue, recipe: Recipe) -> tuple[Catalogue, Catalogue | None]:
    """Split off items to measure on, or none where the catalogue is too small to spare any."""
    pairable = sum(len(item.images) > 1 for item in catalogue.items.values())
    if round(recipe.held_out * pairable) < 2:
        print(
            f"too few items with two pictures ({pairable}) to hold any out: the loss alone decides "
            "which epoch is best; give other items with --held-out",
            file=sys.stderr,
        )
        return catalogue, None
    share = min(recipe.held_out, HELD_OUT_PICTURES / len(catalogue.pictures))
    return catalogue.split(1 - share, recipe.seed)


def _validation(held_out: Catalogue, recipe: Recipe) -> PairGenerator | None:
    try:
        return PairGenerator(
            held_out,
            picture_size=recipe.picture_side,
            sampling=recipe.sampling,
            batch_size=recipe.batch_size,
            pictures_per_item=recipe.pictures_per_item,
            redraw=False,
            seed=recipe.seed,
        )
    except InputError as error:
        print(f"held-out items: {error}; only the loss is shown", file=sys.stderr)
        return None
