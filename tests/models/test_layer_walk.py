from __future__ import annotations

import keras
import numpy as np
import pytest

from siamese.models.embedding_model import embedding_model
from siamese.models.layer_walk import freeze_batch_norm

pytestmark = pytest.mark.slow


def test_batch_norm_is_frozen_in_nested_models():
    model = embedding_model("MobileNet", 32, weights=None)
    outer = keras.Sequential([model])
    freeze_batch_norm(outer)
    kinds = {type(layer): layer.trainable for layer in model.layers[2]._flatten_layers()}
    assert kinds[keras.layers.BatchNormalization] is False
    assert kinds[keras.layers.Conv2D] is True
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(model(pictures, training=True), model(pictures), atol=1e-5)
