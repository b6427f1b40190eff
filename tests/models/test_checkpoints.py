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


def tiny():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inputs))


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
        ("hdf5.keras", wrong_name, "is an HDF5 file; rename it to end in .hdf5"),
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
