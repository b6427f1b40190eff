from __future__ import annotations

import keras
import numpy as np
import pytest

from siamese.errors import InputError
from siamese.losses import ContrastiveLoss, MultiSimilarityLoss
from siamese.models.embedding_model import embedding_model, siamese_network
from siamese.training.augmentation import RandomView
from siamese.training.objective import LOSSES, build_fitted_model, make_loss
from siamese.training.recipe import Recipe

WITH_MARGIN = ["triplet", "triplet-hard"]


def pictures(size, count=2):
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return embedding_model("base_cnn", 32, embedding_size=8)


def test_without_additions_the_model_itself_is_fitted(model):
    assert build_fitted_model(model) is model


def test_a_view_comes_first_and_a_memory_last(model):
    fitted = build_fitted_model(model, view=RandomView(seed=1), memory=2)
    given = pictures(32)
    np.testing.assert_allclose(np.asarray(fitted(given)), np.asarray(model(given)), atol=1e-5)
    expected = np.asarray(model(RandomView(seed=1)(given, training=True)))
    got = np.asarray(fitted(given, training=True))
    assert got.shape == (4, 8) and not got[2:].any(), "the memory is not empty at first"
    np.testing.assert_allclose(got[:2], expected, atol=1e-4)
    assert np.abs(expected - np.asarray(model(given))).max() > 1e-3
    assert set(map(id, fitted.trainable_variables)) == set(map(id, model.trainable_variables))


def test_the_two_pictures_of_a_pair_have_different_views(model):
    fitted = build_fitted_model(siamese_network(model), view=RandomView())
    same = pictures(32, 4)
    assert np.asarray(fitted([same, same], training=True)).min() > 1e-3
    np.testing.assert_allclose(fitted([same, same]), 0, atol=1e-5)


def test_losses_have_their_own_margins_by_default():
    assert isinstance(make_loss(Recipe()), MultiSimilarityLoss)
    for name, make in LOSSES.items():
        loss = make_loss(Recipe(loss=name))
        assert type(loss) is type(make()) and loss.get_config() == make().get_config()
    of_pairs = make_loss(Recipe(sampling="random-pairs"))
    assert isinstance(of_pairs, ContrastiveLoss) and of_pairs.margin == 1.0


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_a_margin_changes_nothing_else(name):
    before = LOSSES[name]().get_config()
    after = make_loss(Recipe(loss=name, margin=0.45)).get_config()
    assert after == {**before, "margin": 0.45} and after != before


def test_random_pairs_take_a_margin():
    assert make_loss(Recipe(sampling="random-pairs", margin=0.45)).margin == 0.45


@pytest.mark.parametrize("name", [None, *sorted(set(LOSSES) - set(WITH_MARGIN))])
def test_a_margin_for_a_loss_without_one_fails_in_one_line(name):
    with pytest.raises(InputError) as raised:
        make_loss(Recipe(loss=name, margin=0.45))
    (line,) = raised.value.lines
    loss = name or "multi-similarity"
    assert line == f"--margin with --loss {loss}: this loss has no margin; omit --margin"
