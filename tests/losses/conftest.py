"""Fixtures for the tests of the losses: batches with relations, and the gradient of a loss."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pytest

from siamese.data.label_rule import pairwise_relations


@dataclass
class Compared:
    """Relations (n, m) and embeddings (m, d), the input of a loss over relations."""

    relations: np.ndarray
    embeddings: np.ndarray

    def rows(self):
        """Yield the similarities of each anchor to its positives and to its negatives."""
        similarity = self.embeddings.astype(np.float64) @ self.embeddings.astype(np.float64).T
        for i, row in enumerate(self.relations):
            pairs = list(zip(row, similarity[i], strict=True))
            yield [s for r, s in pairs if r == 1], [s for r, s in pairs if r == -1]


def unit(rng, n, d=5):
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def labelled(items):
    """Return labels of the items: 0, 1, 3 and 4 have one, so that some pairs are ignored."""
    return [["abc"[item % 3]] if item in (0, 1, 3, 4) else [] for item in items]


def batch(seed, n=14):
    """Draw a batch of n pictures compared with each other; the first has no positive."""
    rng = np.random.default_rng(seed)
    items = [99, *rng.integers(0, 5, n - 1).tolist()]
    related = pairwise_relations(items, labelled(items))
    assert (related == 0).sum() > n, (
        "no pair is ignored because of its labels: the test tests nothing"
    )
    return Compared(related, unit(rng, n))


def batch_and_memory(seed, n=9, remembered=20):
    """Draw a batch compared with itself and a memory whose last five rows are empty."""
    compared = batch(seed, n + remembered)
    compared.relations = compared.relations[:n].copy()
    compared.relations[:, -5:] = 0
    compared.embeddings[-5:] = 0
    return compared


@pytest.fixture(
    params=[(draw, seed) for draw in (batch, batch_and_memory) for seed in (0, 1)],
    ids=lambda drawn: f"{drawn[0].__name__}-{drawn[1]}",
)
def compared(request):
    """Return each kind of input, with ignored pairs and an anchor without positives."""
    draw, seed = request.param
    drawn = draw(seed)
    positives = (drawn.relations > 0).sum(axis=1)
    assert (positives == 0).any(), "every anchor has a positive: the test tests less"
    assert (positives > 0).any()
    return drawn


@pytest.fixture
def value_and_gradient():
    """Return a function that computes a loss and its gradient, on any backend."""

    def compute(loss, target, embeddings):
        if keras.backend.backend() == "jax":
            import jax

            value, slope = jax.value_and_grad(lambda given: loss(target, given))(embeddings)
            return float(value), np.asarray(slope)
        import tensorflow as tf

        variable = tf.Variable(embeddings)
        with tf.GradientTape() as tape:
            value = loss(target, variable)
        return float(value), tf.convert_to_tensor(tape.gradient(value, variable)).numpy()

    return compute
