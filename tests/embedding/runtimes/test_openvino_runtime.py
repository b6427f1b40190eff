from __future__ import annotations

import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

pytest.importorskip("openvino")

import openvino

import siamese.embedding.runtimes.openvino_runtime as module
from siamese.data.images import square_picture
from siamese.embedding.embedder import Embedder
from siamese.embedding.runtimes import openvino_convert as conversion
from siamese.embedding.runtimes.openvino_cache import (
    converted_model_path,
    read_bfloat16,
    read_model,
)
from siamese.embedding.runtimes.openvino_runtime import OpenVinoRuntime, open_openvino
from siamese.embedding.runtimes.runtime import KerasRuntime
from siamese.errors import InputError

with_bfloat16_units = pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="the processor has no bfloat16",
)

SQUARES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def embedder(small_model):
    return Embedder.from_model(small_model, "final_model.hdf5", precision="float32")


@pytest.fixture(scope="module")
def runtime(embedder):
    return open_openvino(lambda: embedder.model, embedder.facts, "float32")


@pytest.fixture(scope="module")
def expected(embedder):
    return KerasRuntime(embedder.model, "float32").embed_squares(SQUARES)


@pytest.fixture
def facts(embedder, tmp_path):
    """Facts of the same model, in a folder without a cache."""
    return replace(embedder.facts, path=str(tmp_path / "final_model.hdf5"))


@pytest.fixture
def conversions(monkeypatch):
    """The number of operations of each model that was converted."""
    sizes: list[int] = []

    def convert_and_record(function):
        model = conversion.convert_model(function)
        sizes.append(len(model.get_ops()))
        return model

    monkeypatch.setattr(module, "convert_model", convert_and_record)
    return sizes


@pytest.mark.parametrize("count", [0, 1, 2, 9, 40])
def test_vectors_are_those_of_keras_in_order(runtime, expected, count):
    got = runtime.embed_squares(SQUARES[:count])
    assert got.shape == (count, 16) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected[:count], atol=1e-5)


def test_the_pretrained_default_on_photos(pretrained, capsys):
    """Every sample photo is far above the cosine that is required."""
    squares = module.load_sample_squares(224)
    by_keras = KerasRuntime(pretrained.model, "float32").embed_squares(squares)
    exact = open_openvino(lambda: pretrained.model, pretrained.facts, "float32")
    assert (exact.precision, capsys.readouterr().err) == ("float32", "")
    assert (exact.embed_squares(squares) * by_keras).sum(axis=1).min() > 0.99999


@pytest.mark.slow
def test_grocery_photos_are_those_of_keras(pretrained, grocery):
    paths = sorted(grocery.rglob("*.jpg"))[::50]
    squares = np.stack([square_picture(path, 224) for path in paths])
    by_keras = KerasRuntime(pretrained.model, "float32").embed_squares(squares)
    cosines = (pretrained.embed(paths) * by_keras).sum(axis=1)
    assert len(cosines) > 20 and cosines.min() > 0.999


