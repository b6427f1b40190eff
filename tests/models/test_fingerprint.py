from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import siamese.models.devices
from siamese.embedding.embedder import Embedder
from siamese.models.backbones import PictureScaling
from siamese.models.checkpoints import load_model, save_model
from siamese.models.fingerprint import compute_fingerprint
from siamese.models.precision import set_precision


def build(size=16, scale=1.0, pooling=layers.GlobalAveragePooling2D, activation="relu", seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((size, size, 3))
    x = PictureScaling([scale] * 3, [0.0] * 3)(inputs)
    x = layers.Conv2D(4, 3, activation=activation)(x)
    return keras.Model(inputs, layers.UnitNormalization()(pooling()(x)))


def test_two_equal_models_have_the_same():
    one, other = build(), build()
    assert one.layers[1].name != other.layers[1].name, "Keras counted no name up"
    assert compute_fingerprint(one) == compute_fingerprint(other)
    assert len(compute_fingerprint(one)) == 64


@pytest.mark.parametrize("suffix", [".hdf5", ".keras"])
def test_a_loaded_model_has_the_same(tmp_path, network, suffix):
    for model in (build(), network):
        path = tmp_path / f"model{suffix}"
        save_model(model, path)
        assert compute_fingerprint(load_model(path)) == compute_fingerprint(model)


def test_a_copy_of_a_checkpoint_has_the_same(checkpoint, tmp_path):
    copy = tmp_path / "copy.hdf5"
    copy.write_bytes(checkpoint.read_bytes())
    one, other = Embedder.load(checkpoint), Embedder.load(copy)
    assert one.facts.fingerprint == other.facts.fingerprint
    assert one.facts.path != other.facts.path


def test_training_settings_do_not_change_it():
    model = build()
    before = compute_fingerprint(model)
    model.layers[2].trainable = False
    model.compile("adam", "mse")
    assert compute_fingerprint(model) == before


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_precision_does_not_change_it(network, tmp_path, precision):
    before = compute_fingerprint(network)
    path = tmp_path / "model.hdf5"
    try:
        set_precision(network, precision)
        assert compute_fingerprint(network) == before
        save_model(network, path)
    finally:
        set_precision(network, "float32")
    assert compute_fingerprint(load_model(path)) == before


def test_a_model_on_a_gpu_has_the_same_as_on_a_cpu(checkpoint, monkeypatch):
    on_cpu = Embedder.load(checkpoint)
    assert on_cpu.model.dtype_policy.name == "float32"
    monkeypatch.setattr(
        siamese.models.devices, "choose_embedding_precision", lambda: "mixed_float16"
    )
    on_gpu = Embedder.load(checkpoint)
    assert on_gpu.facts == on_cpu.facts
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    one, other = (np.asarray(each.model(pictures)) for each in (on_cpu, on_gpu))
    assert (one != other).any() and (one * other).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(
    "change",
    [
        {"size": 32},
        {"scale": 0.5},
        {"pooling": layers.GlobalMaxPooling2D},
        {"activation": "relu6"},
        {"seed": 1},
    ],
    ids=str,
)
def test_what_changes_the_vectors_changes_it(change):
    assert compute_fingerprint(build(**change)) != compute_fingerprint(build())


def test_a_single_changed_weight_changes_it():
    model = build()
    before = compute_fingerprint(model)
    kernel, bias = model.layers[2].get_weights()
    kernel[0, 0, 0, 0] += 1e-6
    model.layers[2].set_weights([kernel, bias])
    assert compute_fingerprint(model) != before


def test_the_picture_size_of_a_sequential_model_changes_it():
    def sequential(size):
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [keras.Input((size, size, 3)), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()]
        )

    assert compute_fingerprint(sequential(16)) != compute_fingerprint(sequential(32))
