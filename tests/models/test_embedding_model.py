from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from siamese.errors import InputError
from siamese.models.checkpoints import load_model, save_model
from siamese.models.embedding_model import (
    EMBEDDING_MODEL,
    extract_embedding_model,
    siamese_network,
)

pytestmark = pytest.mark.slow

SOMEWHERE = Path("some.hdf5")


def random_pictures(n=4, size=32):
    return np.random.default_rng(0).uniform(-1, 1, (n, size, size, 3)).astype(np.float32)


def test_embeddings_have_length_one(network):
    model = network.get_layer(EMBEDDING_MODEL)
    vectors = np.asarray(model(random_pictures()))
    assert vectors.shape == (4, 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_network_computes_the_distance_of_the_embeddings(network):
    model = network.get_layer(EMBEDDING_MODEL)
    anchors, others = random_pictures(), random_pictures()[::-1]
    got = np.asarray(network([anchors, others]))
    one, other = np.asarray(model(anchors)), np.asarray(model(others))
    assert got.shape == (4,)
    np.testing.assert_allclose(got, np.linalg.norm(one - other, axis=1), atol=1e-5)
    assert got.max() > 1e-3
    np.testing.assert_allclose(network([anchors, anchors]), 0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".hdf5", ".h5", ".keras"])
def test_a_saved_network_answers_the_same(network, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_model(network, path)
    loaded = load_model(path)
    pictures = random_pictures()
    pair = [pictures, pictures[::-1]]
    np.testing.assert_array_equal(loaded(pair), network(pair))
    np.testing.assert_array_equal(
        extract_embedding_model(loaded, path)(pictures),
        network.get_layer(EMBEDDING_MODEL)(pictures),
    )


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
def test_the_vectors_of_any_model_get_length_one(normalised, inside, tmp_path):
    model = small(normalised=normalised, name=EMBEDDING_MODEL if inside else "theirs")
    taken = extract_embedding_model(siamese_network(model) if inside else model, SOMEWHERE)
    pictures = random_pictures()
    raw, vectors = np.asarray(model(pictures)), np.asarray(taken(pictures))
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    # In a checkpoint it is found again, unchanged.
    path = tmp_path / "again.hdf5"
    save_model(siamese_network(taken), path)
    again = extract_embedding_model(load_model(path), path)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in taken.layers]
    np.testing.assert_allclose(again(pictures), vectors, atol=1e-6)


def test_a_sequential_model_is_taken():
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(3, use_bias=False)]
    )
    vectors = extract_embedding_model(model, SOMEWHERE)(random_pictures())
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
def test_a_model_that_is_no_embedding_model_is_refused_in_one_line(build):
    with pytest.raises(InputError, match=r"some\.hdf5: is not an embedding model") as raised:
        extract_embedding_model(build(), SOMEWHERE)
    assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]
