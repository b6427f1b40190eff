from __future__ import annotations

from itertools import product

import pytest

from siamese.training.recipe import LEARNING_RATE, OTHERS_LEARNING_RATE, Recipe


def test_a_head_alone_is_trained_on_pictures_of_the_size_that_its_features_are_made_for():
    assert Recipe().picture_side == Recipe(layers="head-then-all").picture_side == 160
    assert Recipe(layers="head").picture_side == 224
    assert Recipe(layers="head", picture_size=96).picture_side == 96


@pytest.mark.parametrize("epochs", [1, 2, 3, 6, 7, 20])
@pytest.mark.parametrize(
    ("first", "last"), [(96, 160), (64, 224), (32, 33), (40, 112), (50, 60), (64, 120)]
)
def test_pictures_grow_to_their_size_by_the_last_third(epochs, first, last):
    recipe = Recipe(picture_size=last, first_picture_size=first, epochs=epochs)
    sizes = [recipe.picture_size_of(epoch) for epoch in range(epochs)]
    assert sizes == sorted(sizes)
    assert all(size == last or (size % 32 == 0 and size < last) for size in sizes)
    # Thirds of epochs are rounded to whole ones.
    assert sizes[round(epochs * 2 / 3) :] == [last] * (epochs - round(epochs * 2 / 3))
    assert sizes[-1] == last
    assert recipe.picture_size_of(epochs) == last
    if first % 32 == 0 and epochs > 1:
        assert sizes[0] == first


def test_they_grow_evenly():
    recipe = Recipe(picture_size=224, first_picture_size=96, epochs=12)
    sizes = [recipe.picture_size_of(epoch) for epoch in range(12)]
    assert set(sizes) == {96, 128, 160, 192, 224} and sizes[8:] == [224] * 4
    for (epoch, size), following in zip(enumerate(sizes[:8]), sizes[1:], strict=False):
        assert abs(size - (96 + epoch / 8 * 128)) <= 16 and following - size <= 32


@pytest.mark.parametrize("first", [None, 160, 224])
def test_without_smaller_ones_to_begin_with_there_is_one_size(first):
    recipe = Recipe(picture_size=160, first_picture_size=first, epochs=4)
    assert {recipe.picture_size_of(epoch) for epoch in range(5)} == {160}


def test_the_defaults_go_together():
    assert Recipe().problems() == []


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"sampling": "random-pairs", "loss": "circle"}, "--loss circle needs batch-pairs"),
        ({"memory": 8, "loss": "cosface"}, "--memory with --loss cosface"),
        ({"memory": 8, "loss": "proxy-anchor"}, "--memory with --loss proxy-anchor"),
        ({"layers": "head", "sampling": "random-pairs"}, "head with --sampling random-pairs"),
        ({"layers": "head", "first_picture_size": 96}, "head with --first-picture-size"),
        ({"layers": "head", "loss": "triplet"}, "head with --loss triplet"),
        ({"layers": "head", "memory": 8}, "head with --memory"),
        ({"layers": "head", "batches": "hard-items"}, "head with --batches hard-items"),
        ({"layers": "head-then-all", "epochs": 1}, "--epochs 2 or more"),
    ],
)
def test_each_problem_is_a_line(choices, words):
    (line,) = Recipe(**choices).problems()
    assert words in line and "\n" not in line


@pytest.mark.parametrize(
    "choices",
    [
        {"sampling": "random-pairs", "loss": "contrastive"},
        {"memory": 8, "loss": "circle"},
        {"layers": "head", "loss": "multi-similarity", "epochs": 1},
        {"layers": "head-then-all", "epochs": 2, "memory": 8, "first_picture_size": 96},
    ],
)
def test_what_goes_together_is_no_problem(choices):
    assert Recipe(**choices).problems() == []


def test_all_problems_are_told_at_once():
    every = {
        "layers": ("head", "all"),
        "sampling": ("random-pairs", "batch-pairs"),
        "loss": ("cosface", None),
        "memory": (8, 0),
        "batches": ("label-balanced", "uniform"),
        "first_picture_size": (96, None),
    }
    worst, *others = (dict(zip(every, one, strict=True)) for one in product(*every.values()))
    lines = Recipe(**worst).problems()
    assert len(lines) == len(set(lines)) == 7
    # With less of it there are no other problems, and not more.
    assert all(set(Recipe(**choices).problems()) <= set(lines) for choices in others)
    fewer = [len(Recipe(**{**worst, name: good}).problems()) for name, (_, good) in every.items()]
    assert max(fewer) < 7


@pytest.mark.parametrize(
    ("choices", "rate"),
    [
        ({}, LEARNING_RATE),
        ({"backbone": "base_cnn"}, LEARNING_RATE),
        ({"backbone": "MobileNetV2"}, OTHERS_LEARNING_RATE),
        ({"backbone": "MobileNetV2", "learning_rate": 2e-3}, 2e-3),
    ],
)
def test_the_rate_is_the_backbones_unless_it_is_given(choices, rate):
    assert Recipe(**choices).highest_rate == rate
