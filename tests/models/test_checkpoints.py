from __future__ import annotations

import os
import pickle
import shutil

import h5py
import keras
import numpy as np
import pytest
from absl import logging
from keras import layers

from siamese.errors import InputError
from siamese.models.checkpoints import load_model, save_model
from siamese.models.embedding_model import embedding_model, siamese_network
from siamese.models.precision import set_precision
from siamese.training.resume import (
    checkpoint_name,
    read_training_state,
    restore_training,
    save_training,
)


def tiny():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inputs))


def test_the_names_of_checkpoints():
    assert checkpoint_name(3, 0.123456789) == "weights.003-0.12346.hdf5"
    assert checkpoint_name(1234, 12.0) == "weights.1234-12.00000.hdf5"


def test_no_warning_about_the_legacy_format_is_printed(tmp_path, capfd):
    before = logging.get_verbosity()
    save_model(tiny(), tmp_path / "model.hdf5")
    load_model(tmp_path / "model.hdf5")
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == before


class Unwritable(keras.layers.Layer):
    def call(self, inputs):
        return inputs

    def get_config(self):
        raise RuntimeError("no configuration")


def test_a_failed_save_leaves_the_existing_file(tmp_path):
    path = tmp_path / "model.hdf5"
    inputs = keras.Input((4,))
    broken = keras.Model(inputs, Unwritable()(layers.Dense(2)(inputs)))
    verbosity = logging.get_verbosity()
    with pytest.raises(RuntimeError, match="no configuration"):
        save_model(broken, path)
    assert list(tmp_path.iterdir()) == []
    assert logging.get_verbosity() == verbosity

    save_model(tiny(), path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="no configuration"):
        save_model(broken, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_training_state_comes_back_with_its_optimizer(tmp_path):
    path = tmp_path / "state.hdf5"
    model = tiny()
    model.compile(keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError())
    x, y = np.ones((8, 4), np.float32), np.zeros((8, 2), np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    save_training(model, path, {"epoch": 2, "best": None})

    assert read_training_state(path) == {"epoch": 2, "best": None}
    loaded = load_model(path)
    optimizer = keras.optimizers.Adam(0.01)
    restore_training(path, optimizer, loaded)
    assert int(optimizer.iterations) == 2 and len(optimizer.variables) == 6
    for one, other in zip(optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    loaded.compile(optimizer, keras.losses.MeanSquaredError())
    # Both continue alike.
    for one in (model, loaded):
        one.fit(x, y, epochs=1, verbose=0)
    np.testing.assert_allclose(loaded.get_weights()[0], model.get_weights()[0], atol=1e-6)


def loss_scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=64.0)


def test_a_training_state_comes_back_with_its_loss_scale_and_in_another_precision(tmp_path):
    path = tmp_path / "state.hdf5"
    model = tiny()
    model.compile(loss_scaled(), "mse")
    x, y = np.ones((8, 4), np.float32), np.zeros((8, 2), np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    model.optimizer.dynamic_scale.assign(128.0)
    save_training(model, path, {})

    again, plain = loss_scaled(), keras.optimizers.Adam(0.01)
    for optimizer in (again, plain):
        restore_training(path, optimizer, load_model(path))
        assert int(optimizer.iterations) == 2
    assert float(again.dynamic_scale) == 128 and int(again.step_counter) == 2
    inner = model.optimizer.inner_optimizer.variables
    for one, two, expected in zip(
        again.inner_optimizer.variables, plain.variables, inner, strict=True
    ):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(two, expected)

    # The other way round: trained without loss scaling, resumed with it.
    model.compile(plain, "mse")
    save_training(model, path, {})
    resumed = loss_scaled()
    restore_training(path, resumed, load_model(path))
    assert int(resumed.iterations) == 2 and float(resumed.dynamic_scale) == 64


@pytest.mark.parametrize("suffix", [".hdf5", ".keras"])
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_the_file_is_in_float32_whatever_the_precision(tmp_path, precision, suffix):
    network = siamese_network(embedding_model("base_cnn", 16, embedding_size=8))
    plain, mixed = tmp_path / f"plain{suffix}", tmp_path / f"mixed{suffix}"
    save_model(network, plain)
    set_precision(network, precision)
    save_model(network, mixed)
    assert precision in {layer.dtype_policy.name for layer in network._flatten_layers()}
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    loaded = keras.models.load_model(mixed, compile=False)  # as without this package
    assert {layer.dtype_policy.name for layer in loaded._flatten_layers()} == {"float32"}
    pair = [pictures, pictures[::-1]]
    np.testing.assert_array_equal(loaded(pair), load_model(plain)(pair))


def test_a_model_with_a_custom_loss_is_loaded(tmp_path):
    def my_loss(y_true, y_pred):
        return keras.ops.mean(y_pred)

    model = tiny()
    model.compile("adam", my_loss)
    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        loaded = load_model(tmp_path / name)
        np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def lambda_model(path):
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Lambda(lambda x: x * 2)(inputs)).save(path)


def wrong_name(path):
    save_model(tiny(), path.with_name("right.hdf5"))
    shutil.move(path.with_name("right.hdf5"), path)


def cut(path):
    save_model(tiny(), path)
    os.truncate(path, path.stat().st_size // 2)


def only_weights(path):
    tiny().save_weights(path.with_name("x.weights.h5"))
    shutil.move(path.with_name("x.weights.h5"), path)


def plain_hdf5(path):
    with h5py.File(path, "w") as file:
        file["numbers"] = [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("gone.hdf5", lambda path: None, "no such model file"),
        ("folder.keras", lambda path: path.mkdir(), "no such model file"),
        ("empty.hdf5", lambda path: path.write_bytes(b""), "cannot be loaded"),
        ("empty.keras", lambda path: path.write_bytes(b""), "cannot be loaded"),
        ("text.hdf5", lambda path: path.write_text("model"), "cannot be loaded"),
        ("pickle.keras", lambda path: path.write_bytes(pickle.dumps({})), "cannot be loaded"),
        ("cut.hdf5", cut, "cannot be loaded"),
        ("cut.keras", cut, "cannot be loaded"),
        ("weights.h5", only_weights, "cannot be loaded"),
        ("plain.h5", plain_hdf5, "cannot be loaded"),
        ("lambda.keras", lambda_model, "cannot be loaded"),
        ("lambda.h5", lambda_model, "cannot be loaded"),
        ("hdf5.keras", wrong_name, "holds HDF5; name it .hdf5"),
        ("model.pb", lambda path: path.write_bytes(b"\x08\x01"), "cannot be loaded"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, name, make, said):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=said) as raised:
        load_model(path)
    (line,) = raised.value.lines
    assert line.startswith(str(path)) and "\n" not in line and "\x1b" not in line


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("gone.hdf5", lambda path: None, "nothing to resume"),
        ("text.hdf5", lambda path: path.write_text("model"), "holds no training state"),
        ("cut.hdf5", cut, "holds no training state"),
        ("model.hdf5", lambda path: save_model(tiny(), path), "holds no training state"),
    ],
)
def test_a_file_without_training_state_is_refused_in_one_line(tmp_path, name, make, said):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=said) as raised:
        read_training_state(path)
    assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]
