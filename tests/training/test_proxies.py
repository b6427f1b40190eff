from __future__ import annotations

import keras
import numpy as np
import pytest

from siamese.training.proxies import PROXY_LENGTH, ItemProxies


def vectors(count=3, dimensions=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


class SumOf(keras.losses.Loss):
    """The sum of some rows of the output, each times a weight."""

    def __init__(self, rows, weights):
        super().__init__()
        self.rows = rows
        self.weights = weights

    def call(self, y_true, y_pred):
        return keras.ops.sum(y_pred[self.rows] * self.weights)


def test_proxies_follow_the_pictures_and_have_length_1():
    layer = ItemProxies(5)
    batch = vectors()
    for training in (True, False):
        got = keras.ops.convert_to_numpy(layer(batch, training=training))
        assert got.shape == (8, 4)
        np.testing.assert_array_equal(got[:3], batch)
        raw = layer.proxies.numpy()
        for row, proxy in zip(got[3:], raw, strict=True):
            np.testing.assert_allclose(row, proxy / np.sqrt((proxy**2).sum()), atol=1e-6)
    assert len({tuple(row) for row in got[3:]}) == 5


@pytest.mark.slow
def test_proxies_are_learned():
    inputs = keras.Input((4,))
    layer = ItemProxies(2)
    model = keras.Model(inputs, layer(inputs))
    weights = np.array([[1, 2, 3, 4], [0, -1, 0, 2]], np.float32)
    model.compile(keras.optimizers.SGD(0.1), SumOf(slice(3, None), weights))
    before = layer.proxies.numpy()
    model.train_on_batch(vectors(), np.zeros(3))
    for start, weight, got in zip(before, weights, layer.proxies.numpy(), strict=True):
        length = np.sqrt((start**2).sum())
        unit = start / length
        # d(w · p/|p|)/dp = (w − (w · u) u) / |p|
        gradient = (weight - (weight @ unit) * unit) / length
        np.testing.assert_allclose(got, start - 0.1 * gradient, rtol=1e-4, atol=1e-5)


def test_proxies_start_at_the_mean_of_their_item_less_that_of_all():
    given, item_of_row = vectors(7), np.array([0, 2, 1, 2, 2, 0, 1])
    layer = ItemProxies(3)
    layer.build((None, 4))
    layer.start_at_items(given, item_of_row)
    means = np.array([given[item_of_row == item].mean(axis=0) for item in range(3)])
    for proxy, mean in zip(layer.proxies.numpy(), means - means.mean(axis=0), strict=True):
        np.testing.assert_allclose(proxy, PROXY_LENGTH * mean / np.linalg.norm(mean), rtol=1e-4)


def test_equal_embeddings_give_finite_proxies():
    layer = ItemProxies(2)
    layer.build((None, 4))
    layer.start_at_items(np.ones((4, 4), np.float32), np.array([0, 0, 1, 1]))
    assert np.isfinite(keras.ops.convert_to_numpy(layer(vectors()))).all()


def test_serialisation_keeps_the_settings():
    layer = ItemProxies(6)
    again = ItemProxies.from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and again.dtype_policy.name == "float32"
