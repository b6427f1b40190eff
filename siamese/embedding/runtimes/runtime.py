"""What runs a model: square pictures in, vectors out."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

RuntimeName = Literal["auto", "openvino", "tensorflow"]
"""As `--runtime` takes it; "auto" is OpenVINO on a CPU and TensorFlow on a GPU."""

PrecisionName = Literal["auto", "float32", "bfloat16"]
"""As `--precision` takes it; "auto" is the fastest whose vectors are those of float32."""


class Runtime(Protocol):
    """A model that is ready to run; any number of threads may ask it at the same time.

    Attributes
    ----------
    name : "openvino" or "tensorflow"
    precision : "float32", "bfloat16", or on a GPU "mixed_float16"
    """

    name: str
    precision: str

    def vectors(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures: uint8 (n, s, s, 3) → float32 (n, d), length 1; any n, also 0."""
