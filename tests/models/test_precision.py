from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from siamese.models.embedding_model import EMBEDDING_MODEL, embedding_model, siamese_network
from siamese.models.precision import in_float32, set_precision

pytestmark = pytest.mark.slow


def random_pictures(n=4, size=32):
    return np.random.default_rng(0).uniform(-1, 1, (n, size, size, 3)).astype(np.float32)


def policies(model):
    """Return the precision of each layer, also in nested models."""
    return {
        layer.name: layer.dtype_policy.name
        for layer in model._flatten_layers()
        if not isinstance(layer, keras.Model)
    }


@pytest.fixture(scope="module", params=["base_cnn", "EfficientNetLite0"])
def network(request):
    keras.utils.set_random_seed(0)
    return siamese_network(embedding_model(request.param, 32))


@pytest.mark.parametrize(
    ("precision", "cosine"), [("mixed_float16", 0.9999), ("mixed_bfloat16", 0.995)]
)
def test_the_vectors_are_close_in_another_precision_and_equal_when_set_back(
    network, precision, cosine
):
    model = network.get_layer(EMBEDDING_MODEL)
    pictures = random_pictures()
    before = np.asarray(model(pictures))
    set_precision(network, precision)
    conv = next(layer for layer in model.layers[2].layers if isinstance(layer, layers.Conv2D))
    assert str(conv(np.ones((1, 8, 8, conv.kernel.shape[2]))).dtype.name) == precision[6:]
    assert all(weight.dtype == "float32" for weight in network.weights)
    vectors = np.asarray(model(pictures))
    assert vectors.dtype == np.float32 and (vectors != before).any()
    assert cosine < (vectors * before).sum(axis=1).min()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.asarray(network([pictures, pictures])).dtype == np.float32
    set_precision(network, "float32")
    np.testing.assert_array_equal(model(pictures), before)


def test_a_compiled_function_is_compiled_again():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3)])
    pictures = random_pictures(size=16)
    before = model.predict_on_batch(pictures)
    set_precision(model, "mixed_bfloat16")
    assert (model.predict_on_batch(pictures) != before).any()
    set_precision(model, "float32")
    np.testing.assert_array_equal(model.predict_on_batch(pictures), before)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_the_steps_of_training_are_close_in_another_precision(precision):
    model = embedding_model("base_cnn", 16)
    start = model.get_weights()
    target = np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32)

    def moved(precision):
        model.set_weights(start)
        set_precision(model, precision)
        model.compile(keras.optimizers.SGD(1.0), "mse", auto_scale_loss=False, run_eagerly=True)
        model.train_on_batch(random_pictures(size=16), target)
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
    # Each of the 256 grey levels is a different input to the backbone.
    scaling = network.get_layer(EMBEDDING_MODEL).get_layer("scaling")
    levels = np.arange(256, dtype=np.float32).repeat(3).reshape(1, 16, 16, 3) / 127.5 - 1
    assert len(np.unique(np.asarray(scaling(levels))[..., 0])) == 256


def test_a_layer_with_a_precision_of_its_own_keeps_it():
    inputs = keras.Input((4,))
    wide = layers.Dense(3, dtype="float64")
    model = keras.Model(inputs, layers.Dense(2)(wide(inputs)))
    set_precision(model, "mixed_bfloat16")
    assert policies(model)[wide.name] == "float64"
    assert model.layers[-1].dtype_policy.name == "mixed_bfloat16"


def test_in_float32_within_the_block():
    network = siamese_network(embedding_model("base_cnn", 16))
    set_precision(network, "mixed_float16")
    before = policies(network)
    with pytest.raises(RuntimeError), in_float32(network):
        assert set(policies(network).values()) == {"float32"}
        raise RuntimeError
    assert policies(network) == before and "mixed_float16" in before.values()
