"""Learn one proxy for each item."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

PROXY_LENGTH = 0.1
"""Length of the proxies at the start. A step of Adam turns a short vector by more: a length of
0.1 amounts to ten times the learning rate of vectors of length 1."""


@keras.saving.register_keras_serializable("siamese")
class ItemProxies(layers.Layer):
    """Append a learned vector of length 1 for each item to the embeddings of a batch.

    Maps embeddings of shape (n, d) to (n + c, d). The layer is not part of a checkpoint.

    Parameters
    ----------
    items : int
        Number of items, c.

    References
    ----------
    Y. Movshovitz-Attias et al., "No Fuss Distance Metric Learning Using Proxies", ICCV 2017.
    """

    def __init__(self, items: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.items = items

    def build(self, input_shape: Any) -> None:
        self.proxies = self.add_weight(
            name="proxies", shape=(self.items, input_shape[-1]), initializer="he_normal"
        )

    def start_at_items(self, vectors: np.ndarray, item_of_row: np.ndarray) -> None:
        """Set each proxy to the mean embedding of its item, less the mean of all items.

        Parameters
        ----------
        vectors : float32 ndarray of shape (n, d)
            Embeddings of the training pictures.
        item_of_row : int ndarray of shape (n,)
            Item of each, from 0 to c − 1.
        """
        means = np.zeros((self.items, vectors.shape[1]))
        np.add.at(means, item_of_row, vectors)
        means /= np.bincount(item_of_row, minlength=self.items)[:, None]
        means -= means.mean(axis=0)
        lengths = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        self.proxies.assign((PROXY_LENGTH * means / lengths).astype(np.float32))

    def call(self, inputs: Any) -> Any:
        return ops.concatenate([inputs, ops.normalize(self.proxies, axis=-1)])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "items": self.items}
