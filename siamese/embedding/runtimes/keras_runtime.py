"""Run a Keras model as it is."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import to_network_input

if TYPE_CHECKING:
    import keras


class KerasRuntime:
    """A Keras model whose layers already have the precision; see `Runtime`."""

    name = "tensorflow"

    def __init__(self, model: keras.Model, precision: str) -> None:
        self.precision = precision
        self._model = model
        # Two threads must not be in the first call at once, which compiles the model. Later calls
        # gain nothing from threads either: each keeps all cores, or the GPU, busy.
        self._lock = Lock()

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures; see `Runtime.embed_squares`."""
        count = len(squares)
        if count == 0:
            return np.empty((0, self._model.output_shape[1]), np.float32)
        # Keras compiles every batch size, so pad to 1, 2, 4, 8, 16, 24, 32 and so on.
        padded = 1 << (count - 1).bit_length() if count <= 8 else -(-count // 8) * 8
        batch = np.zeros((padded, *squares.shape[1:]), np.float32)
        batch[:count] = to_network_input(squares)
        with self._lock:
            return self._model.predict_on_batch(batch)[:count]
