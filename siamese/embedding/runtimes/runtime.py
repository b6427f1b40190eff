"""The interface of a runtime, and the names that select one."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

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
