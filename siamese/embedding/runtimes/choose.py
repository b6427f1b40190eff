"""Choose the runtime for a model and open it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from siamese.embedding.runtimes.runtime import KerasRuntime, PrecisionName, Runtime, RuntimeName
from siamese.errors import InputError

if TYPE_CHECKING:
    import keras

    from siamese.models.facts import ModelFacts


def open_runtime(
    load_model: Callable[[], keras.Model],
    facts: ModelFacts,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "auto",
) -> Runtime:
    """Open a runtime for a model, loading the Keras model only if it is needed.

    With "auto", a note is printed to standard error if OpenVINO cannot be used or bfloat16 is too
    inaccurate. Raises `InputError` if a requested runtime or precision is not available.
    """
    from siamese.models.devices import has_gpu

    automatic = runtime == "auto"
    if runtime == "tensorflow" or (automatic and (has_gpu() or _keras_backend() != "tensorflow")):
        return _open_keras(load_model(), precision)
    if _keras_backend() != "tensorflow":
        raise InputError("--runtime openvino: needs TensorFlow models; unset KERAS_BACKEND")
    if find_spec("openvino") is None:
        if not automatic:
            raise InputError("--runtime openvino: is not installed; pip install openvino")
        _warn_missing_openvino()
        return _open_keras(load_model(), precision)
    from siamese.embedding.runtimes.openvino_runtime import open_openvino

    try:
        return open_openvino(load_model, facts, precision)
    except InputError:
        raise
    except Exception as error:  # OpenVINO raises several types, with multi-line messages
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        problem = f"{facts.name}: OpenVINO cannot run this model ({reason[:200]})"
        if not automatic:
            raise InputError(f"{problem}; use --runtime tensorflow") from error
        print(f"{problem}; using TensorFlow, which is slower", file=sys.stderr)
        return _open_keras(load_model(), precision)


def needs_keras(runtime: RuntimeName) -> bool:
    """Return whether the Keras model is needed even if a converted model is cached."""
    from siamese.models.devices import may_have_gpu

    is_preferred = runtime == "tensorflow" or (runtime == "auto" and may_have_gpu())
    return is_preferred or _keras_backend() != "tensorflow" or find_spec("openvino") is None


def _open_keras(model: keras.Model, precision: PrecisionName) -> Runtime:
    from siamese.models.devices import choose_embedding_precision
    from siamese.models.precision import set_precision

    if precision == "auto":
        return KerasRuntime(model, choose_embedding_precision())
    set_precision(model, "mixed_bfloat16" if precision == "bfloat16" else "float32")
    return KerasRuntime(model, precision)


def _keras_backend() -> str:
    """Return the name of Keras's backend, without importing Keras."""
    if "keras" in sys.modules:
        import keras

        return keras.backend.backend()
    return os.environ.get("KERAS_BACKEND", "tensorflow")


@cache  # print only once per process
def _warn_missing_openvino() -> None:
    print(
        "OpenVINO is not installed; using TensorFlow, which is slower (pip install openvino)",
        file=sys.stderr,
    )
