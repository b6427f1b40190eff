from __future__ import annotations

import numpy as np
import pytest

import siamese.training.features as module
from siamese.embedding.parity import min_cosine
from siamese.models.embedding_model import PROJECTION
from siamese.training.features import FrozenFeatures, embed_pictures
from siamese.training.pair_generator import PairGenerator
from tests.training.conftest import small_model


@pytest.fixture(scope="module")
def pairs(catalogue):
    return PairGenerator(catalogue, picture_size=16, batch_size=16)


@pytest.fixture(scope="module")
def frozen(model):
    return FrozenFeatures(model)


@pytest.fixture(scope="module")
def model():
    return small_model(embedding_size=3)


@pytest.mark.parametrize("pictures", [None, 48, 47, 17, 16, 1])
def test_pictures_are_embedded_in_their_order(model, pairs, pictures, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 16)
    vectors = embed_pictures(model, pairs, pictures)
    rows = np.arange(48 if pictures is None else pictures)
    assert vectors.dtype == np.float32 and vectors.shape == (len(rows), 3)
    np.testing.assert_allclose(vectors, np.asarray(model(pairs.prepared(rows))), atol=1e-5)


def test_frozen_features_give_the_vectors_of_the_model(model, frozen, pairs):
    for pictures in (None, 5):
        one = frozen.embed(model, pairs, pictures)
        assert min_cosine(one, embed_pictures(model, pairs, pictures)) > 0.999
    # Whatever the projection has become.
    model.get_layer(PROJECTION).kernel.assign_add(np.full((16, 3), 0.1, np.float32))
    assert min_cosine(frozen.embed(model, pairs, 48), embed_pictures(model, pairs)) > 0.999


def test_each_picture_is_embedded_once(model, frozen, catalogue, monkeypatch):
    seen = []
    squares = PairGenerator.squares

    def noted(self, rows):
        seen.extend((id(self), row) for row in rows)
        return squares(self, rows)

    monkeypatch.setattr(PairGenerator, "squares", noted)
    first, second = (PairGenerator(catalogue, picture_size=16, batch_size=16) for _ in range(2))
    for generator in (first, second, first):
        assert frozen.compute(generator).shape == (48, 16)
        frozen.embed(model, generator, 7)
    assert len(seen) == len(set(seen)) == 96
