"""Properties of every loss over relations."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest

import siamese
from siamese.data.label_rule import pairwise_relations
from siamese.losses import (
    ContrastiveLoss,
    MultiSimilarityLoss,
    TripletLoss,
)
from siamese.training.objective import LOSSES
from siamese.training.recipe import LossName

every_loss = pytest.mark.parametrize("name", LOSSES)

every_kind = pytest.mark.parametrize("kind", ["batch", "memory"])

ITEMS = {
    "no negatives": "aaaa",
    "no positives": "abcd",
    "one without a positive": "aaab",
    "each with both": "aabb",
    "alone": "a",
}


def against(items, kind):
    """Return the relations of a batch with itself, or also with a memory of it."""
    n, others = len(items), {"batch": "", "memory": items}[kind]
    return pairwise_relations([*items, *others], [[]] * (n + len(others)))[:n]


def unit(seed, n, d=5):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def directions(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_registry_has_the_names_of_the_recipe():
    assert tuple(LOSSES) == get_args(LossName)
    for make in LOSSES.values():
        assert type(make()).__name__ in siamese.__all__
    assert LOSSES["triplet"]().mining == "semi-hard"
    assert LOSSES["triplet-hard"]().mining == "hard"


@every_loss
@every_kind
@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS)
def test_finite_with_equal_and_opposite_vectors(name, kind, items, value_and_gradient):
    relation, loss = against(items, kind), LOSSES[name]()
    equal = np.repeat(unit(2, 1), relation.shape[1], axis=0)
    opposite = equal.copy()
    opposite[1::2] *= -1
    for vectors in (equal, opposite):
        value, slope = value_and_gradient(loss, relation, vectors)
        assert np.isfinite(value)
        assert value >= 0
        assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("loss", "degrees"),
    [
        (TripletLoss(0.0), (40, -40)),
        (TripletLoss(0.0, "hard"), (40, -40)),
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_finite_at_the_margin(loss, degrees, value_and_gradient):
    value, slope = value_and_gradient(loss, np.array([[0, 1, -1]]), directions(0, *degrees))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@every_loss
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (4, 8)])
def test_nothing_to_compare_costs_nothing(name, shape, value_and_gradient):
    relation, loss = np.zeros(shape, np.int8), LOSSES[name]()
    value, slope = value_and_gradient(loss, relation, unit(0, shape[1]))
    assert value == 0
    assert not slope.any()


@every_loss
@every_kind
def test_ignored_embeddings_have_no_effect(name, kind, value_and_gradient):
    relation, loss = against("caab", kind), LOSSES[name]()
    vectors = np.abs(unit(0, relation.shape[1]))
    out = {"batch": 3, "memory": 7}[kind]  # b, or b in the memory
    _, slope = value_and_gradient(loss, relation, vectors)
    assert slope[out].any()
    relation[3] = relation[:, out] = 0
    before, slope = value_and_gradient(loss, relation, vectors)
    assert not slope[out].any()
    vectors[out] = -vectors[out]
    assert float(loss(relation, vectors)) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "multi-similarity"])
def test_anchors_with_nothing_to_compare_do_not_reduce_the_mean(name):
    vectors, loss = unit(0, 8), LOSSES[name]()
    relation = np.zeros((8, 8), np.int8)
    relation[:4, :4] = against("aabb", "batch")
    alone = float(loss(relation[:4, :4], vectors[:4]))
    assert float(loss(relation, vectors)) == pytest.approx(alone, rel=1e-5)


@every_loss
def test_positives_come_nearer_and_negatives_move_away(name, value_and_gradient):
    vectors = directions(0, 50, -40)  # an anchor, a positive, and a negative that is nearer
    _, slope = value_and_gradient(LOSSES[name](), np.array([[0, 1, -1]]), vectors)
    moved = vectors - 1e-3 * slope
    assert moved[0] @ moved[1] > vectors[0] @ vectors[1]
    assert moved[0] @ moved[2] < vectors[0] @ vectors[2]


@every_loss
def test_compiled_for_unknown_shapes_the_value_is_the_same(name):
    relation, loss = against("aabc", "memory"), LOSSES[name]()
    vectors = unit(0, 8)
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(loss)
    else:
        import tensorflow as tf

        shapes = [tf.TensorSpec([None, None], tf.int8), tf.TensorSpec([None, 5], tf.float32)]
        compiled = tf.function(loss, input_signature=shapes)
    again = float(compiled(relation, vectors))
    assert again == pytest.approx(float(loss(relation, vectors)), rel=1e-5)


@every_loss
def test_keras_trains_with_it(name):
    relation, loss, pictures = against("aabb", "batch"), LOSSES[name](), unit(0, 4, 6)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.UnitNormalization()(keras.layers.Dense(5)(inputs)))
    model.compile("sgd", loss, run_eagerly=True)
    before = float(loss(relation, model(pictures)))
    assert float(model.train_on_batch(pictures, relation)) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        ContrastiveLoss(margin=0.7),
        TripletLoss(margin=0.3, mining="hard"),
        MultiSimilarityLoss(alpha=1.0, beta=9.0, threshold=0.4, epsilon=0.2),
    ],
    ids=lambda loss: loss.name,
)
def test_serialisation_keeps_the_settings(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert loss.get_config() != type(loss)().get_config()


@pytest.mark.slow
@pytest.mark.timeout(900)  # JAX compiles every operation for every shape
def test_the_same_under_jax(under_jax):
    done = under_jax(str(Path(__file__).parent))
    assert done.returncode == 0, done.stdout + done.stderr
