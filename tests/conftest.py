"""What every test needs: a quiet TensorFlow, and real photos where there are some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read once, by the first import of TensorFlow and of matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def grocery() -> Path:
    """Return the folder of the grocery photos, for tests that need real ones."""
    folder = Path(os.environ.get("SIAMESE_GROCERY", ROOT.parent / "shared" / "data" / "grocery"))
    if not (folder / "test.json").is_file():
        pytest.skip(f"no grocery photos in {folder}: name their folder in SIAMESE_GROCERY")
    return folder
