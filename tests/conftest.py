"""Fixtures of all tests: drawn pictures, a small network, real photos, a private cache."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

# Libraries read these when they are first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Idle OpenMP threads of scikit-learn and FAISS would take the cores from the other test worker.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
from PIL import Image, ImageDraw

from siamese.data.catalogue import Catalogue

if TYPE_CHECKING:
    import keras

    from siamese.embedding.embedder import Embedder

ROOT = Path(__file__).resolve().parent.parent


def load_benchmark(name: str) -> ModuleType:
    """Import a benchmark with its folder on the path, as running it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module(name)


@pytest.fixture(scope="session")
def grocery() -> Path:
    """Return the folder of the grocery photos, for tests that need real ones."""
    folder = Path(os.environ.get("SIAMESE_GROCERY", ROOT.parent / "shared" / "data" / "grocery"))
    if not (folder / "test.json").is_file():
        pytest.skip(f"{folder}: no grocery photos; set SIAMESE_GROCERY to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep converted models out of the user's cache folder, in one that all workers share."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def open_streams() -> Iterator[None]:
    """Keep pytest's streams open when pymilvus is imported.

    The import closes all logging handlers. That of absl, which TensorFlow uses, closes its stream
    if it is not the present `sys.stderr`, such as pytest's stream while click's `CliRunner` runs.
    """
    from absl.logging import PythonHandler

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PythonHandler, "close", lambda self: None)
        yield


@pytest.fixture
def under_jax() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Return a function that runs the tests of a file again with JAX as the Keras backend."""
    if os.environ.get("KERAS_BACKEND") == "jax" or importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed, or already the backend")

    def run(file: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
            env={**os.environ, "KERAS_BACKEND": "jax"},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    return run


def draw_shape(kind: str, colour: str, rng: np.random.Generator) -> Image.Image:
    """Draw a coloured shape at a random place on white."""
    picture = Image.new("RGB", (48, 40), "white")
    x, y, half = *rng.uniform(16, 24, 2), rng.uniform(9, 14)
    corners = {"square": 4, "triangle": 3, "hexagon": 6}
    draw = ImageDraw.Draw(picture)
    if kind in corners:
        draw.regular_polygon(
            (x, y, half), corners[kind], rotation=rng.uniform(-15, 15), fill=colour
        )
    else:
        draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)
    return picture


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Return 12 items with 4 drawn pictures each; the label of an item is its shape."""
    folder = tmp_path_factory.mktemp("catalogue")
    rng = np.random.default_rng(7)
    form = {}
    for kind in ("square", "triangle", "hexagon", "disc"):
        for colour in ("red", "green", "blue"):
            item_id = f"{colour}-{kind}"
            names = [f"{item_id}-{view}.png" for view in range(4)]
            for name in names:
                draw_shape(kind, colour, rng).save(folder / name)
            form[item_id] = {"images": [{"filename": name} for name in names], "labels": [kind]}
    (folder / "items.json").write_text(json.dumps(form))
    return Catalogue.read(folder / "items.json")


@pytest.fixture(scope="session")
def network() -> keras.Model:
    """Return an untrained siamese network for pictures of 32 pixels."""
    import keras

    from siamese.models.embedding_model import embedding_model, siamese_network

    keras.utils.set_random_seed(3)
    return siamese_network(embedding_model("base_cnn", 32, embedding_size=16))


@pytest.fixture(scope="session")
def checkpoint(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of an untrained siamese network."""
    from siamese.models.checkpoints import save_model

    path = tmp_path_factory.mktemp("checkpoint") / "final_model.hdf5"
    save_model(network, path)
    return path


@pytest.fixture(scope="session")
def pretrained() -> Embedder:
    """Return the pretrained default model, which takes seconds to load."""
    from siamese.embedding.embedder import Embedder

    return Embedder.pretrained()
