"""Run a model on a CPU with OpenVINO, one request per picture.

As many requests run at once as OpenVINO finds best for the processor, so one compiled model serves
any number of pictures. EfficientNet-Lite0 takes 12.8 ms of processor time per picture this way, and
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
"""The cosine that the sample pictures must reach in bfloat16, so that all others reach MIN_COSINE.

For the worst of 5,421 photos, 1 - cosine was 2.1 to 3.3 times that of the worst sample, with four
variants of EfficientNet-Lite0.
"""

_FIRST_TENSOR = Lock()


class ParityError(Exception):
    """The vectors of OpenVINO differ from those of Keras."""


class OpenVinoRuntime:
    """A compiled OpenVINO model, uint8 (1, s, s, 3) → float32 (1, d); see `Runtime`."""

    name = "openvino"

    def __init__(self, model: openvino.Model, precision: str) -> None:
        import openvino

        self.precision = precision
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint}
        if count_cores() < (os.cpu_count() or 1):  # OpenVINO ignores the quota of a container
            hints["INFERENCE_NUM_THREADS"] = str(count_cores())
        self._compiled = openvino.Core().compile_model(model, "CPU", hints)
        self._embedding_size: int = self._compiled.output().shape[1]
        # Twice as many as run at once, so that the next one is always ready to start.
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
        finally:  # requests read `squares` without a copy, so they must end first
            for _, request in running:
                request.wait()
        return vectors

    def _take_request(self) -> Any:
        """Return a free request, or a new one: they are small, so no thread need wait for one."""
        try:
            return self._free_requests.pop()
        except IndexError:
            return self._compiled.create_infer_request()


def open_openvino(
    load_model: Callable[[], keras.Model], facts: ModelFacts, precision: PrecisionName
) -> OpenVinoRuntime:
    """Open a model with OpenVINO, and print a note if "auto" cannot use the processor's bfloat16.

    The Keras model is loaded only if the converted model is not in the cache. Raises `InputError`
    if the processor does not support a requested bfloat16, `ParityError` if the vectors differ from
    those of Keras, and whatever OpenVINO raises if it cannot convert or compile the model.
    """
    import openvino

    # If two threads create the first tensors of a process at once, they hang for ever: one holds
    # the GIL and waits for a C++ static of the other, which waits for the GIL (seen with 2026.4).
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
    """Measure which layers can be in bfloat16, and write the result to the cache."""
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
    """Raise `ParityError` if the vectors of a runtime differ from those of a frozen Keras model."""
    import tensorflow as tf

    squares = load_sample_squares(size)
    inputs = [tf.constant(to_network_input(square[None])) for square in squares]
    expected = np.concatenate([function(picture)[0].numpy() for picture in inputs])
    cosine = min_cosine(expected, runtime.embed_squares(squares))
    if not cosine >= MIN_COSINE:  # also if it is NaN
        raise ParityError(
            f"its vectors differ from those of Keras (smallest cosine {cosine:.5f}, at least "
            f"{MIN_COSINE} is needed)"
        )
