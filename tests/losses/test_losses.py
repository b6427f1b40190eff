"""What holds of every loss over relations."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest

import siamese
from siamese.labels import relations
from siamese.losses import (
    LOSSES,
    BatchContrastiveLoss,
    CircleLoss,
    ContrastiveLoss,
    CosFaceLoss,
    MultiSimilarityLoss,
    ProxyAnchorLoss,
    SupervisedContrastiveLoss,
    TripletLoss,
)
from siamese.recipe import LossName

every_loss = pytest.mark.parametrize("name", LOSSES)

ITEMS = {
    "no negatives": ["a", "a", "a"],
    "no positives": ["a", "b", "c"],
    "one without a positive": ["a", "a", "b"],
    "all": ["a", "a", "b", "b"],
    "alone": ["a"],
}


def against(items, kind):
    """Relations of a batch with itself, with a memory of it, or with one proxy an item."""
    n = len(items)
    others = {"batch": [], "memory": items, "proxies": sorted(set(items))}[kind]
    relation = relations([*items, *others], [[]] * (n + len(others)))[:n]
    if kind == "proxies":
        relation[:, :n] = 0
    return relation


def unit(seed, n, d=5):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_registry_has_the_names_that_the_recipe_offers():
    assert tuple(LOSSES) == get_args(LossName)
    assert [name for name, kind in LOSSES.items() if kind.needs_proxies] == [
        "proxy-anchor",
        "cosface",
    ]
    for kind in LOSSES.values():
        assert getattr(siamese, type(kind.make()).__name__) is type(kind.make())
    assert LOSSES["triplet"].make().mining == "semi-hard"
    assert LOSSES["triplet-hard"].make().mining == "hard"


@every_loss
@pytest.mark.parametrize("kind", ["batch", "memory", "proxies"])
@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS)
def test_gradients_are_finite(name, items, kind, gradient):
    relation, loss = against(items, kind), LOSSES[name].make()
    vectors = unit(2, relation.shape[1])
    opposite = vectors.copy()
    opposite[:] = vectors[0]
    opposite[1::2] *= -1
    for embeddings in (vectors, np.repeat(vectors[:1], len(vectors), axis=0), opposite):
        value = float(loss(relation, embeddings))
        assert np.isfinite(value)
        assert value >= 0
        assert np.isfinite(gradient(loss, relation, embeddings)).all()


@every_loss
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (3, 8)])
def test_nothing_to_compare_costs_nothing(name, shape, gradient):
    relation, vectors = np.zeros(shape, np.int8), unit(0, shape[1])
    loss = LOSSES[name].make()
    assert float(loss(relation, vectors)) == 0
    assert not gradient(loss, relation, vectors).any()


@pytest.mark.parametrize(
    ("loss", "degrees"),
    [
        (BatchContrastiveLoss(), (60, -60)),  # a distance of 1
        (TripletLoss(0.0), (40, -40)),
        (TripletLoss(0.0, "hard"), (40, -40)),
        (CircleLoss(0.5), (60, -60)),
        (CosFaceLoss(0.0), (40, -40)),
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_gradients_are_finite_at_the_margin(loss, degrees, gradient):
    angles = np.radians([0, *degrees])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    relation = np.array([[0, 1, -1]])
    assert np.isfinite(float(loss(relation, vectors)))
    assert np.isfinite(gradient(loss, relation, vectors)).all()


@every_loss
@pytest.mark.parametrize("kind", ["batch", "memory", "proxies"])
def test_what_is_left_out_has_no_part(name, kind, gradient):
    relation, loss = against(["a", "a", "b", "b", "c"], kind), LOSSES[name].make()
    vectors = unit(0, relation.shape[1])
    column = relation.shape[1] - 1  # of c, or of its proxy
    assert gradient(loss, relation, np.abs(vectors))[column].any()
    relation[:, column] = 0
    if kind != "proxies":
        relation[4] = 0
    value = float(loss(relation, vectors))
    if column > 4 or kind == "batch":
        assert not gradient(loss, relation, vectors)[column].any()
        vectors[column] = -vectors[column]
        assert float(loss(relation, vectors)) == value


@every_loss
def test_few_positives_weigh_no_less(name):
    """Rows with nothing to compare do not thin out the others."""
    if name == "multi-similarity":
        pytest.skip("one value an anchor: its paper takes the mean over all")
    vectors = unit(0, 9)
    relation = against(["a", "a", "b", "b"], "batch")
    alone = float(LOSSES[name].make()(relation, vectors[:4]))
    more = np.zeros((9, 9), np.int8)
    more[:4, :4] = relation
    assert float(LOSSES[name].make()(more, vectors)) == pytest.approx(alone, rel=1e-5)


@every_loss
def test_a_pull_brings_nearer_and_a_push_drives_apart(name, gradient):
    # An anchor at 0°, a positive at 50° and a negative, nearer, at -40°.
    angles = np.radians([0, 50, -40])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    moved = vectors - 1e-3 * gradient(LOSSES[name].make(), np.array([[0, 1, -1]]), vectors)
    assert moved[0] @ moved[1] > vectors[0] @ vectors[1]
    assert moved[0] @ moved[2] < vectors[0] @ vectors[2]


@every_loss
@pytest.mark.parametrize("kind", ["batch", "memory", "proxies"])
def test_the_same_compiled_and_of_unknown_shape(name, kind):
    relation, loss = against(["a", "a", "b", "b", "c"], kind), LOSSES[name].make()
    vectors = unit(0, relation.shape[1])
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(loss)
    else:
        import tensorflow as tf

        shapes = [tf.TensorSpec([None, None], tf.int8), tf.TensorSpec([None, 5], tf.float32)]
        compiled = tf.function(loss, input_signature=shapes)
    assert float(compiled(relation, vectors)) == pytest.approx(
        float(loss(relation, vectors)), rel=1e-5
    )


@pytest.mark.parametrize(
    "loss",
    [
        ContrastiveLoss(margin=0.7),
        BatchContrastiveLoss(positive_margin=0.1, negative_margin=0.7),
        TripletLoss(margin=0.3, mining="hard"),
        MultiSimilarityLoss(alpha=1.0, beta=9.0, threshold=0.4, epsilon=0.2),
        SupervisedContrastiveLoss(temperature=0.2),
        CircleLoss(margin=0.3, scale=7.0),
        ProxyAnchorLoss(margin=0.3, scale=7.0),
        CosFaceLoss(margin=0.3, scale=7.0),
    ],
    ids=lambda loss: loss.name,
)
def test_serialisation_keeps_the_settings(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert loss.get_config() != type(loss)().get_config()


def test_the_same_under_jax(under_jax):
    done = under_jax(str(Path(__file__).parent))
    assert done.returncode == 0, done.stdout + done.stderr
