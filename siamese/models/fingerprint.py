"""Fingerprint of a model: equal for models that compute the same vectors."""

from __future__ import annotations

import hashlib
import json

import keras


def compute_fingerprint(model: keras.Model) -> str:
    """Compute the SHA-256 of the classes, settings and weights of all layers, in order.

    It does not depend on the names of the layers, which Keras numbers within a process, nor on
    settings for training, such as initializers and regularizers. The scaling of pictures is a layer
    of the model, so it does depend on that.

    Parameters
    ----------
    model : keras.Model
        Any built model.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    # The layers of a Sequential model do not include its input.
    digest = hashlib.sha256(str(model.input_shape).encode())
    _add_layers(digest, model)
    return digest.hexdigest()


_TRAINING_ONLY = ("name", "trainable", "dtype", "build_config", "quantization_config")


def _add_layers(digest: hashlib._Hash, model: keras.Model) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _add_layers(digest, layer)
            continue
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
