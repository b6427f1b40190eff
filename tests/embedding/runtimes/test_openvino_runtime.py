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
from siamese.embedding.runtimes.keras_runtime import KerasRuntime
from siamese.embedding.runtimes.openvino_cache import kept_model, known_bfloat16
from siamese.embedding.runtimes.openvino_convert import read_kept
from siamese.embedding.runtimes.openvino_runtime import OpenVinoRuntime, open_openvino
from siamese.errors import InputError

with_bfloat16_units = pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="the processor has no bfloat16",
)

SQUARES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint, precision="float32")


@pytest.fixture(scope="module")
def runtime(embedder):
    return open_openvino(lambda: embedder.model, embedder.facts, "float32")[0]


@pytest.fixture(scope="module")
def expected(embedder):
    return KerasRuntime(embedder.model, "float32").vectors(SQUARES)


@pytest.fixture
def facts(embedder, tmp_path):
    """Of the same model at a place where nothing is kept yet."""
    return replace(embedder.facts, path=str(tmp_path / "final_model.hdf5"))


@pytest.fixture
def conversions(monkeypatch):
    """How many there were, as their sizes."""
    done: list[int] = []

    def noted(function):
        model = conversion.convert_model(function)
        done.append(len(model.get_ops()))
        return model

    monkeypatch.setattr(module, "convert_model", noted)
    return done


@pytest.mark.parametrize("count", [0, 1, 2, 9, 40])
def test_vectors_are_those_of_keras_in_their_order(runtime, expected, count):
    got = runtime.vectors(SQUARES[:count])
    assert got.shape == (count, 16) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected[:count], atol=1e-5)


def test_the_pretrained_default_on_photos(pretrained):
    """The photos of scikit-learn: every one is far above the cosine that is asked for."""
    squares = module._squares(224)
    by_keras = KerasRuntime(pretrained.model, "float32").vectors(squares)
    exact, note = open_openvino(lambda: pretrained.model, pretrained.facts, "float32")
    assert (exact.precision, note) == ("float32", None)
    assert (exact.vectors(squares) * by_keras).sum(axis=1).min() > 0.99999


@pytest.mark.slow
def test_grocery_photos_are_those_of_keras(pretrained, grocery):
    paths = sorted(grocery.rglob("*.jpg"))[::50]
    squares = np.stack([square_picture(path, 224) for path in paths])
    by_keras = KerasRuntime(pretrained.model, "float32").vectors(squares)
    cosines = (pretrained.embed(paths) * by_keras).sum(axis=1)
    assert len(cosines) > 20 and cosines.min() > 0.999


def test_threads_do_not_mix_their_pictures(runtime, expected):
    failures = []

    def ask(first: int) -> None:
        rng = np.random.default_rng(first)
        for _ in range(20):
            rows = rng.integers(0, 40, rng.integers(1, 33))
            if not np.allclose(runtime.vectors(SQUARES[rows]), expected[rows], atol=1e-5):
                failures.append(first)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
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
    runtime.vectors(np.zeros((1, 32, 32, 3), np.uint8))

