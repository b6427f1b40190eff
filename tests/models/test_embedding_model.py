from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from siamese.errors import InputError
from siamese.models.backbones import derive_scaling, find_applications, list_backbones, lite_scaling
from siamese.models.checkpoints import load_model, save_model
from siamese.models.embedding_model import (
    EMBEDDING_MODEL,
    embedding_model,
    extract_embedding_model,
    siamese_network,
)
from siamese.models.layer_walk import freeze_batch_norm
from siamese.models.precision import in_float32, set_precision

pytestmark = pytest.mark.slow

SOMEWHERE = Path("some.hdf5")


def random_pictures(n=4, size=32):
    return np.random.default_rng(0).uniform(-1, 1, (n, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "module", sorted({build.__module__ for build in find_applications().values()})
)
def test_scaling_is_what_the_application_asks_for(module):
    module = sys.modules[module]
    values = np.random.default_rng(1).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    got = np.asarray(derive_scaling(module)(values / np.float32(127.5) - 1))
    np.testing.assert_allclose(got, module.preprocess_input(values.copy()), atol=1e-3)


def test_scaling_of_the_default():
    values = np.arange(0, 256, dtype=np.float32).repeat(3).reshape(1, 16, 16, 3)
    got = np.asarray(lite_scaling()(values / np.float32(127.5) - 1))
    np.testing.assert_allclose(got, (values - 127) / 128, atol=1e-5)


def test_embeddings_have_length_one(network):
    model = network.get_layer(EMBEDDING_MODEL)
    vectors = model.predict_on_batch(random_pictures())
    assert vectors.shape == (4, 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_distance_is_that_of_the_embeddings(network):
    model = network.get_layer(EMBEDDING_MODEL)
    anchors, others = random_pictures(), random_pictures()[::-1]
    got = network.predict_on_batch([anchors, others])
    one, other = model.predict_on_batch(anchors), model.predict_on_batch(others)
    assert got.shape == (4,)
    np.testing.assert_allclose(got, np.linalg.norm(one - other, axis=1), atol=1e-5)
    assert got.max() > 1e-3
    np.testing.assert_allclose(network.predict_on_batch([anchors, anchors]), 0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".hdf5", ".h5", ".keras"])
def test_a_saved_network_answers_the_same(network, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_model(network, path)
    loaded = load_model(path)
    pictures = random_pictures()
    np.testing.assert_array_equal(
        loaded.predict_on_batch([pictures, pictures[::-1]]),
        network.predict_on_batch([pictures, pictures[::-1]]),
    )
    np.testing.assert_array_equal(
        extract_embedding_model(loaded, path).predict_on_batch(pictures),
        network.get_layer(EMBEDDING_MODEL).predict_on_batch(pictures),
    )


@pytest.mark.parametrize("backbone", ["MobileNet", "VGG16"])
def test_an_application_by_name(backbone, tmp_path):
    model = embedding_model(backbone, 32, embedding_size=8, weights=None)
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 8)
    scaling = model.get_layer("scaling").get_config()
    assert scaling["reverse_channels"] == (backbone == "VGG16")


def small(*, normalised=False, name="mine", shape=(32, 32, 3)):
    inputs = keras.Input(shape)
    x = layers.Dense(5)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs)))
    if normalised:
        x = layers.UnitNormalization()(x)
    return keras.Model(inputs, x, name=name)


def test_the_inner_model_of_a_siamese_network(network):
    assert extract_embedding_model(network, SOMEWHERE) is network.get_layer(EMBEDDING_MODEL)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("inside", [True, False], ids=["in a siamese network", "plain"])
def test_a_model_of_another_maker_gives_vectors_of_length_one(normalised, inside, tmp_path):
    model = small(normalised=normalised, name=EMBEDDING_MODEL if inside else "theirs")
    taken = extract_embedding_model(siamese_network(model) if inside else model, SOMEWHERE)
    pictures = random_pictures()
    raw = model.predict_on_batch(pictures)
    vectors = taken.predict_on_batch(pictures)
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    # Trained further and saved, it is found again as it is.
    path = tmp_path / "again.hdf5"
    save_model(siamese_network(taken), path)
    again = extract_embedding_model(load_model(path), path)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in taken.layers]
    np.testing.assert_allclose(again.predict_on_batch(pictures), vectors, atol=1e-6)


def test_a_sequential_model_is_taken():
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(3, use_bias=False)]
    )
    vectors = extract_embedding_model(model, SOMEWHERE).predict_on_batch(random_pictures())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def two_inputs():
    one, other = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    return keras.Model([one, other], layers.Flatten()(layers.Add()([one, other])))


def two_outputs():
    inputs = keras.Input((32, 32, 3))
    vector = layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, [vector, vector])


def vector_input():
    inputs = keras.Input((7,))
    return keras.Model(inputs, layers.Dense(3)(inputs))


def feature_map():
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layers.Conv2D(4, 3)(inputs))


@pytest.mark.parametrize(
    "build",
    [
        two_inputs,
        two_outputs,
        vector_input,
        feature_map,
        lambda: small(shape=(32, 48, 3)),
        lambda: small(shape=(32, 32, 1)),
        lambda: small(shape=(None, None, 3)),
        lambda: keras.Sequential([layers.Flatten()]),
    ],
    ids=[
        "two inputs",
        "two outputs",
        "vector input",
        "feature map",
        "not square",
        "grey",
        "any size",
        "never built",
    ],
)
def test_what_is_no_embedding_model_is_refused_in_one_line(build):
    with pytest.raises(InputError, match=r"some\.hdf5: is no embedding model") as raised:
        extract_embedding_model(build(), SOMEWHERE)
    assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]


