"""Import TensorFlow and Keras without the messages that they print."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module

from siamese.utils.threads import count_cores


def import_keras() -> None:
    """Import TensorFlow and Keras without what their C++ code prints before any setting works."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with suppress_stderr():
        tensorflow = import_module("tensorflow")
        import_module("keras")
        if count_cores() < (os.cpu_count() or 1):  # TensorFlow ignores the quota of a container
            with contextlib.suppress(RuntimeError):  # too late: the caller already uses it
                tensorflow.config.threading.set_intra_op_parallelism_threads(count_cores())
                tensorflow.config.threading.set_inter_op_parallelism_threads(count_cores())
        # The first search for a GPU prints what is missing; later ones are silent.
        tensorflow.config.list_physical_devices("GPU")


@contextlib.contextmanager
def suppress_stderr() -> Iterator[None]:
    """Suppress what is written to file descriptor 2; show it if the block fails."""
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
