from __future__ import annotations

from math import cos, pi

import keras
import numpy as np
import pytest

from siamese.models.embedding_model import embedding_model, siamese_network
from siamese.models.layer_walk import freeze_batch_norm, walk_layers
from siamese.training.optimizer import (
    PROXY_RATE,
    AdamAtRates,
    WarmUpThenCosine,
    make_optimizer,
    rates,
)
from siamese.training.proxies import ItemProxies
from siamese.training.recipe import Recipe

RATES = [1.0, 0.1, 7.0, 0.0]


def value_of(schedule, step):
    return float(keras.ops.convert_to_numpy(schedule(step)))


def naive_rate(peak, steps, warm_up, step, budget_used=0.0):
    gone = min(1.0, max((step + 1) / (steps + 1), budget_used))
    warm_up = max(warm_up, 1 / (steps + 1))
    if gone < warm_up:
        return peak * gone / warm_up
    return peak * (1 + cos(pi * (gone - warm_up) / (1 - warm_up))) / 2


def naive_adam(start, gradients, learning_rates, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Kingma & Ba 2015, with ε beside the root of the uncorrected v, as Keras has it."""
    value, m, v = start.astype(float), 0.0, 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, learning_rates, strict=True), 1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        alpha = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        value = value - alpha * m / (np.sqrt(v) + epsilon)
    return value


def test_each_variable_moves_as_by_plain_adam_at_its_own_rate():
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=3).astype(np.float32) for _ in RATES]
    steps, peak = 6, 1e-2
    gradients = rng.normal(size=(steps, len(RATES), 3)).astype(np.float32)
    variables = [keras.Variable(start) for start in starts]
    optimizer = AdamAtRates(WarmUpThenCosine(peak, steps, 0.3), RATES)
    for of_step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(one) for one in of_step], variables)
    rate_of = [naive_rate(peak, steps, 0.3, step) for step in range(steps)]
    for place, (variable, start, rate) in enumerate(zip(variables, starts, RATES, strict=True)):
        expected = naive_adam(start, gradients[:, place], [rate * one for one in rate_of])
        np.testing.assert_allclose(variable.numpy(), expected, atol=2e-6)
        assert (variable.numpy() != start).all() == (rate > 0)


@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_the_rate_goes_up_and_down_a_cosine(steps, warm_up):
    schedule = WarmUpThenCosine(3e-4, steps, warm_up)
    got = [value_of(schedule, step) for step in range(steps)]
    expected = [naive_rate(3e-4, steps, warm_up, step) for step in range(steps)]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-9)
    assert min(got) > 0, "a step that learns nothing"
    if warm_up == 0:
        assert got[0] == pytest.approx(3e-4)
    if steps == 40:
        assert max(got) == pytest.approx(3e-4, rel=0.01)
        assert (np.argmax(got) + 1) / 41 == pytest.approx(max(warm_up, 1 / 41), abs=1 / 41)
    assert value_of(schedule, steps) == pytest.approx(0, abs=1e-9)


def test_a_budget_that_is_used_up_faster_takes_over():
    schedule = WarmUpThenCosine(1.0, 99, 0.1)
    for used in (0.0, 0.05, 0.3, 0.8, 1.0, 1.7):
        schedule.budget_used.assign(used)
        for step in (0, 4, 25, 60, 98):
            expected = naive_rate(1.0, 99, 0.1, step, used)
            assert value_of(schedule, step) == pytest.approx(expected, abs=1e-5)
    assert value_of(schedule, 0) == pytest.approx(0, abs=1e-6)


def trained_layers(model):
    return [layer for layer in walk_layers(model) if layer.trainable_variables]


def test_rates_go_from_the_first_layer_to_the_last_evenly_in_the_logarithm():
    model = embedding_model("base_cnn", 16, embedding_size=4, pooling="gem")
    inputs = keras.Input((16, 16, 3))
    fitted = keras.Model(inputs, ItemProxies(3, name="proxies")(model(inputs)))
    recipe = Recipe(first_layer_rate=0.01, projection_rate=5.0)
    of_variable = dict(zip(map(id, fitted.trainable_variables), rates(fitted, recipe), strict=True))
    *backbone, pooling, projection, proxies = trained_layers(fitted)
    names = [layer.name for layer in (pooling, projection, proxies)]
    assert names == ["pooling", "projection", "proxies"]
    assert backbone[0].name == "stage0_0_conv" and backbone[-1].name == "stage3_1_norm"
    for layers, expected in (
        (backbone, np.geomspace(0.01, 1, len(backbone))),
        ([pooling], [1.0]),
        ([projection], [5.0]),
        ([proxies], [PROXY_RATE]),
    ):
        for layer, rate in zip(layers, expected, strict=True):
            got = [of_variable[id(variable)] for variable in layer.trainable_variables]
            assert got == pytest.approx([rate] * len(got)), layer.name
    assert set(rates(fitted, Recipe())) == {1.0, PROXY_RATE}


def test_rates_are_in_the_order_of_the_variables_whatever_is_frozen():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name="second")(x))
    network = siamese_network(keras.Model(inputs, x, name="embedding_model"))
    recipe = Recipe(first_layer_rate=0.25)
    assert rates(network, recipe) == pytest.approx([0.25] * 2 + [0.5] * 2 + [1.0] * 2)
    freeze_batch_norm(network)
    assert rates(network, recipe) == pytest.approx([0.25] * 2 + [1.0] * 2)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="an epoch is looked into")
@pytest.mark.parametrize("weight_average", [0.0, 0.5])
def test_fit_leaves_the_weights_and_keeps_their_average_beside_them(weight_average):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = make_optimizer(
        model, Recipe(weight_average=weight_average, learning_rate=0.1), steps=4
    )
    model.compile(optimizer, "mse")
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(model.get_weights())
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[watch])
    assert len(seen) == 4 and (seen[0][0] != seen[-1][0]).any()
    for left, last in zip(model.get_weights(), seen[-1], strict=True):
        np.testing.assert_array_equal(left, last)
    if not weight_average:
        assert not optimizer.use_ema
        return
    average = seen[0][0]
    for kernel, _ in seen[1:]:
        average = 0.5 * average + 0.5 * kernel
    kept = optimizer._model_variables_moving_average[0].numpy()
    np.testing.assert_allclose(kept, average, atol=1e-6)
    assert np.abs(kept - seen[-1][0]).max() > 1e-3
