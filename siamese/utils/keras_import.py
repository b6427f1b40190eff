"""Utilities to import TensorFlow and Keras without their log output."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module

from siamese.utils.threads import count_cores


def import_keras() -> None:
    """Import TensorFlow and Keras quietly, and limit TensorFlow's threads to `count_cores`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with suppress_stderr():
        tensorflow = import_module("tensorflow")
        import_module("keras")
        if count_cores() < (os.cpu_count() or 1):  # TensorFlow ignores a container's CPU quota
            with contextlib.suppress(RuntimeError):  # raised if TensorFlow is already initialised
                tensorflow.config.threading.set_intra_op_parallelism_threads(count_cores())
                tensorflow.config.threading.set_inter_op_parallelism_threads(count_cores())
        # The first call logs warnings about missing GPU libraries, so make it here.
        tensorflow.config.list_physical_devices("GPU")


@contextlib.contextmanager
def suppress_stderr() -> Iterator[None]:
    """Capture output to file descriptor 2, and print it only if the block raises an exception."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as suppressed:
        os.dup2(suppressed.fileno(), 2)
        try:
            yield
        except Exception:
            suppressed.seek(0)
            os.write(stderr, suppressed.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
