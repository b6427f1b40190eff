"""GPU detection, and the choice of the precision to compute in.

Only one GPU is used: the first that TensorFlow lists. Set `CUDA_VISIBLE_DEVICES` to use another.
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
    """Return whether a GPU may be present or was requested, without importing TensorFlow."""
    if sys.platform != "linux":
        return True
    files = ("nvidia[0-9]*", "dxg", "kfd")  # NVIDIA, Windows Subsystem for Linux, AMD
    return any(any(_DEVICES.glob(name)) for name in files) or _is_gpu_requested()


def has_gpu() -> bool:
    """Return whether TensorFlow can use a GPU."""
    return may_have_gpu() and bool(_list_gpus())


def enable_memory_growth() -> None:
    """Let TensorFlow allocate GPU memory as needed; do nothing if a GPU is already in use."""
    import tensorflow as tf

    for gpu in _list_gpus():
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is already in use
            return


def choose_training_precision() -> Precision:
    """Return the training precision: the fastest that the GPU supports, or float32 on a CPU."""
    # Unlike float16, bfloat16 has the range of float32 and needs no loss scaling.
    return "mixed_bfloat16" if _compute_capability() >= (8, 0) else choose_embedding_precision()


def choose_embedding_precision() -> Precision:
    """Return the embedding precision: mixed float16 if the GPU supports it, otherwise float32."""
    # float16 has 11 significant bits, bfloat16 only 8, so float16 embeddings are more accurate.
    return "mixed_float16" if _compute_capability() >= (7, 0) else "float32"


def describe_device() -> str:
    """Describe the GPU or CPU in one line; if an NVIDIA GPU cannot be used, explain why."""
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
    """Explain why an NVIDIA GPU is not used; return None if it is neither present nor requested."""
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
    """Return the first GPU's CUDA compute capability, or (0, 0) if there is no NVIDIA GPU."""
    gpus = _list_gpus()
    return _details(gpus[0]).get("compute_capability", (0, 0)) if gpus else (0, 0)


if __name__ == "__main__":
    print(describe_device())
