from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from siamese.data.images import square_picture
from siamese.embedding.embedder import Embedder

if TYPE_CHECKING:
    import keras


@pytest.fixture(scope="session")
def make_small_model() -> Callable[[int], keras.Model]:
    """Make a model of pictures of 32 pixels that converts and compiles in no time."""
    import keras

    def make(embedding_size: int) -> keras.Model:
        keras.utils.set_random_seed(0)
        picture = keras.Input((32, 32, 3))
        maps = keras.layers.Conv2D(2, 3, strides=4, padding="same")(picture)
        vector = keras.layers.Dense(embedding_size)(keras.layers.Flatten()(maps))
        return keras.Model(picture, keras.layers.UnitNormalization(dtype="float32")(vector))

    return make


@pytest.fixture(scope="session")
def small_model(make_small_model: Callable[[int], keras.Model]) -> keras.Model:
    """A model with vectors of 16 dimensions."""
    return make_small_model(16)


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint, precision="float32")


@pytest.fixture(scope="module")
def paths(catalogue):
    return [catalogue.path_of(picture) for picture in catalogue.pictures]


@pytest.fixture(scope="module")
def expected(embedder, paths):
    squares = np.stack([square_picture(path, 32) for path in paths])
    return embedder.model.predict(squares / np.float32(127.5) - 1, verbose=0)
