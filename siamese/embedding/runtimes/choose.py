"""What runs a model, behind one small protocol: OpenVINO on a CPU, or TensorFlow."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from siamese.embedding.runtimes.runtime import PrecisionName, Runtime, RuntimeName
from siamese.errors import InputError

if TYPE_CHECKING:
    import keras

    from siamese.models.facts import ModelFacts

__all__ = ["PrecisionName", "Runtime", "RuntimeName", "keras_needed", "open_runtime"]

_REMEDY = "pip install openvino"


def open_runtime(
    load: Callable[[], keras.Model],
    facts: ModelFacts,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "auto",
) -> Runtime:
    """Make a model ready to run.

    What is not as one would expect (OpenVINO is missing, cannot run the model, or not in the
    precision that is usual) is said on standard error, where "auto" finds another way.

    Parameters
    ----------
    load : gives the model; called where it is needed, which it is not where OpenVINO has kept its
        own form of it

    Raises
    ------
    InputError
        What is asked for by name cannot be had.
    """
    from siamese.models.devices import has_gpu

    automatic = runtime == "auto"
    if runtime == "tensorflow" or (automatic and has_gpu()):
        return _keras(load(), precision)
    if _backend() != "tensorflow":
        if automatic:
            return _keras(load(), precision)
        raise InputError("--runtime openvino: takes TensorFlow models; unset KERAS_BACKEND")
    if find_spec("openvino") is None:
        if not automatic:
            raise InputError(f"--runtime openvino: is not installed; {_REMEDY}")
        _say_missing()
        return _keras(load(), precision)
    from siamese.embedding.runtimes.openvino_runtime import open_openvino

    try:
        ready, note = open_openvino(load, facts, precision)
    except InputError:
        raise
    except Exception as error:  # OpenVINO raises its own and RuntimeError, of several lines
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        problem = f"{facts.name}: OpenVINO cannot run it ({reason[:200]})"
        if not automatic:
            raise InputError(f"{problem}; take --runtime tensorflow") from error
        print(f"{problem}: TensorFlow does, more slowly", file=sys.stderr)
        return _keras(load(), precision)
    if note is not None:
        print(note, file=sys.stderr)
    return ready


def keras_needed(runtime: RuntimeName) -> bool:
    """Whether a model must be loaded even where OpenVINO has kept its own form of it."""
    from siamese.models.devices import gpu_conceivable

    if runtime == "tensorflow" or (runtime == "auto" and gpu_conceivable()):
        return True
    return _backend() != "tensorflow" or find_spec("openvino") is None


def _keras(model: keras.Model, precision: PrecisionName) -> Runtime:
    from siamese.embedding.runtimes.keras_runtime import KerasRuntime
    from siamese.models.devices import embedding_precision
    from siamese.models.precision import set_precision

    if precision == "auto":
        return KerasRuntime(model, embedding_precision())
    set_precision(model, "mixed_bfloat16" if precision == "bfloat16" else "float32")
    return KerasRuntime(model, precision)


def _backend() -> str:
    """Keras' backend; where it is not loaded, what is kept decides, and any would do."""
    if "keras" in sys.modules:
        import keras

        return keras.backend.backend()
    return os.environ.get("KERAS_BACKEND", "tensorflow")


@cache
def _say_missing() -> None:
    """Once a process: it is the same for every model."""
    print(f"OpenVINO is not installed: TensorFlow embeds, more slowly; {_REMEDY}", file=sys.stderr)
