from __future__ import annotations

import keras
import numpy as np
import pytest

from siamese.errors import InputError
from siamese.losses import ContrastiveLoss, MultiSimilarityLoss
from siamese.models.embedding_model import embedding_model, siamese_network
from siamese.training.augmentation import RandomView
from siamese.training.objective import LOSSES, compares_with_items, fitted_model, make_loss
from siamese.training.proxies import ItemProxies
from siamese.training.recipe import Recipe

MARGIN_OF = {
    "contrastive": "negative_margin",
    "triplet": "margin",
    "triplet-hard": "margin",
    "circle": "margin",
    "proxy-anchor": "margin",
    "cosface": "margin",
}


def pictures(size, count=2):
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return embedding_model("base_cnn", 32, embedding_size=8)


def halved(given):
    """Every 2 × 2 pixels averaged: what halving a picture bilinearly comes to."""
    smaller = np.zeros((len(given), 16, 16, 3), np.float32)
    for row, column in np.ndindex(16, 16):
        block = given[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        smaller[:, row, column] = block.mean(axis=(1, 2))
    return smaller


def test_smaller_pictures_go_through_the_same_weights(model):
    fitted = fitted_model(model, 16)
    assert fitted.input_shape == (None, 32, 32, 3)
    same = zip(fitted.trainable_variables, model.trainable_variables, strict=True)
    assert all(one is other for one, other in same)
    given = pictures(32)
    got = np.asarray(fitted(given))
    assert got.shape == (2, 8)
    # The network, asked for what a picture half as large is to it.
    np.testing.assert_allclose(got, np.asarray(model(halved(given))), atol=1e-5)
    assert np.abs(got - np.asarray(model(given))).max() > 1e-3


def test_of_a_siamese_network_both_pictures_are_smaller(model):
    network = siamese_network(model)
    fitted = fitted_model(network, 16)
    one, other = pictures(32, 4)[:2], pictures(32, 4)[2:]
    got = np.asarray(fitted([one, other]))
    vectors = [np.asarray(model(halved(given))) for given in (one, other)]
    np.testing.assert_allclose(got, np.linalg.norm(vectors[0] - vectors[1], axis=1), atol=1e-5)


def test_what_nothing_is_added_to_is_fitted_itself(model):
    assert fitted_model(model, 32) is model


def test_views_stand_before_and_proxies_behind(model):
    proxies = ItemProxies(3)
    fitted = fitted_model(model, 32, view=RandomView(seed=1), context=proxies)
    given = pictures(32)
    got = np.asarray(fitted(given))
    assert got.shape == (5, 8)
    np.testing.assert_allclose(got[:2], np.asarray(model(given)), atol=1e-5)
    expected = np.asarray(model(RandomView(seed=1)(given, training=True)))
    np.testing.assert_allclose(np.asarray(fitted(given, training=True))[:2], expected, atol=1e-4)
    assert np.abs(expected - got[:2]).max() > 1e-3
    own = {id(one) for one in fitted.trainable_variables}
    assert own == {id(one) for one in (*model.trainable_variables, proxies.proxies)}


def test_views_are_drawn_of_the_smaller_picture(model):
    seen = []

    class Witness(RandomView):
        def call(self, inputs, training=False):
            seen.append(tuple(inputs.shape[1:]))
            return super().call(inputs, training=training)

    fitted_model(model, 16, view=Witness())(pictures(32), training=True)
    assert set(seen) == {(16, 16, 3)}


@pytest.mark.parametrize("layer", [keras.layers.Flatten, lambda: keras.layers.Reshape((3072,))])
@pytest.mark.parametrize("of_pairs", [False, True])
def test_a_network_that_depends_on_its_size_is_told_in_one_line(layer, of_pairs):
    inputs = keras.Input((32, 32, 3))
    vectors = keras.layers.Dense(8)(layer()(inputs))
    model = keras.Model(inputs, keras.layers.UnitNormalization()(vectors))
    with pytest.raises(InputError) as raised:
        fitted_model(siamese_network(model) if of_pairs else model, 16)
    (line,) = raised.value.lines
    assert line == (
        "--first-picture-size: the network takes no pictures of 16 px, only of 32; leave it out"
    )


def test_losses_are_made_with_their_own_margins():
    assert isinstance(make_loss(Recipe()), MultiSimilarityLoss)
    for name, kind in LOSSES.items():
        loss = make_loss(Recipe(loss=name))
        assert type(loss) is type(kind.make()) and loss.get_config() == kind.make().get_config()
    for loss in (None, "contrastive"):
        of_pairs = make_loss(Recipe(sampling="random-pairs", loss=loss))
        assert isinstance(of_pairs, ContrastiveLoss) and of_pairs.margin == 1.0


@pytest.mark.parametrize("name", MARGIN_OF)
def test_a_margin_that_is_given_changes_it_alone(name):
    before = LOSSES[name].make().get_config()
    after = make_loss(Recipe(loss=name, margin=0.45)).get_config()
    assert {key for key in after if after[key] != before[key]} == {MARGIN_OF[name]}
    assert after[MARGIN_OF[name]] == 0.45


def test_random_pairs_take_a_margin():
    assert make_loss(Recipe(sampling="random-pairs", margin=0.45)).margin == 0.45


@pytest.mark.parametrize("name", [None, *sorted(set(LOSSES) - set(MARGIN_OF))])
def test_a_margin_for_a_loss_without_one_is_told_in_one_line(name):
    with pytest.raises(InputError) as raised:
        make_loss(Recipe(loss=name, margin=0.45))
    (line,) = raised.value.lines
    assert line == f"--margin with --loss {name or 'multi-similarity'}: it has none; leave it out"


def test_which_losses_compare_with_items():
    assert not compares_with_items(Recipe())
    comparing = {name for name in LOSSES if compares_with_items(Recipe(loss=name))}
    assert comparing == {"proxy-anchor", "cosface"}