def test_backbones_that_cannot_be_built_are_one_line(tmp_path):
    wrong = tmp_path / "wrong.weights.h5"
    small().save_weights(wrong)
    damaged = tmp_path / "damaged.weights.h5"
    damaged.write_bytes(b"no weights")
    for backbone, size, weights, said in (
        ("resnet5", 32, None, r"--backbone resnet5: unknown; did you mean ResNet50\?"),
        ("efficientnet-lite0", 32, None, r"unknown; did you mean EfficientNetLite0\?"),
        ("qqq", 32, None, "unknown; give EfficientNetLite0, base_cnn or a model of keras.applica"),
        ("MobileNet", 32, str(tmp_path / "none.h5"), "no such weights file"),
        ("MobileNet", 32, str(wrong), "cannot be built"),
        ("MobileNet", 32, str(damaged), "must hold this backbone's weights"),
        ("MobileNet", 16, None, "give larger pictures with --picture-size"),
        ("base_cnn", 8, "imagenet", "base_cnn needs at least 16 pixels"),
    ):
        with pytest.raises(InputError, match=said) as raised:
            embedding_model(backbone, size, weights=weights)
        assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]


def test_every_name_can_be_built_by():
    names = list_backbones()
    assert names[0] == "EfficientNetLite0" and "InceptionResNetV2" in names
    assert len(names) == len(set(names)) > 30


def policies(model):
    """The precision of each layer, also of the models inside."""
    return {
        layer.name: layer.dtype_policy.name
        for layer in model._flatten_layers()
        if not isinstance(layer, keras.Model)
    }


@pytest.mark.parametrize(
    ("precision", "cosine"), [("mixed_float16", 0.9999), ("mixed_bfloat16", 0.995)]
)
@pytest.mark.parametrize("backbone", ["base_cnn", "EfficientNetLite0"])
def test_another_precision_embeds_nearly_the_same_and_back_the_same(backbone, precision, cosine):
    keras.utils.set_random_seed(0)
    network = siamese_network(embedding_model(backbone, 32))
    model = network.get_layer(EMBEDDING_MODEL)
    pictures = random_pictures()
    before = model.predict_on_batch(pictures)
    set_precision(network, precision)
    conv = next(layer for layer in model.layers[2].layers if isinstance(layer, layers.Conv2D))
    assert str(conv(np.ones((1, 8, 8, conv.kernel.shape[2]))).dtype.name) == precision[6:]
    assert all(weight.dtype == "float32" for weight in network.weights)
    vectors = model.predict_on_batch(pictures)
    assert vectors.dtype == np.float32 and (vectors != before).any()
    assert cosine < (vectors * before).sum(axis=1).min()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert network.predict_on_batch([pictures, pictures]).dtype == np.float32
    set_precision(network, "float32")
    np.testing.assert_array_equal(model.predict_on_batch(pictures), before)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_another_precision_learns_nearly_the_same(precision):
    model = embedding_model("base_cnn", 32)
    start = model.get_weights()
    target = np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32)

    def moved(precision):
        model.set_weights(start)
        set_precision(model, precision)
        model.compile(keras.optimizers.SGD(1.0), "mse", auto_scale_loss=False)
        model.train_on_batch(random_pictures(), target)
        steps = [now - before for now, before in zip(model.get_weights(), start, strict=True)]
        return np.concatenate([step.ravel() for step in steps])

    one, other = moved("float32"), moved(precision)
    assert other.dtype == np.float32 and (one != other).any()
    assert one @ other > 0.99 * np.linalg.norm(one) * np.linalg.norm(other) > 0


def test_grey_levels_embeddings_and_distances_stay_in_float32():
    network = siamese_network(embedding_model("EfficientNetB0", 32, weights=None))
    set_precision(network, "mixed_bfloat16")
    found = policies(network)
    kept = "scaling", "rescaling", "normalization", "embedding", "distance"
    by_kind = {name.rstrip("_0123456789"): precision for name, precision in found.items()}
    assert {by_kind[name] for name in kept} == {"float32"}
    assert {by_kind[name] for name in ("stem_conv", "top_bn", "block1a_se_reduce", "pooling")} == {
        "mixed_bfloat16"
    }
    # Every one of 256 grey levels is another input to the backbone.
    scaling = network.get_layer(EMBEDDING_MODEL).get_layer("scaling")
    levels = np.arange(256, dtype=np.float32).repeat(3).reshape(1, 16, 16, 3) / 127.5 - 1
    assert len(np.unique(np.asarray(scaling(levels))[..., 0])) == 256


def test_precision_of_its_own_is_left_alone():
    inputs = keras.Input((4,))
    wide = layers.Dense(3, dtype="float64")
    model = keras.Model(inputs, layers.Dense(2)(wide(inputs)))
    set_precision(model, "mixed_bfloat16")
    assert policies(model)[wide.name] == "float64"
    assert model.layers[-1].dtype_policy.name == "mixed_bfloat16"


def test_in_float32_for_a_while():
    network = siamese_network(embedding_model("base_cnn", 32))
    set_precision(network, "mixed_float16")
    before = policies(network)
    with pytest.raises(RuntimeError), in_float32(network):
        assert set(policies(network).values()) == {"float32"}
        raise RuntimeError
    assert policies(network) == before and "mixed_float16" in before.values()


def test_batch_norm_is_frozen_wherever_it_is():
    model = embedding_model("MobileNet", 32, weights=None)
    outer = keras.Sequential([model])
    freeze_batch_norm(outer)
    kinds = {type(layer): layer.trainable for layer in model.layers[2]._flatten_layers()}
    assert kinds[keras.layers.BatchNormalization] is False
    assert kinds[keras.layers.Conv2D] is True
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(model(pictures, training=True), model(pictures), atol=1e-5)
