"""A model's identity: what it computes, whatever it is called and wherever it lies."""

from __future__ import annotations

import hashlib
import json

import keras


def compute_fingerprint(model: keras.Model) -> str:
    """SHA-256 over the layers' classes, their settings and their weights, in order.

    Names are left out, because Keras counts them up within a process, and so are initial values
    and regularisers, which do not change what a trained model answers. Preprocessing is a layer
    of the model and so a part of this. Vectors are only ever compared within one fingerprint.
    """
    # A Sequential does not count its input among its layers.
    digest = hashlib.sha256(str(model.input_shape).encode())
    _add(digest, model)
    return digest.hexdigest()


_TRAINING_ONLY = ("name", "trainable", "dtype", "build_config", "quantization_config")


def _add(digest: hashlib._Hash, model: keras.Model) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _add(digest, layer)
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
