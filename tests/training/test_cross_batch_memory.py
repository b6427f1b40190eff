from __future__ import annotations

import keras
import numpy as np
import pytest

from siamese.training.cross_batch_memory import CrossBatchMemory
from siamese.training.objective import build_fitted_model
from siamese.training.pair_generator import PairGenerator

SIZE = 16


def batches(count, pictures=3, dimensions=4):
    drawn = np.random.default_rng(0).normal(size=(count, pictures, dimensions))
    return drawn.astype(np.float32)


class SumOf(keras.losses.Loss):
    """The sum of some rows of the output, each times a weight."""

    def __init__(self, rows, weights):
        super().__init__()
        self.rows = rows
        self.weights = weights

    def call(self, y_true, y_pred):
        return keras.ops.sum(y_pred[self.rows] * self.weights)


class Rows(keras.losses.Loss):
    """Notes what it is given, batch by batch."""

    def __init__(self):
        super().__init__()
        self.given = []

    def call(self, y_true, y_pred):
        self.given.append([keras.ops.convert_to_numpy(one) for one in (y_true, y_pred)])
        return keras.ops.mean(y_pred)


@pytest.mark.parametrize("slots", [3, 6, 12])
def test_the_memory_keeps_the_last_batches_the_newest_first(slots):
    memory = CrossBatchMemory(slots)
    held = [np.zeros(4)] * slots
    for batch in batches(6):
        got = keras.ops.convert_to_numpy(memory(batch, training=True))
        np.testing.assert_array_equal(got, [*batch, *held])
        assert got.dtype == np.float32
        held = [*batch, *held][:slots]
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(memory.memory), held)


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="under JAX Keras first asks the loss about an output without the memory's rows",
)
def test_a_compiled_memory_does_the_same():
    """A variable may be read later in a compiled step than where the code names it."""
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, kernel_initializer="identity")
    model = keras.Model(inputs, CrossBatchMemory(6)(dense(inputs)))
    weights = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    model.compile(keras.optimizers.SGD(0.0), SumOf(slice(None), weights))
    held = [np.zeros(4)] * 6
    for batch in batches(5):
        got = model.train_on_batch(batch, np.zeros(3))
        assert got == pytest.approx(np.sum([*batch, *held] * weights), abs=1e-4)
        held = [*batch, *held][:6]


def test_the_memory_changes_in_training_only():
    memory = CrossBatchMemory(6)
    one, other = batches(2)
    memory(one, training=True)
    before = memory.memory.numpy()
    for got in (memory(other), memory(other, training=False)):
        np.testing.assert_array_equal(got, other)
    np.testing.assert_array_equal(memory.memory.numpy(), before)


@pytest.mark.slow
def test_no_gradient_flows_into_the_memory():
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, use_bias=False)
    model = keras.Model(inputs, CrossBatchMemory(6)(dense(inputs)))
    assert len(model.trainable_variables) == 1
    for rows, learns in ((slice(3, None), False), (slice(0, 3), True)):
        model.compile(keras.optimizers.SGD(1.0), SumOf(rows, 1.0))
        before = dense.kernel.numpy()
        for batch in batches(3):
            model.train_on_batch(batch, np.zeros(3))
        assert (dense.kernel.numpy() != before).any() == learns


def naive_relation(one, other):
    if one == other:
        return 0
    if one.item_id == other.item_id:
        return 1
    return 0 if set(one.labels) & set(other.labels) else -1


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a step is looked into")
def test_in_fit_the_memory_matches_the_relations(catalogue):
    """Through `fit`, two epochs: each further row is the embedding of its column's picture."""
    pairs = PairGenerator(catalogue, picture_size=SIZE, batch_size=9, memory=20, workers=2)
    assert pairs.memory == 18 and len(pairs) == 6
    inputs = keras.Input((SIZE, SIZE, 3))
    vectors = keras.layers.Dense(8)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.UnitNormalization()(vectors))
    fitted = build_fitted_model(model, memory=pairs.memory)
    loss = Rows()
    # Nothing is learned, so that an embedding stays what it was when it was remembered.
    fitted.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    shown = {}
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: shown.update({pairs.epoch: pairs.draw()})
    )
    fitted.fit(pairs, epochs=2, verbose=0, shuffle=False, callbacks=[note])
    embeddings = model.predict(pairs.prepared(np.arange(48)), verbose=0)
    drawn = [rows for epoch in sorted(shown) for rows in shown[epoch]]
    assert len(loss.given) == len(drawn) == 12
    compared = 0
    for step, (relations, rows_of_output) in enumerate(loss.given):
        held = []  # rows of `pictures`, the newest batch first
        for earlier in drawn[step - step % 6 : step]:
            held = [*earlier, *held][:18]
        columns = [*drawn[step], *held]
        assert relations.shape == (9, 27) and rows_of_output.shape == (27, 8)
        for column, row in enumerate(columns):
            np.testing.assert_allclose(rows_of_output[column], embeddings[row], atol=1e-5)
            for anchor, own in enumerate(drawn[step]):
                expected = naive_relation(pairs.pictures[own], pairs.pictures[row])
                assert relations[anchor, column] == expected
        assert not relations[:, len(columns) :].any(), "an empty slot, or one of last epoch"
        compared += np.count_nonzero(relations[:, 9:])
    assert compared > 100


def test_serialisation_keeps_the_settings():
    layer = CrossBatchMemory(6)
    again = CrossBatchMemory.from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and again.dtype_policy.name == "float32"
