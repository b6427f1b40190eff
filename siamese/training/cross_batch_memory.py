"""What the pictures of a batch are compared with besides each other: a memory, or proxies of items.

Both layers append rows to the embeddings of a batch, as losses over relations take them (see
`siamese.losses`): (n, d) → (n + m, d). They are there while training and no part of a checkpoint.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("siamese")
class CrossBatchMemory(layers.Layer):
    """The embeddings of the last batches, the newest first.

    memory ← concat([batch, memory])[:size], after the batch was compared with it. What an embedding
    was some batches ago is close to what it is now, and costs nothing.

    X. Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020.

    Parameters
    ----------
    size : m, whole batches

    Call
    ----
    (n, d) → (n + m, d) in training, otherwise (n, d). No gradient flows into the memory.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.size = size

    def build(self, input_shape: Any) -> None:
        self.kept = self.add_weight(
            name="kept", shape=(self.size, input_shape[-1]), initializer="zeros", trainable=False
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        # Before the assignment: under TensorFlow a variable is read where it is used.
        compared = ops.concatenate([inputs, self.kept])
        self.kept.assign(ops.stop_gradient(compared)[: self.size])
        return compared

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
