"""A model on a CPU by OpenVINO: bytes in, each picture a request of its own.

One picture a request, as many requests at once as the processor has streams: any number of
pictures is then the same compiled model. EfficientNet-Lite0 took 12.8 ms of a processor a picture
that way, 15.0 in batches of 32 (two Zen 3 cores, float32).
"""

from __future__ import annotations

import os
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import square_picture, to_network_input
from siamese.embedding.parity import LEAST_COSINE, least_cosine, sample_pictures
from siamese.embedding.runtimes.openvino_bfloat16 import early_in_float32
from siamese.embedding.runtimes.openvino_cache import (
    BFloat16,
    BFloat16Layers,
    keep_bfloat16,
    kept_model,
    known_bfloat16,
)
from siamese.embedding.runtimes.openvino_convert import convert_model, frozen, keep, read_kept
from siamese.errors import InputError
from siamese.utils.threads import count_cores

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import openvino

    from siamese.embedding.runtimes.runtime import PrecisionName
    from siamese.models.facts import ModelFacts

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_LEAST_OF_SAMPLES = 0.9996
"""What the seven sample pictures must have in bfloat16, so that all others have LEAST_COSINE.

1 - cosine of the worst of 5,421 photos was 2.1 to 3.3 times that of the worst sample, in four forms
of EfficientNet-Lite0.
"""
_FIRST_TENSOR = Lock()


class ParityError(Exception):
    """OpenVINO's vectors are not those of Keras."""


class OpenVinoRuntime:
    """See `siamese.embedding.runtimes.runtime.Runtime`.

    Parameters
    ----------
    model : uint8 (1, s, s, 3) → float32 (1, d)
    precision : to compute in
    """

    name = "openvino"

    def __init__(self, model: openvino.Model, precision: str) -> None:
        import openvino

        self.precision = precision
        hints = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        if count_cores() < (os.cpu_count() or 1):  # it would count those that a quota forbids
            hints["INFERENCE_NUM_THREADS"] = str(count_cores())
        self._compiled = openvino.Core().compile_model(model, "CPU", hints)
        self._embedding_size: int = self._compiled.output().shape[1]
        # Twice as many as run at once, so that there is always a next one to begin.
        self._at_once = 2 * self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._free: list[Any] = []

    def vectors(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = np.empty((len(squares), self._embedding_size), np.float32)
        running: deque[tuple[int, Any]] = deque()

        def finished() -> Any:
            row, request = running[0]
            request.wait()
            vectors[row] = request.get_output_tensor(0).data[0]
            running.popleft()
            return request

        try:
            for row in range(len(squares)):
                request = finished() if len(running) == self._at_once else self._free_request()
                request.start_async({0: squares[row : row + 1]}, share_inputs=True)
                running.append((row, request))
            while running:
                self._free.append(finished())
        finally:  # pictures are not copied, and so must outlive what reads them
            for _, request in running:
                request.wait()
        return vectors

    def _free_request(self) -> Any:
        """One that is in no thread's hands; they are small, so that none waits for another's."""
        try:
            return self._free.pop()
        except IndexError:
            return self._compiled.create_infer_request()


def open_openvino(
    load: Callable[[], keras.Model], facts: ModelFacts, precision: PrecisionName
) -> tuple[OpenVinoRuntime, str | None]:
    """Convert a model, or take the one that is kept, and make it ready in a precision.

    Parameters
    ----------
    load : gives the model; called where none is kept

    Returns
    -------
    the runtime, and what there is to say of its precision

    Raises
    ------
    InputError
        bfloat16 is asked of a processor without it.
    ParityError
        In float32 already, vectors of a few photos are not those of Keras.
    Exception
        OpenVINO's own, where it cannot convert or compile the model.
    """
    import openvino

    # Two threads that make a process' first tensor at once hang for ever: one has the GIL and waits
    # for the other's C++ static, which waits for the GIL (seen with 2026.4).
    with _FIRST_TENSOR:
        openvino.Tensor(np.empty(1, np.uint8))
    has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and not has_bfloat16:
        raise InputError(
            "--precision bfloat16: this processor has no units for it; leave the flag out"
        )
    path = kept_model(facts)
    if (ready := read_kept(path)) is None:
        function = frozen(load())
        ready = convert_model(function)
        _require_parity(OpenVinoRuntime(ready, "float32"), function, facts.picture_size)
        keep(ready, path)
    if precision == "bfloat16":
        return OpenVinoRuntime(ready, precision), None
    if precision == "float32" or not has_bfloat16:
        return OpenVinoRuntime(ready, "float32"), None
    found = known_bfloat16(facts) or _find_bfloat16(ready, facts)
    if found.layers != "none":
        return _in_bfloat16(ready, found.layers), None
    return OpenVinoRuntime(ready, "float32"), (
        f"{facts.name}: embeds in float32, because in bfloat16 its vectors are others (smallest "
        f"cosine {found.cosine:.5f}, at least {_LEAST_OF_SAMPLES} is needed)"
    )


def _in_bfloat16(model: openvino.Model, layers: BFloat16Layers) -> OpenVinoRuntime:
    return OpenVinoRuntime(model if layers == "all" else early_in_float32(model), "bfloat16")


def _find_bfloat16(model: openvino.Model, facts: ModelFacts) -> BFloat16:
    """How many layers may be in bfloat16: all, the late ones, or none; kept for the next time."""
    squares = _squares(facts.picture_size)
    expected = OpenVinoRuntime(model, "float32").vectors(squares)
    forms: tuple[BFloat16Layers, ...] = ("all", "late")
    for layers in forms:
        cosine = least_cosine(expected, _in_bfloat16(model, layers).vectors(squares))
        if cosine >= _LEAST_OF_SAMPLES:
            break
    else:
        layers = "none"
    found = BFloat16(layers, cosine)
    keep_bfloat16(facts, found)
    return found


def _require_parity(runtime: OpenVinoRuntime, function: Any, size: int) -> None:
    import tensorflow as tf

    squares = _squares(size)
    by_keras = [function(tf.constant(to_network_input(one[None])))[0].numpy() for one in squares]
    cosine = least_cosine(np.concatenate(by_keras), runtime.vectors(squares))
    if not cosine >= LEAST_COSINE:  # also not a number
        raise ParityError(
            f"its vectors are not those of Keras (smallest cosine {cosine:.5f}, at least "
            f"{LEAST_COSINE} is needed)"
        )


def _squares(size: int) -> NDArray[np.uint8]:
    return np.stack([square_picture(one, size) for one in sample_pictures()])
