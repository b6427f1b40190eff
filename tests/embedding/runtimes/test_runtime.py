from __future__ import annotations

import numpy as np
import pytest

from siamese.embedding.runtimes.runtime import KerasRuntime
from siamese.models.embedding_model import EMBEDDING_MODEL

SQUARES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model(network):
    return network.get_layer(EMBEDDING_MODEL)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 31, 40])
def test_any_number_of_pictures(model, count):
    got = KerasRuntime(model, "float32").embed_squares(SQUARES[:count])
    assert got.shape == (count, 16) and got.dtype == np.float32
    expected = model(SQUARES[:16] / np.float32(127.5) - 1)
    np.testing.assert_allclose(got[:16], expected[:count], atol=1e-5)


def test_few_shapes_are_ever_compiled(model, monkeypatch):
    shapes = set()
    predict = model.predict_on_batch

    def noted(batch: np.ndarray) -> np.ndarray:
        shapes.add(len(batch))
        return predict(batch)

    monkeypatch.setattr(model, "predict_on_batch", noted)
    runtime = KerasRuntime(model, "float32")
    for count in range(1, 33):
        runtime.embed_squares(SQUARES[:count])
    assert shapes == {1, 2, 4, 8, 16, 24, 32}