threads = [Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert "keras" not in sys.modules  # it makes tensors while it converts
"""


def test_threads_may_be_the_first_in_their_process(checkpoint):
    embedder = Embedder.load(checkpoint, runtime="openvino", precision="float32")
    assert embedder.runtime.name == "openvino"  # and its model is kept
    script = [sys.executable, "-c", FIRST_IN_THREADS, checkpoint]
    subprocess.run(script, check=True, timeout=60)


def test_the_same_picture_has_the_same_vector_in_any_company(runtime):
    together = runtime.vectors(SQUARES)
    alone = np.concatenate([runtime.vectors(SQUARES[row : row + 1]) for row in range(40)])
    assert together.tobytes() == alone.tobytes()


# --- what is kept


def test_a_converted_model_stands_beside_its_checkpoint(embedder, facts, conversions, expected):
    open_openvino(lambda: embedder.model, facts, "float32")
    path = Path(facts.path).parent / "final_model.openvino" / f"{facts.fingerprint}.zip"
    assert kept_model(facts) == path and path.is_file()
    again, _ = open_openvino(lambda: embedder.model, facts, "float32")
    assert len(conversions) == 1
    np.testing.assert_allclose(again.vectors(SQUARES), expected, atol=1e-5)


def test_a_pretrained_model_stands_in_the_cache_folder(embedder, monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    facts = replace(embedder.facts, path=None)
    assert kept_model(facts) == tmp_path / "siamese" / "openvino" / f"{facts.fingerprint}.zip"


def test_other_weights_replace_what_was_kept_of_a_checkpoint(embedder, facts, conversions):
    open_openvino(lambda: embedder.model, facts, "float32")
    trained = replace(facts, fingerprint="f" * 64)
    open_openvino(lambda: embedder.model, trained, "float32")
    assert len(conversions) == 2
    assert list(kept_model(facts).parent.iterdir()) == [kept_model(trained)]


@pytest.mark.parametrize("damage", ["cut", "empty", "a bit", "no model"])
def test_a_damaged_one_is_made_anew(embedder, facts, conversions, expected, damage):
    open_openvino(lambda: embedder.model, facts, "float32")
    path = kept_model(facts)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "a bit":  # of a weight, which no parser would notice
        with zipfile.ZipFile(path) as file:
            weights = file.read("model.bin")
        place = whole.index(weights[:64]) + len(weights) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("model.xml", "<net/>")
            file.writestr("model.bin", "")
    assert read_kept(path) is None
    again, _ = open_openvino(lambda: embedder.model, facts, "float32")
    assert len(conversions) == 2
    np.testing.assert_allclose(again.vectors(SQUARES), expected, atol=1e-5)
    assert read_kept(path) is not None


def test_where_nobody_may_write_nothing_is_kept(embedder, facts, expected, tmp_path):
    Path(tmp_path, "final_model.openvino").write_text("in the way")
    ready, _ = open_openvino(lambda: embedder.model, facts, "float32")
    np.testing.assert_allclose(ready.vectors(SQUARES), expected, atol=1e-5)


# --- precision


@pytest.fixture
def with_bfloat16(monkeypatch):
    """As if the processor had bfloat16; returns how far its vectors are off, to be set."""
    off = [0.0]

    class Fast(OpenVinoRuntime):
        def __init__(self, model, precision):
            super().__init__(model, "float32")
            self.precision = precision

        def vectors(self, squares):
            vectors = super().vectors(squares)
            if self.precision == "bfloat16":
                vectors[:, 0] += off[0]
            return vectors

    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "BF16"])
    monkeypatch.setattr(module, "OpenVinoRuntime", Fast)
    return off


def test_bfloat16_where_its_vectors_are_the_same(embedder, facts, with_bfloat16):
    ready, note = open_openvino(lambda: embedder.model, facts, "auto")
    assert (ready.precision, note) == ("bfloat16", None)
    assert open_openvino(lambda: embedder.model, facts, "float32")[0].precision == "float32"
    assert open_openvino(lambda: embedder.model, facts, "bfloat16")[0].precision == "bfloat16"


def test_early_layers_in_float32_where_that_is_what_it_takes(
    embedder, facts, with_bfloat16, monkeypatch
):
    with_bfloat16[0] = 1.0
    copies = []

    def early(model):
        with_bfloat16[0] = 0.0
        copies.append(model.clone())
        return copies[0]

    monkeypatch.setattr(module, "early_in_float32", early)
    ready, note = open_openvino(lambda: embedder.model, facts, "auto")
    assert (ready.precision, note) == ("bfloat16", None)
    assert copies


@with_bfloat16_units
def test_the_pretrained_default_in_bfloat16(pretrained):
    squares = module._squares(224)
    exact, _ = open_openvino(lambda: pretrained.model, pretrained.facts, "float32")
    fast, note = open_openvino(lambda: pretrained.model, pretrained.facts, "auto")
    assert (fast.precision, note) == ("bfloat16", None)
    cosines = (exact.vectors(squares) * fast.vectors(squares)).sum(axis=1)
    assert 0.9996 < cosines.min() < 0.99999  # it is the other precision


def test_what_was_found_is_not_looked_for_again(embedder, facts, with_bfloat16, monkeypatch):
    with_bfloat16[0] = 1.0
    _, note = open_openvino(lambda: embedder.model, facts, "auto")
    looked = []
    monkeypatch.setattr(module, "_squares", looked.append)
    assert open_openvino(lambda: embedder.model, facts, "auto")[1] == note
    assert looked == []
    kept = next(kept_model(facts).parent.glob("*.bfloat16"))
    for damaged in ("{", "[]", '{"layers": "some", "cosine": 1}'):
        kept.write_text(damaged)
        assert known_bfloat16(facts) is None


@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_float32_where_they_are_others(embedder, facts, with_bfloat16, wrong):
    with_bfloat16[0] = wrong
    ready, note = open_openvino(lambda: embedder.model, facts, "auto")
    assert ready.precision == "float32"
    assert note is not None and "embeds in float32, because in bfloat16" in note
    # Who asks for it by name gets it.
    assert open_openvino(lambda: embedder.model, facts, "bfloat16")[0].precision == "bfloat16"


def test_bfloat16_cannot_be_asked_of_a_processor_without(embedder, facts, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(InputError, match="--precision bfloat16: this processor has no units"):
        open_openvino(lambda: embedder.model, facts, "bfloat16")


def test_a_conversion_that_answers_something_else_is_refused(embedder, facts, monkeypatch):
    other = keras.models.clone_model(embedder.model)  # of other weights
    convert = module.convert_model
    monkeypatch.setattr(module, "convert_model", lambda _: convert(conversion.frozen(other)))
    with pytest.raises(module.ParityError, match="not those of Keras"):
        open_openvino(lambda: embedder.model, facts, "auto")
    assert not kept_model(facts).exists()
