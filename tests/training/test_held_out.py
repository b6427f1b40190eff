from __future__ import annotations

import pytest

from siamese.training import held_out
from siamese.training.held_out import hold_out_items, make_validation
from siamese.training.recipe import Recipe

RECIPE = Recipe(picture_size=16, held_out=0.35, seed=3)


def test_a_share_of_the_items_is_held_out(catalogue, monkeypatch):
    training, others = hold_out_items(catalogue, RECIPE)
    assert len(training.items) == 8 and len(others.items) == 4
    assert training.items.keys() | others.items.keys() == catalogue.items.keys()
    monkeypatch.setattr(held_out, "HELD_OUT_PICTURES", 8)
    assert len(hold_out_items(catalogue, RECIPE)[1].pictures) == 8


def test_a_small_catalogue_holds_none_out(catalogue, capsys):
    few = catalogue.split(0.35)[0]
    assert hold_out_items(few, Recipe()) == (few, None)
    assert "too few items with two pictures (4) to hold any out" in capsys.readouterr().err


def test_held_out_items_without_pairs_are_reported(catalogue, capsys):
    one_item = catalogue.split(0.92)[1]
    assert len(one_item.items) == 1
    assert make_validation(one_item, RECIPE) is None
    assert "held-out items: no negative pair" in capsys.readouterr().err


@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_the_same_held_out_batches_come_every_epoch(catalogue, sampling):
    validation = make_validation(catalogue, Recipe(picture_size=16, sampling=sampling))
    before = validation[0][1].tolist()
    validation.on_epoch_end()
    assert validation[0][1].tolist() == before and validation.sampling == sampling
