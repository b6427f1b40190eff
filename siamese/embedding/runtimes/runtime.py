"""Runtimes execute a model on square pictures; `KerasRuntime` runs a Keras model as it is."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import to_network_input

if TYPE_CHECKING:
    import keras

RuntimeName = Literal["auto", "openvino", "tensorflow"]
"""The values of `--runtime`; "auto" is OpenVINO on a CPU and TensorFlow on a GPU."""

PrecisionName = Literal["auto", "float32", "bfloat16"]
"""The values of `--precision`; "auto" is the fastest that gives the vectors of float32."""


class Runtime(Protocol):
    """A model that is ready to run, from any number of threads at the same time.

    Attributes
    ----------
    name : {"openvino", "tensorflow"}
    precision : {"float32", "bfloat16", "mixed_float16"}
        The number format of the computation; "mixed_float16" only on a GPU.
    """

    name: str
    precision: str

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures.

        Parameters
        ----------
        squares : ndarray of uint8, shape (n, s, s, 3)
            Any number of pictures, also none.

        Returns
        -------
        ndarray of float32, shape (n, d)
            Vectors of length 1.
        """


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
