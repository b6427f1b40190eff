"""Learn one proxy for each item."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("siamese")
class ItemProxies(layers.Layer):
    """A learned vector for each item, of length 1.

    Parameters
    ----------
    items : c

    Call
    ----
    (n, d) → (n + c, d)
    """

    def __init__(self, items: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.items = items

    def build(self, input_shape: Any) -> None:
        self.proxies = self.add_weight(
            name="proxies", shape=(self.items, input_shape[-1]), initializer="he_normal"
        )

    def call(self, inputs: Any) -> Any:
        return ops.concatenate([inputs, ops.normalize(self.proxies, axis=-1)])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "items": self.items}
