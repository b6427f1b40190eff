"""Memory that extends the current batch by embeddings from earlier batches."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("siamese")
class CrossBatchMemory(layers.Layer):
    """Layer that appends the embeddings of the latest batches, newest first, to the current ones.

    In training, it maps embeddings of shape (n, d) to (n + m, d); no gradient flows through the m
    remembered rows. In inference, it returns its input unchanged. After each training batch::

        memory = concat([batch, memory])[:m]

    The layer is not part of a checkpoint.

    Parameters
    ----------
    size : int
        Number of embeddings to remember, m; must be a multiple of the batch size.

    References
    ----------
    X. Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.size = size

    def build(self, input_shape: Any) -> None:
        self.memory = self.add_weight(
            name="memory", shape=(self.size, input_shape[-1]), initializer="zeros", trainable=False
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        # Read the memory before overwriting it.
        extended = ops.concatenate([inputs, self.memory])
        self.memory.assign(ops.stop_gradient(extended)[: self.size])
        return extended

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
