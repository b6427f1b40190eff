from __future__ import annotations

import os
import subprocess
import sys

import pytest

from siamese.utils import keras_import

QUIET = """
import sys
import siamese
assert siamese.PairGenerator and siamese.Recipe
assert "keras" in sys.modules
siamese.Embedder.pretrained(picture_size=32)
print("stderr works again", file=sys.stderr)
"""


@pytest.mark.slow
def test_import_and_first_model_print_nothing() -> None:
    # Only a new process imports TensorFlow for the first time.
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "stderr works again\n")


def test_failed_import_shows_what_was_suppressed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> None:
        os.write(2, b"a message from C++\n")
        raise ImportError(f"no {name} here")

    monkeypatch.setattr(keras_import, "import_module", fail)
    with pytest.raises(ImportError, match="no tensorflow here"):
        keras_import.import_keras()
    print("stderr works again", file=sys.stderr, flush=True)
    assert capfd.readouterr() == ("", "a message from C++\nstderr works again\n")
