"""Catalogues that the defaults were not tuned on: each is learned from, or an error says why not.

Items are patches of two colours of their own; each picture of one is under another light, with
noise. The recipe is the default one, but for a small network, small pictures and few epochs.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from siamese.data.catalogue import Catalogue
from siamese.errors import InputError
from siamese.training.recipe import Recipe
from siamese.training.train import train
from tests.training.conftest import watch_nothing

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eagerly")]

NOT_IMPROVED = "no epoch was better than the start"
SIZE = 16
RECIPE = Recipe(backbone="base_cnn", weights=None, picture_size=SIZE, epochs=3, seed=0)


def draw(rng, first, second):
    """Draw an item in a light: two colours, halved at a line that moves, and noise."""
    picture = np.where(np.arange(SIZE)[:, None, None] < rng.integers(5, 11), first, second)
    picture = picture * rng.uniform(0.4, 1.2, 3) + rng.normal(0, 25, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def make_catalogue(folder, sizes, labels=None, seed=0):
    """Draw items with these numbers of pictures; labels by the number of the item."""
    rng = np.random.default_rng(seed)
    form = {}
    for item, size in enumerate(sizes):
        colours = rng.uniform(0, 255, (2, 3))
        names = [f"{item}-{view}.bmp" for view in range(size)]
        for name in names:
            draw(rng, *colours).save(folder / name)
        form[f"item {item}"] = {
            "images": [{"filename": name} for name in names],
            "labels": labels(item) if labels else [],
        }
    (folder / "items.json").write_text(json.dumps(form))
    return Catalogue.read(folder / "items.json")


def map_at_r(trained):
    """Return MAP@R on held-out items before training and at its best epoch."""
    return trained.history[0]["val_map@r"], trained.history[trained.best_epoch]["val_map@r"]


def improved(trained):
    before, best = map_at_r(trained)
    return best > before


@pytest.mark.parametrize(
    ("sizes", "labels", "held_out"),
    [
        ([8] * 10, None, 0.3),
        ([4] * 60, lambda item: [f"kind {item % 3}"], 0.2),
    ],
    ids=["ten items", "labels of three kinds"],
)
def test_it_learns(sizes, labels, held_out, tmp_path):
    catalogue = make_catalogue(tmp_path, sizes, labels)
    recipe = replace(RECIPE, held_out=held_out)
    trained = train(catalogue, recipe, tmp_path / "run", watch=watch_nothing)
    before, best = map_at_r(trained)
    assert best > before + 0.05


@pytest.mark.parametrize(
    ("sizes", "held_out", "epochs"),
    [
        ([2] * 60, 0.3, 3),
        ([200] * 4, 0.5, 1),
        ([100, *[2] * 30, *[1] * 10], 0.3, 3),
    ],
    ids=["two pictures an item", "200 pictures an item", "very unequal items"],
)
def test_it_learns_or_says_that_it_did_not(sizes, held_out, epochs, tmp_path, start, capsys):
    catalogue = make_catalogue(tmp_path, sizes)
    recipe = Recipe(held_out=held_out, epochs=epochs)
    trained = train(catalogue, recipe, tmp_path / "run", start=start, watch=watch_nothing)
    assert improved(trained) != (NOT_IMPROVED in capsys.readouterr().err)


@pytest.mark.long
def test_ten_thousand_items_are_learned_from_within_a_budget(tmp_path, capsys):
    catalogue = make_catalogue(tmp_path, [2] * 10_000)
    trained = train(catalogue, replace(RECIPE, budget=25.0), tmp_path / "run", watch=watch_nothing)
    assert trained.model.is_file() and trained.skipped == []
    # On a slow machine the budget allows few steps, which may not be enough.
    assert improved(trained) != (NOT_IMPROVED in capsys.readouterr().err)
    assert 1 <= len(trained.history) - 1 <= RECIPE.epochs


@pytest.mark.parametrize(
    ("sizes", "labels", "why"),
    [
        ([2] * 6, lambda item: ["thing"], "no negative pair: every two items share a label"),
        ([1] * 6, None, "no positive pair: no item has two usable pictures"),
        ([6], None, "no negative pair: there is a single item"),
    ],
    ids=["equal labels", "one picture an item", "one item"],
)
def test_it_cannot_learn_and_says_why_in_one_line(sizes, labels, why, tmp_path):
    catalogue = make_catalogue(tmp_path, sizes, labels)
    with pytest.raises(InputError, match=why) as raised:
        train(catalogue, RECIPE, tmp_path / "run", watch=watch_nothing)
    assert len(raised.value.lines) == 1
