"""Which runtime is chosen, and what is said where it is another than one would expect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import siamese.embedding.runtimes.choose as module
from siamese.embedding.embedder import Embedder
from siamese.embedding.runtimes.choose import open_runtime
from siamese.errors import InputError

SQUARES = np.zeros((2, 32, 32, 3), np.uint8)
installed = pytest.mark.skipif(module.find_spec("openvino") is None, reason="OpenVINO is missing")


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint)


@pytest.fixture
def missing(monkeypatch):
    """As if OpenVINO were not installed."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module._warn_missing_openvino.cache_clear()


def test_without_openvino_tensorflow_embeds_and_says_so_once(embedder, missing, capsys):
    for _ in range(2):
        runtime = open_runtime(lambda: embedder.model, embedder.facts)
        assert (runtime.name, runtime.precision) == ("tensorflow", "float32")
        assert runtime.embed_squares(SQUARES).shape == (2, 16)
    assert capsys.readouterr().err == (
        "OpenVINO is not installed; using TensorFlow, which is slower (pip install openvino)\n"
    )


def test_without_openvino_it_cannot_be_asked_for(embedder, missing):
    with pytest.raises(InputError, match="--runtime openvino: is not installed; pip install"):
        open_runtime(lambda: embedder.model, embedder.facts, "openvino")


def test_tensorflow_is_what_a_gpu_gets(embedder, monkeypatch):
    monkeypatch.setattr("siamese.models.devices.has_gpu", lambda: True)
    assert open_runtime(lambda: embedder.model, embedder.facts).name == "tensorflow"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_tensorflow_in_a_precision(checkpoint, precision):
    embedder = Embedder.load(checkpoint, runtime="tensorflow", precision=precision)
    exact = open_runtime(lambda: Embedder.load(checkpoint).model, embedder.facts, "tensorflow")
    squares = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    runtime = embedder.runtime
    assert (runtime.name, runtime.precision) == ("tensorflow", precision)
    cosines = (runtime.embed_squares(squares) * exact.embed_squares(squares)).sum(axis=1)
    assert cosines.min() > 0.99
    assert (cosines.min() > 0.999999) == (precision == "float32")


@installed
def test_openvino_is_what_a_cpu_gets_once(checkpoint):
    embedder = Embedder.load(checkpoint)
    assert embedder.runtime.name == "openvino"
    assert embedder.runtime is embedder.runtime


@installed
def test_a_model_that_openvino_cannot_run_is_embedded_by_tensorflow(
    embedder, tmp_path, monkeypatch, capsys
):
    def refuse(*_: object) -> None:
        raise RuntimeError("Exception from src/core.cpp:1:\nno such operation: Foo\n")

    monkeypatch.setattr("siamese.embedding.runtimes.openvino_runtime.convert_model", refuse)
    facts = replace(embedder.facts, path=str(tmp_path / "other.hdf5"))
    assert open_runtime(lambda: embedder.model, facts).name == "tensorflow"
    problem = "final_model.hdf5: OpenVINO cannot run this model (no such operation: Foo)"
    assert capsys.readouterr().err == f"{problem}; using TensorFlow, which is slower\n"
    with pytest.raises(InputError) as raised:
        open_runtime(lambda: embedder.model, facts, "openvino")
    assert raised.value.lines == [f"{problem}; use --runtime tensorflow"]
