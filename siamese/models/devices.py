"""Find the GPU and choose the precision for it.

Only one GPU is used, the first that TensorFlow lists. Set `CUDA_VISIBLE_DEVICES` to use another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from siamese.utils.keras_import import import_keras
from siamese.utils.threads import count_cores

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]

_DEVICES = Path("/dev")


def may_have_gpu() -> bool:
    """Return whether this machine may have a GPU, or one was requested, without TensorFlow."""
    if sys.platform != "linux":
        return True
    files = ("nvidia[0-9]*", "dxg", "kfd")  # NVIDIA, Windows Subsystem for Linux, AMD
    return any(any(_DEVICES.glob(name)) for name in files) or _is_gpu_requested()


def has_gpu() -> bool:
    """Return whether TensorFlow can use a GPU."""
    return may_have_gpu() and bool(_list_gpus())


def enable_memory_growth() -> None:
    """Make TensorFlow allocate GPU memory as needed, not all of it at once.

    Call it before the first use of a GPU; later it has no effect.
    """
    import tensorflow as tf

    for gpu in _list_gpus():
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is already in use
            return


def choose_training_precision() -> Precision:
    """Return the precision to train in: the fastest that the GPU supports, float32 on a CPU.

    bfloat16 is preferred to float16: it has the range of float32 and needs no loss scaling.
    """
    capability = _compute_capability()
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def choose_embedding_precision() -> Precision:
    """Return the precision to embed in: float16 if the GPU supports it, float32 on a CPU.

    float16 is preferred to bfloat16: with 11 significant bits instead of 8, embeddings are closer
    to those in float32.
    """
    return "mixed_float16" if _compute_capability() >= (7, 0) else "float32"


def describe_device() -> str:
    """Describe the GPU in one line, or why there is none although one was requested.

    Examples
    --------
    >>> describe_device()  # doctest: +SKIP
    'GPU: NVIDIA H100 (compute capability 9.0), mixed_bfloat16'
    """
    import_keras()
    gpus = _list_gpus()
    if not gpus:
        line = f"no GPU: TensorFlow uses the CPU ({count_cores()} cores)"
        remedy = explain_missing_gpu()
        return f"{line}; {remedy}" if remedy else line
    details = _details(gpus[0])
    line = f"GPU: {details.get('device_name', gpus[0].name)}"
    if capability := details.get("compute_capability"):
        line += f" (compute capability {'.'.join(map(str, capability))})"
    if len(gpus) > 1:
        line += f", the first of {len(gpus)}"
    return f"{line}, {choose_training_precision()}"


def explain_missing_gpu() -> str | None:
    """Explain why TensorFlow cannot use an NVIDIA GPU; None if no GPU is there or requested."""
    has_nvidia = any(_DEVICES.glob("nvidia[0-9]*"))
    if not has_nvidia and not _is_gpu_requested():
        return None
    import tensorflow as tf

    if not tf.test.is_built_with_cuda():
        return (
            "an NVIDIA GPU was requested, but this TensorFlow is built for CPUs: use the GPU "
            "image, or pip install 'tensorflow[and-cuda]'"
        )
    if not has_nvidia:
        return "an NVIDIA GPU was requested, but there is none: start the container with --gpus all"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "the NVIDIA GPU is hidden by CUDA_VISIBLE_DEVICES"
    return (
        "there is an NVIDIA GPU, but TensorFlow cannot use it: check that nvidia-smi lists it, "
        "and pip install 'tensorflow[and-cuda]'"
    )


def _is_gpu_requested() -> bool:
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "void") not in ("", "none", "void")


def _list_gpus() -> list[Any]:
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")


def _details(gpu: Any) -> dict[str, Any]:
    import tensorflow as tf

    return tf.config.experimental.get_device_details(gpu)


def _compute_capability() -> tuple[int, int]:
    """Return the compute capability of the first GPU; (0, 0) without an NVIDIA GPU."""
    gpus = _list_gpus()
    return _details(gpus[0]).get("compute_capability", (0, 0)) if gpus else (0, 0)


if __name__ == "__main__":
    print(describe_device())
