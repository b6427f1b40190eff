from __future__ import annotations

import pytest

from siamese.training.recipe import LEARNING_RATE, OTHER_LEARNING_RATE, Recipe


def test_a_head_alone_has_the_picture_size_of_the_pretrained_features():
    assert Recipe().effective_picture_size == 160
    assert Recipe(layers="head").effective_picture_size == 224
    assert Recipe(layers="head", picture_size=96).effective_picture_size == 96


def test_the_defaults_have_no_problems():
    assert Recipe().problems() == []


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (
            {"sampling": "random-pairs", "loss": "triplet"},
            "--loss triplet with --sampling random-pairs",
        ),
        ({"layers": "head", "sampling": "random-pairs"}, "head with --sampling random-pairs: "),
        ({"layers": "head", "loss": "triplet"}, "head with --loss triplet: "),
        ({"layers": "head", "batches": "hard-items"}, "head with --batches hard-items: "),
        ({"layers": "head", "memory": 8}, "head with --memory: "),
        ({"layers": "head", "margin": 0.1}, "head with --margin: "),
        ({"layers": "head", "epochs": 3}, "head with --epochs: "),
        ({"layers": "head", "budget": 60.0}, "head with --budget: "),
        ({"layers": "head", "patience": 2}, "head with --patience: "),
        ({"layers": "head", "pictures_per_item": 2}, "head with --pictures-per-item: "),
        ({"layers": "head", "flip": True}, "head with --flip: "),
        (
            {"layers": "head", "learning_rate": 1e-3, "batch_size": 64},
            "head with --batch-size, --learning-rate: only for training all layers; omit them",
        ),
    ],
)
def test_each_problem_is_one_line(choices, words):
    (line,) = Recipe(**choices).problems()
    assert words in line and "\n" not in line


@pytest.mark.parametrize(
    "choices",
    [
        {"sampling": "random-pairs", "margin": 0.5},
        {"memory": 8, "loss": "triplet"},
        {"layers": "head", "loss": "multi-similarity", "augmented": False, "held_out": 0.2},
    ],
)
def test_settings_that_fit_together_are_no_problem(choices):
    assert Recipe(**choices).problems() == []


def test_all_problems_are_reported_at_once():
    pairs, head = Recipe(sampling="random-pairs", loss="triplet", layers="head").problems()
    assert pairs.startswith("--loss triplet with --sampling random-pairs: ")
    assert head.startswith("--layers head with --sampling random-pairs, --loss triplet: ")


@pytest.mark.parametrize(
    ("choices", "rate"),
    [
        ({}, LEARNING_RATE),
        ({"backbone": "base_cnn"}, LEARNING_RATE),
        ({"backbone": "MobileNetV2"}, OTHER_LEARNING_RATE),
        ({"backbone": "MobileNetV2", "learning_rate": 2e-3}, 2e-3),
    ],
)
def test_the_default_rate_depends_on_the_backbone(choices, rate):
    assert Recipe(**choices).peak_learning_rate == rate
