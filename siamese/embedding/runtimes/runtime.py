"""Runtimes run a model on square pictures; `KerasRuntime` does so with Keras."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import to_network_input

if TYPE_CHECKING:
    import keras

RuntimeName = Literal["auto", "openvino", "tensorflow"]
"""Accepted values of `--runtime`; "auto" selects OpenVINO on a CPU and TensorFlow on a GPU."""

PrecisionName = Literal["auto", "float32", "bfloat16"]
"""Accepted values of `--precision`; "auto" selects the fastest that is accurate enough."""


class Runtime(Protocol):
    """Interface of loaded models that several threads may run at the same time.

    Attributes
    ----------
    name : {"openvino", "tensorflow"}
    precision : {"float32", "bfloat16", "mixed_float16"}
        Number format used in the computation; "mixed_float16" only on a GPU.
    """

    name: str
    precision: str

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures.

        Parameters
        ----------
        squares : ndarray of uint8, shape (n, s, s, 3)
            RGB pictures; n may be 0.

        Returns
        -------
        ndarray of float32, shape (n, d)
            Unit-length vectors, in the order of `squares`.
        """


class KerasRuntime:
    """Runtime for a Keras model whose layers are already set to `precision`."""

    name = "tensorflow"

    def __init__(self, model: keras.Model, precision: str) -> None:
        self.precision = precision
        self._model = model
        # The first call compiles the model, which is not thread-safe. Running later calls in
        # parallel would gain nothing: each one keeps all cores, or the GPU, busy.
        self._lock = Lock()

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures; see `Runtime.embed_squares`."""
        count = len(squares)
        if count == 0:
            return np.empty((0, self._model.output_shape[1]), np.float32)
        # Keras recompiles for each new batch size, so pad to 1, 2, 4, 8, 16, 24, 32 and so on.
        padded = 1 << (count - 1).bit_length() if count <= 8 else -(-count // 8) * 8
        batch = np.zeros((padded, *squares.shape[1:]), np.float32)
        batch[:count] = to_network_input(squares)
        with self._lock:
            return self._model.predict_on_batch(batch)[:count]