def test_threads_do_not_mix_their_pictures(runtime, expected):
    failures = []

    def embed_randomly(first: int) -> None:
        rng = np.random.default_rng(first)
        for _ in range(20):
            rows = rng.integers(0, 40, rng.integers(1, 33))
            if not np.allclose(runtime.embed_squares(SQUARES[rows]), expected[rows], atol=1e-5):
                failures.append(first)

    threads = [threading.Thread(target=embed_randomly, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


FIRST_IN_THREADS = """
import sys
from threading import Barrier, Thread

import numpy as np

from siamese.embedding.embedder import Embedder

sys.setswitchinterval(1e-6)
runtime = Embedder.load(sys.argv[1], runtime="openvino", precision="float32").runtime
everyone = Barrier(8)

def ask():
    everyone.wait()
    runtime.embed_squares(np.zeros((1, 32, 32, 3), np.uint8))

threads = [Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert "keras" not in sys.modules  # converting would create tensors
"""


def test_threads_may_create_the_first_tensor_of_a_process(checkpoint):
    embedder = Embedder.load(checkpoint, runtime="openvino", precision="float32")
    assert embedder.runtime.name == "openvino"  # and the converted model is cached
    script = [sys.executable, "-c", FIRST_IN_THREADS, checkpoint]
    subprocess.run(script, check=True, timeout=60)


def test_a_vector_does_not_depend_on_the_rest_of_the_batch(runtime):
    together = runtime.embed_squares(SQUARES)
    alone = np.concatenate([runtime.embed_squares(SQUARES[row : row + 1]) for row in range(40)])
    assert together.tobytes() == alone.tobytes()


# --- the cache


def test_a_converted_model_is_cached_next_to_its_checkpoint(embedder, facts, conversions, expected):
    open_openvino(lambda: embedder.model, facts, "float32")
    path = Path(facts.path).parent / "final_model.openvino" / f"{facts.fingerprint}.zip"
    assert converted_model_path(facts) == path and path.is_file()
    again = open_openvino(lambda: embedder.model, facts, "float32")
    assert len(conversions) == 1
    np.testing.assert_allclose(again.embed_squares(SQUARES), expected, atol=1e-5)


def test_a_pretrained_model_is_cached_in_the_users_folder(embedder, monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    facts = replace(embedder.facts, path=None)
    assert (
        converted_model_path(facts)
        == tmp_path / "siamese" / "openvino" / f"{facts.fingerprint}.zip"
    )


def test_new_weights_of_a_checkpoint_replace_the_converted_model(embedder, facts, conversions):
    open_openvino(lambda: embedder.model, facts, "float32")
    trained = replace(facts, fingerprint="f" * 64)
    open_openvino(lambda: embedder.model, trained, "float32")
    assert len(conversions) == 2
    assert list(converted_model_path(facts).parent.iterdir()) == [converted_model_path(trained)]


@pytest.mark.parametrize("damage", ["cut", "empty", "a bit", "no model"])
def test_a_damaged_model_is_converted_again(embedder, facts, conversions, expected, damage):
    open_openvino(lambda: embedder.model, facts, "float32")
    path = converted_model_path(facts)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "a bit":  # in a weight, where no parser notices it
        with zipfile.ZipFile(path) as file:
            weights = file.read("model.bin")
        place = whole.index(weights[:64]) + len(weights) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("model.xml", "<net/>")
            file.writestr("model.bin", "")
    assert read_model(facts) is None
    again = open_openvino(lambda: embedder.model, facts, "float32")
    assert len(conversions) == 2
    np.testing.assert_allclose(again.embed_squares(SQUARES), expected, atol=1e-5)
    assert read_model(facts) is not None


def test_without_a_writable_folder_nothing_is_cached(embedder, facts, expected, tmp_path):
    Path(tmp_path, "final_model.openvino").write_text("in the way")
    opened = open_openvino(lambda: embedder.model, facts, "float32")
    np.testing.assert_allclose(opened.embed_squares(SQUARES), expected, atol=1e-5)


# --- precision


@pytest.fixture
def with_bfloat16(monkeypatch):
    """Simulate a processor with bfloat16; returns the error of its vectors, to be changed."""
    error = [0.0]

    class Fast(OpenVinoRuntime):
        def __init__(self, model, precision):
            super().__init__(model, "float32")
            self.precision = precision

        def embed_squares(self, squares):
            vectors = super().embed_squares(squares)
            if self.precision == "bfloat16":
                vectors[:, 0] += error[0]
            return vectors

    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "BF16"])
    monkeypatch.setattr(module, "OpenVinoRuntime", Fast)
    return error


def test_bfloat16_is_used_if_its_vectors_agree(embedder, facts, with_bfloat16, capsys):
    opened = open_openvino(lambda: embedder.model, facts, "auto")
    assert (opened.precision, capsys.readouterr().err) == ("bfloat16", "")
    assert open_openvino(lambda: embedder.model, facts, "float32").precision == "float32"
    assert open_openvino(lambda: embedder.model, facts, "bfloat16").precision == "bfloat16"


def test_early_layers_stay_in_float32_if_that_makes_the_vectors_agree(
    embedder, facts, with_bfloat16, monkeypatch, capsys
):
    with_bfloat16[0] = 1.0
    copies = []

    def mark(model):
        with_bfloat16[0] = 0.0
        copies.append(model.clone())
        return copies[0]

    monkeypatch.setattr(module, "mark_early_layers", mark)
    opened = open_openvino(lambda: embedder.model, facts, "auto")
    assert (opened.precision, capsys.readouterr().err) == ("bfloat16", "")
    assert copies


@with_bfloat16_units
def test_the_pretrained_default_in_bfloat16(pretrained, capsys):
    squares = module.load_sample_squares(224)
    exact = open_openvino(lambda: pretrained.model, pretrained.facts, "float32")
    fast = open_openvino(lambda: pretrained.model, pretrained.facts, "auto")
    assert (fast.precision, capsys.readouterr().err) == ("bfloat16", "")
    cosines = (exact.embed_squares(squares) * fast.embed_squares(squares)).sum(axis=1)
    assert 0.9996 < cosines.min() < 0.99999  # it is the other precision


def test_the_choice_of_layers_is_cached(embedder, facts, with_bfloat16, monkeypatch, capsys):
    with_bfloat16[0] = 1.0
    open_openvino(lambda: embedder.model, facts, "auto")
    note = capsys.readouterr().err
    measured = []
    monkeypatch.setattr(module, "load_sample_squares", measured.append)
    open_openvino(lambda: embedder.model, facts, "auto")
    assert capsys.readouterr().err == note != ""
    assert measured == []
    cached = next(converted_model_path(facts).parent.glob("*.bfloat16"))
    for damaged in ("{", "[]", '{"layers": "some", "cosine": 1}'):
        cached.write_text(damaged)
        assert read_bfloat16(facts) is None


@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_float32_is_used_if_the_vectors_differ(embedder, facts, with_bfloat16, wrong, capsys):
    with_bfloat16[0] = wrong
    opened = open_openvino(lambda: embedder.model, facts, "auto")
    assert opened.precision == "float32"
    (note,) = capsys.readouterr().err.splitlines()
    assert "computing in float32, because its vectors differ in bfloat16" in note
    # An explicit request is followed.
    assert open_openvino(lambda: embedder.model, facts, "bfloat16").precision == "bfloat16"


def test_bfloat16_is_refused_without_support_by_the_processor(embedder, facts, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(
        InputError, match="--precision bfloat16: this processor does not support it"
    ):
        open_openvino(lambda: embedder.model, facts, "bfloat16")


def test_a_conversion_that_computes_other_vectors_is_refused(embedder, facts, monkeypatch):
    other = keras.models.clone_model(embedder.model)  # of other weights
    convert = module.convert_model
    monkeypatch.setattr(module, "convert_model", lambda _: convert(conversion.freeze_model(other)))
    with pytest.raises(module.ParityError, match="differ from those of Keras"):
        open_openvino(lambda: embedder.model, facts, "auto")
    assert not converted_model_path(facts).exists()
