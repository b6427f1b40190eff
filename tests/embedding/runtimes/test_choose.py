"""The choice of a runtime, and the note if it is not the usual one."""

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
def embedder(small_model):
    return Embedder.from_model(small_model, "final_model.hdf5")


@pytest.fixture
def missing(monkeypatch):
    """Pretend that OpenVINO is not installed."""
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module._warn_missing_openvino.cache_clear()


def test_without_openvino_tensorflow_is_used_with_one_note(embedder, missing, capsys):
    for _ in range(2):
        runtime = open_runtime(lambda: embedder.model, embedder.facts)
        assert (runtime.name, runtime.precision) == ("tensorflow", "float32")
        assert runtime.embed_squares(SQUARES).shape == (2, 16)
    assert capsys.readouterr().err == (
        "OpenVINO is not installed; using TensorFlow, which is slower (pip install openvino)\n"
    )


def test_requesting_a_missing_openvino_is_refused(embedder, missing):
    with pytest.raises(InputError, match="--runtime openvino: is not installed; pip install"):
        open_runtime(lambda: embedder.model, embedder.facts, "openvino")


def test_tensorflow_is_used_on_a_gpu(embedder, monkeypatch):
    monkeypatch.setattr("siamese.models.devices.has_gpu", lambda: True)
    assert open_runtime(lambda: embedder.model, embedder.facts).name == "tensorflow"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_tensorflow_in_a_precision(make_small_model, precision):
    model = make_small_model(16)
    embedder = Embedder.from_model(model, "small", runtime="tensorflow", precision=precision)
    exact = open_runtime(lambda: make_small_model(16), embedder.facts, "tensorflow")
    squares = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    runtime = embedder.runtime
    assert (runtime.name, runtime.precision) == ("tensorflow", precision)
    cosines = (runtime.embed_squares(squares) * exact.embed_squares(squares)).sum(axis=1)
    assert cosines.min() > 0.99
    assert (cosines.min() > 0.999999) == (precision == "float32")


@installed
def test_openvino_is_used_on_a_cpu(embedder):
    assert embedder.runtime.name == "openvino"
    assert embedder.runtime is embedder.runtime


@installed
def test_tensorflow_is_used_for_a_model_that_openvino_cannot_run(
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
