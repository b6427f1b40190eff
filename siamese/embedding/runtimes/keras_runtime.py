"""A Keras model as it is, in whatever precision its layers have."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import to_network_input

if TYPE_CHECKING:
    import keras


class KerasRuntime:
    """See `siamese.embedding.runtimes.runtime.Runtime`."""

    name = "tensorflow"

    def __init__(self, model: keras.Model, precision: str) -> None:
        self.precision = precision
        self._model = model
        # Keras compiles on the first call, which two threads must not do at once; and one call
        # keeps all cores, or the GPU, busy anyway.
        self._one_at_a_time = Lock()

    def vectors(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(squares)
        if count == 0:
            return np.empty((0, self._model.output_shape[1]), np.float32)
        batch = np.zeros((_whole_batch(count), *squares.shape[1:]), np.float32)
        batch[:count] = to_network_input(squares)
        with self._one_at_a_time:
            return self._model.predict_on_batch(batch)[:count]


def _whole_batch(count: int) -> int:
    """The next of 1, 2, 4, 8, 16, 24, 32, …: every other size would be compiled for anew."""
    return 1 << (count - 1).bit_length() if count <= 8 else -(-count // 8) * 8
