"""What the tests of the losses share: batches with their relations, and a loss's gradient."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pytest

from siamese.data.label_rule import pairwise_relations


@dataclass
class Compared:
    """What a loss over relations is called with."""

    relations: np.ndarray
    embeddings: np.ndarray

    def rows(self):
        """Of each anchor its cosines with its positives and with its negatives, as lists."""
        similarity = self.embeddings.astype(np.float64) @ self.embeddings.astype(np.float64).T
        for i, row in enumerate(self.relations):
            of_row = list(zip(row, similarity[i], strict=True))
            yield [s for r, s in of_row if r == 1], [s for r, s in of_row if r == -1]


def unit(rng, n, d=5):
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def labelled(items):
    """Labels of items: 0, 1, 3 and 4 have one, so that some pairs are left out."""
    return [["abc"[item % 3]] if item in (0, 1, 3, 4) else [] for item in items]


def batch(seed, n=14):
    """A batch of n pictures compared with itself; the first has no positive."""
    rng = np.random.default_rng(seed)
    items = [99, *rng.integers(0, 5, n - 1).tolist()]
    related = pairwise_relations(items, labelled(items))
    assert (related == 0).sum() > n, "no pair is left out for its labels: the test tests nothing"
    return Compared(related, unit(rng, n))


def batch_and_memory(seed, n=9, remembered=20):
    """A batch compared with itself and with a memory, of which the last five rows are empty."""
    compared = batch(seed, n + remembered)
    compared.relations = compared.relations[:n].copy()
    compared.relations[:, -5:] = 0
    compared.embeddings[-5:] = 0
    return compared


def batch_and_proxies(seed, n=14, c=7):
    """A batch compared with one proxy an item; the first has none."""
    rng = np.random.default_rng(seed)
    items = [99, *rng.integers(0, c, n - 1).tolist(), *range(c)]
    compared = Compared(pairwise_relations(items, labelled(items))[:n].copy(), unit(rng, n + c))
    compared.relations[:, :n] = 0
    return compared


@pytest.fixture(
    params=[
        (draw, seed) for draw in (batch, batch_and_memory, batch_and_proxies) for seed in (0, 1)
    ],
    ids=lambda drawn: f"{drawn[0].__name__}-{drawn[1]}",
)
def compared(request):
    """Return what an anchor can be compared with, with pairs left out and with a lonely anchor."""
    draw, seed = request.param
    drawn = draw(seed)
    positives = (drawn.relations > 0).sum(axis=1)
    assert (positives == 0).any(), "every anchor has a positive: the test tests less"
    assert (positives > 0).any()
    return drawn


@pytest.fixture
def value_and_gradient():
    """Return what tells a loss and its slope with each embedding, whichever the backend."""

    def of(loss, target, embeddings):
        if keras.backend.backend() == "jax":
            import jax

            value, slope = jax.value_and_grad(lambda given: loss(target, given))(embeddings)
            return float(value), np.asarray(slope)
        import tensorflow as tf

        variable = tf.Variable(embeddings)
        with tf.GradientTape() as tape:
            value = loss(target, variable)
        return float(value), tf.convert_to_tensor(tape.gradient(value, variable)).numpy()

    return of
