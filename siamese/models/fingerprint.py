"""Model fingerprints, which are equal for models with the same layers and weights."""

from __future__ import annotations

import hashlib
import json

import keras

from siamese.models.layer_walk import walk_layers

_TRAINING_ONLY = ("name", "trainable", "dtype", "build_config", "quantization_config")


def compute_fingerprint(model: keras.Model) -> str:
    """Compute the SHA-256 hash of the classes, settings and weights of all layers, in order.

    The hash ignores dtypes, training-only settings, and layer names (Keras adds numbers to them).
    """
    # Hash the input shape too, because the layers of a Sequential model do not include the input.
    digest = hashlib.sha256(str(model.input_shape).encode())
    for layer in walk_layers(model):
        settings = {
            key: value
            for key, value in layer.get_config().items()
            if key not in _TRAINING_ONLY and not key.endswith(("initializer", "regularizer"))
        }
        kind = type(layer).__name__
        digest.update(json.dumps([kind, settings], sort_keys=True, default=str).encode())
        for weight in layer.get_weights():
            digest.update(str(weight.shape).encode())
            digest.update(weight.tobytes())
    return digest.hexdigest()
