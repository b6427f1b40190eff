"""Which GPU there is, and in which precision it works best.

One GPU is used: the first that TensorFlow sees (`CUDA_VISIBLE_DEVICES` chooses another).
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
    """Whether there may be a GPU, or one was asked for; told without loading TensorFlow."""
    if sys.platform != "linux":
        return True
    files = ("nvidia[0-9]*", "dxg", "kfd")  # NVIDIA's, Windows' for Linux in it, AMD's
    return any(any(_DEVICES.glob(name)) for name in files) or _gpu_wanted()


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return may_have_gpu() and bool(_gpus())


def enable_memory_growth() -> None:
    """Take memory of the GPUs as it is needed, not all of it at once; before they are first used.

    Done twice, or too late, it changes nothing.
    """
    import tensorflow as tf

    for gpu in _gpus():
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # in use already, in whatever way its user wanted
            return


def choose_training_precision() -> Precision:
    """The precision to train in: the fastest that a GPU has units for, float32 on a CPU.

    bfloat16 has the range of float32 and so needs no loss scaling, which float16 does.
    """
    capability = _compute_capability()
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def choose_embedding_precision() -> Precision:
    """The precision to embed in: float16 where a GPU has units for it, float32 on a CPU.

    Its 11 bits keep embeddings close to those of float32; bfloat16 has 8.
    """
    return "mixed_float16" if _compute_capability() >= (7, 0) else "float32"


def describe_device() -> str:
    """One line: the GPU that is used, or that there is none, and what to do if there should be."""
    import_keras()
    gpus = _gpus()
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
    """What keeps TensorFlow from an NVIDIA GPU that seems to be wanted; None where none is."""
    there = any(_DEVICES.glob("nvidia[0-9]*"))
    if not there and not _gpu_wanted():
        return None
    import tensorflow as tf

    if not tf.test.is_built_with_cuda():
        return (
            "an NVIDIA GPU is asked for, but this TensorFlow is the one for CPUs: use the GPU "
            "image, or pip install 'tensorflow[and-cuda]'"
        )
    if not there:
        return "an NVIDIA GPU is asked for, but none is here: start the container with --gpus all"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "the NVIDIA GPU is hidden by CUDA_VISIBLE_DEVICES"
    return (
        "an NVIDIA GPU is here, but TensorFlow cannot use it: see whether nvidia-smi shows it, "
        "and pip install 'tensorflow[and-cuda]'"
    )


def _gpu_wanted() -> bool:
    return os.environ.get("NVIDIA_VISIBLE_DEVICES", "void") not in ("", "none", "void")


def _gpus() -> list[Any]:
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")


def _details(gpu: Any) -> dict[str, Any]:
    import tensorflow as tf

    return tf.config.experimental.get_device_details(gpu)


def _compute_capability() -> tuple[int, int]:
    """Of the first GPU; (0, 0) without one, or where it is not NVIDIA's."""
    gpus = _gpus()
    return _details(gpus[0]).get("compute_capability", (0, 0)) if gpus else (0, 0)


if __name__ == "__main__":
    print(describe_device())
