from __future__ import annotations

from itertools import product

import keras
import numpy as np
import pytest

from siamese.models.checkpoints import load_model, save_model
from siamese.models.embedding_model import embedding_model
from siamese.models.layer_walk import walk_layers
from siamese.models.pooling import GeneralisedMean, apply_pooling


def grid(seed=0):
    """Draw features as after a ReLU: half of them are 0."""
    drawn = np.random.default_rng(seed).uniform(-1, 1, (3, 4, 5, 6))
    return np.maximum(drawn, 0).astype(np.float32)


def naive_gem(features, p):
    pictures, height, width, channels = features.shape
    answer = np.zeros((pictures, channels))
    for picture, channel in product(range(pictures), range(channels)):
        total = 0.0
        for row, column in product(range(height), range(width)):
            total += (
                max(float(features[picture, row, column, channel]), GeneralisedMean.EPSILON) ** p
            )
        answer[picture, channel] = (total / (height * width)) ** (1 / p)
    return answer


def answer_of(features, pooling):
    inputs = keras.Input(features.shape[1:])
    return np.asarray(keras.Model(inputs, apply_pooling(inputs, pooling))(features))


@pytest.mark.parametrize("power", [1.0, 2.5, 3.0, 6.0])
def test_the_generalised_mean_matches_the_formula(power):
    got = keras.ops.convert_to_numpy(GeneralisedMean(power)(grid()))
    assert got.shape == (3, 6) and got.dtype == np.float32
    np.testing.assert_allclose(got, naive_gem(grid(), power), rtol=1e-4)


def test_the_power_leads_from_the_average_to_the_maximum():
    average, greatest = grid().mean(axis=(1, 2)), grid().max(axis=(1, 2))
    one, three, many = (
        keras.ops.convert_to_numpy(GeneralisedMean(power)(grid())) for power in (1.0, 3.0, 200.0)
    )
    np.testing.assert_allclose(one, average, atol=GeneralisedMean.EPSILON)
    np.testing.assert_allclose(many, greatest, rtol=0.02)  # 20 positions: 20^(-1/200) = 0.985
    assert (one < three).all() and (three < many).all()


def test_the_power_is_learned_and_stays_finite_if_all_features_are_0():
    inputs = keras.Input((4, 5, 6))
    layer = GeneralisedMean()
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    features = grid()
    features[0] = 0
    features[:, :, :, 0] = 0
    model.train_on_batch(features, features.max(axis=(1, 2)))
    power = float(layer.p.numpy())
    assert np.isfinite(power) and power > 3.001  # towards the maximum, the target


def test_each_pooling_does_what_its_name_says():
    features = grid(1)
    average = features.mean(axis=(1, 2))
    np.testing.assert_allclose(answer_of(features, "average"), average, atol=1e-6)
    gem = naive_gem(features, 3)
    np.testing.assert_allclose(answer_of(features, "gem"), gem, rtol=1e-4)


def test_a_checkpoint_keeps_the_learned_power(tmp_path):
    model = embedding_model("base_cnn", 16, pooling="gem", weights=None)
    (gem,) = (layer for layer in walk_layers(model) if isinstance(layer, GeneralisedMean))
    gem.p.assign(1.75)
    save_model(model, tmp_path / "model.hdf5")
    again = load_model(tmp_path / "model.hdf5")
    (kept,) = (layer for layer in walk_layers(again) if isinstance(layer, GeneralisedMean))
    assert float(kept.p.numpy()) == 1.75 and kept.power == 3.0
    assert kept.dtype_policy.name == "float32"
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    before, after = (np.asarray(one(pictures)) for one in (model, again))
    np.testing.assert_allclose(after, before, atol=1e-6)
