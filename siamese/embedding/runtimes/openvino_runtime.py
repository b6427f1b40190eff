"""Run a model on a CPU with OpenVINO, one request per picture.

OpenVINO chooses how many requests run at once, and one compiled model serves any number of
pictures. EfficientNet-Lite0 takes 12.8 ms of processor time per picture this way, compared with
15.0 ms in batches of 32 (two Zen 3 cores, float32).
"""

from __future__ import annotations

import os
import sys
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import to_network_input
from siamese.embedding.parity import MIN_COSINE, load_sample_squares, min_cosine
from siamese.embedding.runtimes import openvino_cache
from siamese.embedding.runtimes.openvino_cache import BFloat16, BFloat16Layers
from siamese.embedding.runtimes.openvino_convert import (
    convert_model,
    freeze_model,
    mark_early_layers,
)
from siamese.errors import InputError
from siamese.utils.threads import count_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import openvino

    from siamese.embedding.runtimes.runtime import PrecisionName
    from siamese.models.facts import ModelFacts

_MIN_SAMPLE_COSINE = 0.9996
"""Minimum cosine of bfloat16 to float32 vectors on sample photos, stricter than MIN_COSINE.

The margin is for other photos: with four variants of EfficientNet-Lite0, 1 - cosine of the worst of
5,421 photos was 2.1 to 3.3 times as large as that of the worst sample photo.
"""

_FIRST_TENSOR = Lock()


class ParityError(Exception):
    """Error raised if OpenVINO's vectors differ from those of Keras."""


class OpenVinoRuntime:
    """Runtime for an OpenVINO model that maps uint8 (1, s, s, 3) to float32 (1, d)."""

    name = "openvino"

    def __init__(self, model: openvino.Model, precision: str) -> None:
        import openvino

        self.precision = precision
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint}
        if count_cores() < (os.cpu_count() or 1):  # OpenVINO ignores a container's CPU quota
            hints["INFERENCE_NUM_THREADS"] = str(count_cores())
        self._compiled = openvino.Core().compile_model(model, "CPU", hints)
        self._embedding_size: int = self._compiled.output().shape[1]
        # Twice as many as run at once, so that there is always a request ready to start.
        self._max_requests = 2 * self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._free_requests: list[Any] = []

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed square pictures; see `Runtime.embed_squares`."""
        vectors = np.empty((len(squares), self._embedding_size), np.float32)
        running: deque[tuple[int, Any]] = deque()

        def finish_oldest() -> Any:
            row, request = running[0]
            request.wait()
            vectors[row] = request.get_output_tensor(0).data[0]
            running.popleft()
            return request

        try:
            for row in range(len(squares)):
                is_full = len(running) == self._max_requests
                request = finish_oldest() if is_full else self._take_request()
                request.start_async({0: squares[row : row + 1]}, share_inputs=True)
                running.append((row, request))
            while running:
                self._free_requests.append(finish_oldest())
        finally:  # requests read `squares` without a copy, so wait for all of them
            for _, request in running:
                request.wait()
        return vectors

    def _take_request(self) -> Any:
        """Return a free request, or a new one if none is free."""
        try:
            return self._free_requests.pop()
        except IndexError:
            return self._compiled.create_infer_request()


def open_openvino(
    load_model: Callable[[], keras.Model], facts: ModelFacts, precision: PrecisionName
) -> OpenVinoRuntime:
    """Open a model with OpenVINO; print a note if "auto" rejects bfloat16 as too inaccurate.

    The Keras model is loaded only if no converted model is cached. Raises `InputError` if
    bfloat16 is requested but not supported by the processor, `ParityError` if the vectors of a
    newly converted model differ from those of Keras, and OpenVINO's errors if it cannot run it.
    """
    import openvino

    # Two threads that create a process's first tensors at once deadlock (OpenVINO 2026.4): one has
    # the GIL and waits for a C++ static that the other initialises while waiting for the GIL.
    with _FIRST_TENSOR:
        openvino.Tensor(np.empty(1, np.uint8))
    has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and not has_bfloat16:
        raise InputError("--precision bfloat16: this processor does not support it; leave it out")
    if (model := openvino_cache.read_model(facts)) is None:
        function = freeze_model(load_model())
        model = convert_model(function)
        _require_parity(OpenVinoRuntime(model, "float32"), function, facts.picture_size)
        openvino_cache.write_model(model, facts)
    if precision == "auto" and has_bfloat16:
        found = openvino_cache.read_bfloat16(facts) or _find_bfloat16(model, facts)
        if found.layers != "none":
            return _open_bfloat16(model, found.layers)
        print(
            f"{facts.name}: computing in float32, because its vectors differ in bfloat16 (smallest "
            f"cosine {found.cosine:.5f}, at least {_MIN_SAMPLE_COSINE} is needed)",
            file=sys.stderr,
        )
    return OpenVinoRuntime(model, "bfloat16" if precision == "bfloat16" else "float32")


def _open_bfloat16(model: openvino.Model, layers: BFloat16Layers) -> OpenVinoRuntime:
    return OpenVinoRuntime(model if layers == "all" else mark_early_layers(model), "bfloat16")


def _find_bfloat16(model: openvino.Model, facts: ModelFacts) -> BFloat16:
    """Measure which layers are accurate enough in bfloat16, and cache the result."""
    squares = load_sample_squares(facts.picture_size)
    expected = OpenVinoRuntime(model, "float32").embed_squares(squares)
    choices: tuple[BFloat16Layers, ...] = ("all", "late")
    for layers in choices:
        cosine = min_cosine(expected, _open_bfloat16(model, layers).embed_squares(squares))
        if cosine >= _MIN_SAMPLE_COSINE:
            break
    else:
        layers = "none"
    found = BFloat16(layers, cosine)
    openvino_cache.write_bfloat16(facts, found)
    return found


def _require_parity(runtime: OpenVinoRuntime, function: Any, size: int) -> None:
    """Raise `ParityError` if a runtime's vectors differ from those of a frozen Keras model."""
    import tensorflow as tf

    squares = load_sample_squares(size)
    inputs = [tf.constant(to_network_input(square[None])) for square in squares]
    expected = np.concatenate([function(picture)[0].numpy() for picture in inputs])
    cosine = min_cosine(expected, runtime.embed_squares(squares))
    if not cosine >= MIN_COSINE:  # unlike `<`, also true for NaN
        raise ParityError(
            f"its vectors differ from those of Keras (smallest cosine {cosine:.5f}, at least "
            f"{MIN_COSINE} is needed)"
        )
