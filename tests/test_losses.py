from __future__ import annotations

from math import exp, log

import keras
import numpy as np
import pytest

from siamese.labels import relations
from siamese.losses import ContrastiveLoss, MultiSimilarityLoss
from siamese.networks import EuclideanDistance


def naive_contrastive(y, distance, margin):
    total = 0.0
    for one_y, d in zip(y, distance, strict=True):
        total += one_y * d**2 / 2 + (1 - one_y) * max(0.0, margin - d) ** 2 / 2
    return total / len(y)


def naive_multi_similarity(relation, vectors, alpha=2.0, beta=50.0, threshold=0.5, epsilon=0.1):
    total = 0.0
    for i in range(len(vectors)):
        similar = [float(np.dot(vectors[i], other)) for other in vectors]
        positives = [s for s, r in zip(similar, relation[i], strict=True) if r == 1]
        negatives = [s for s, r in zip(similar, relation[i], strict=True) if r == -1]
        hard_positives = [s for s in positives if not negatives or s < max(negatives) + epsilon]
        hard_negatives = [s for s in negatives if not positives or s > min(positives) - epsilon]
        pull = sum(exp(-alpha * (s - threshold)) for s in hard_positives)
        push = sum(exp(beta * (s - threshold)) for s in hard_negatives)
        total += log(1 + pull) / alpha + log(1 + push) / beta
    return total / len(vectors)


def unit(rng, n, d=5):
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def gradient(loss, target, value):
    """Return d loss / d value, whichever the backend."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda v: loss(target, v))(value))
    import tensorflow as tf

    value = tf.Variable(value)
    with tf.GradientTape() as tape:
        answer = loss(target, value)
    return tape.gradient(answer, value).numpy()


@pytest.mark.parametrize("margin", [0.3, 1.0, 1.7])
def test_contrastive_is_its_formula(margin):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 50)
    distance = rng.uniform(0, 2, 50).astype(np.float32)
    got = float(ContrastiveLoss(margin)(y, distance))
    assert got == pytest.approx(naive_contrastive(y, distance, margin), rel=1e-5)
    # A column against a row is the same pairs, not every y with every distance.
    assert float(ContrastiveLoss(margin)(y[:, None], distance)) == pytest.approx(got, rel=1e-6)


def test_contrastive_by_hand():
    loss = ContrastiveLoss(margin=1.0, reduction="none")
    got = np.asarray(loss(np.array([1, 1, 0, 0, 0]), np.array([0.0, 2.0, 0.0, 0.5, 1.5], "f4")))
    assert got.tolist() == [0.0, 2.0, 0.5, 0.125, 0.0]


@pytest.mark.parametrize("seed", range(8))
def test_multi_similarity_is_its_formula(seed):
    rng = np.random.default_rng(seed)
    n = 14
    items = rng.integers(0, 5, n)
    items[-1] = 99  # an anchor without a positive
    labels = [["abc"[item % 3]] if item in (0, 1, 3) else [] for item in items]
    relation = relations(items.tolist(), labels)
    assert (relation == 0).sum() > n, "no pair is left out for its labels: the test tests nothing"
    vectors = unit(rng, n)
    got = float(MultiSimilarityLoss()(relation, vectors))
    assert got == pytest.approx(naive_multi_similarity(relation, vectors), rel=1e-4)
    others = {"alpha": 3.0, "beta": 20.0, "threshold": 0.2, "epsilon": 0.3}
    got = float(MultiSimilarityLoss(**others)(relation, vectors))
    assert got == pytest.approx(naive_multi_similarity(relation, vectors, **others), rel=1e-4)


def test_what_shares_a_label_has_no_part_in_the_loss():
    vectors = unit(np.random.default_rng(0), 4)
    relation = relations(["a", "a", "b", "c"], [["x"], ["x"], ["x"], []])
    before = gradient(MultiSimilarityLoss(), relation, vectors)
    moved = vectors.copy()
    moved[2] = -moved[2]  # b: its only negative is c
    relation[2, 3] = relation[3, 2] = 0
    assert not gradient(MultiSimilarityLoss(), relation, moved)[2].any()
    assert before[2].any()


@pytest.mark.parametrize(
    "items",
    [["a", "a", "a"], ["a", "b", "c"], ["a", "a", "b"], ["a"]],
    ids=["no negatives", "no positives", "one without a positive", "alone"],
)
@pytest.mark.parametrize("identical", [True, False])
def test_multi_similarity_gradients_are_finite(items, identical):
    vectors = unit(np.random.default_rng(2), len(items))
    if identical:
        vectors[:] = vectors[0]
    relation = relations(items, [[]] * len(items))
    assert np.isfinite(float(MultiSimilarityLoss()(relation, vectors)))
    assert np.isfinite(gradient(MultiSimilarityLoss(), relation, vectors)).all()


def test_nothing_to_compare_costs_nothing():
    relation = relations(["a", "b"], [["x"], ["x"]])
    assert float(MultiSimilarityLoss()(relation, unit(np.random.default_rng(0), 2))) == 0


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("apart", [0.0, 1e-9, 1.0])
def test_contrastive_gradients_are_finite_at_zero_and_at_the_margin(y, apart):
    def loss(target, vectors):
        distance = EuclideanDistance()([vectors[:1], vectors[1:]])
        return ContrastiveLoss(margin=1.0)(target, distance)

    vectors = np.array([[0.0, 0.0], [apart, 0.0]], np.float32)
    got = gradient(loss, np.array([y]), vectors)
    assert np.isfinite(got).all()
    if y == 1 and apart == 1:
        np.testing.assert_allclose(got, [[-1, 0], [1, 0]], atol=1e-5)


def test_a_pull_brings_nearer_and_a_push_drives_apart():
    vectors = np.array([[1, 0], [0.6, 0.8]], np.float32)
    for items, sign in ((["a", "a"], 1), (["a", "b"], -1)):
        step = -0.01 * gradient(MultiSimilarityLoss(), relations(items, [[], []]), vectors)
        moved = vectors + step
        assert sign * (moved[0] @ moved[1] - vectors[0] @ vectors[1]) > 0


@pytest.mark.parametrize(
    "loss",
    [
        ContrastiveLoss(margin=0.7),
        MultiSimilarityLoss(alpha=1.0, beta=9.0, threshold=0.4, epsilon=0.2),
    ],
)
def test_serialisation_keeps_the_settings(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_the_same_under_jax(under_jax):
    done = under_jax(__file__)
    assert done.returncode == 0, done.stdout + done.stderr
