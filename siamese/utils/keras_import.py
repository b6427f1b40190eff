"""TensorFlow and the like without their chatter, so that what a command says is what is read."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from siamese.utils.threads import count_cores


def import_keras() -> None:
    """Import TensorFlow and Keras, keeping back what their C++ parts print meanwhile.

    They write to file descriptor 2 before any setting of theirs is read. Where the import fails,
    what they wrote is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with suppress_stderr():
        tensorflow = import_module("tensorflow")
        import_module("keras")
        _limit_threads(tensorflow)
        # Here it looks for a GPU and speaks of what it misses; later it only remembers.
        tensorflow.config.list_physical_devices("GPU")


@contextlib.contextmanager
def suppress_stderr() -> Iterator[None]:
    """Keep back what is written to file descriptor 2; where the block fails, it is shown."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            kept.seek(0)
            os.write(terminal, kept.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _limit_threads(tensorflow: Any) -> None:
    """One thread a core that may be used: TensorFlow counts those too that a quota forbids."""
    if count_cores() < (os.cpu_count() or 1):
        with contextlib.suppress(RuntimeError):  # in use already, in whatever way its user wanted
            tensorflow.config.threading.set_intra_op_parallelism_threads(count_cores())
            tensorflow.config.threading.set_inter_op_parallelism_threads(count_cores())
