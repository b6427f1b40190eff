"""A model that was converted once is opened without Keras."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino")

import siamese.embedding.embedder
from siamese.embedding.embedder import Embedder
from siamese.embedding.runtimes import openvino_cache
from siamese.embedding.runtimes.openvino_cache import cache_folder, read_facts, source_digest
from siamese.errors import InputError
from siamese.models.checkpoints import save_model
from siamese.utils.files import atomic_path

SQUARES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def embed(embedder: Embedder) -> np.ndarray:
    """Embed pictures, which converts the model and writes the cache."""
    return embedder.embed_squares(SQUARES)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("siamese.models.devices.may_have_gpu", lambda: False)


@pytest.fixture
def fresh(small_model, tmp_path):
    """A checkpoint without a cache."""
    save_model(small_model, tmp_path / "final_model.hdf5")
    return tmp_path / "final_model.hdf5"


@pytest.fixture(scope="module")
def cached(small_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("cached") / "final_model.hdf5"
    save_model(small_model, path)
    embed(Embedder.load(path, runtime="openvino"))
    return path


@pytest.fixture
def path(cached, tmp_path):
    """A checkpoint whose converted model is cached."""
    shutil.copytree(cached.parent, tmp_path / "copy")
    return tmp_path / "copy" / "final_model.hdf5"


@pytest.fixture
def loaded(monkeypatch):
    """The names of the checkpoints that are loaded."""
    from siamese.models import checkpoints

    names: list[str] = []
    load_model = checkpoints.load_model
    monkeypatch.setattr(
        "siamese.models.checkpoints.load_model",
        lambda path: names.append(path.name) or load_model(path),
    )
    return names


def test_the_checkpoint_is_loaded_only_once(fresh, loaded):
    first = Embedder.load(fresh, precision="float32")
    vectors = embed(first)
    again = Embedder.load(fresh, precision="float32")
    assert again.facts == first.facts
    assert embed(again).tobytes() == vectors.tobytes()
    assert loaded == ["final_model.hdf5"]


def test_a_cached_model_needs_neither_tensorflow_nor_keras(path):
    if any(Path("/dev").glob("nvidia[0-9]*")) or sys.platform != "linux":
        pytest.skip("there may be a GPU, which only TensorFlow can tell")
    script = f"""
import sys
from siamese.embedding.embedder import Embedder
import numpy as np
Embedder.load({str(path)!r}).embed_squares(np.zeros((1, 32, 32, 3), np.uint8))
print(sorted({{"keras", "tensorflow", "sklearn"}} & set(sys.modules)))
"""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NVIDIA_VISIBLE_DEVICES", "KERAS_BACKEND")
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_keras_model_is_loaded_on_demand(path, loaded):
    again = Embedder.load(path, precision="float32")
    expected = again.model.predict_on_batch(SQUARES / np.float32(127.5) - np.float32(1))
    np.testing.assert_allclose(embed(again), expected, atol=1e-5)
    assert loaded == ["final_model.hdf5"]


def test_a_checkpoint_of_other_bytes_is_another_model(path, loaded, make_small_model):
    first = Embedder.load(path)
    save_model(make_small_model(8), path)
    trained = Embedder.load(path)
    assert trained.facts.fingerprint != first.facts.fingerprint
    assert embed(trained).shape == (3, 8)
    assert loaded == ["final_model.hdf5"]
    # The cache of the earlier model is gone.
    left = {file.suffix for file in cache_folder(path).iterdir()}
    assert left - {".bfloat16"} == {".json", ".zip"}


def test_a_checkpoint_that_changes_before_keras_reads_it_is_refused(path, make_small_model):
    embedder = Embedder.load(path)
    save_model(make_small_model(8), path)
    with pytest.raises(
        InputError, match=r"final_model\.hdf5: the model changed while it was in use"
    ):
        embedder.model  # noqa: B018


def test_a_copy_under_another_name_has_that_name(path, tmp_path):
    (tmp_path / "copies").mkdir()
    copy = shutil.copyfile(path, tmp_path / "copies" / "other.hdf5")
    shutil.copytree(cache_folder(path), cache_folder(copy))
    facts = read_facts(source_digest("checkpoint", file=copy), "other.hdf5", Path(copy))
    assert (facts.name, facts.path) == ("other.hdf5", str(Path(copy).resolve()))


def test_the_cache_distinguishes_pretrained_models_by_name_size_and_weights(
    small_model, monkeypatch, tmp_path
):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    built = []

    def build(name, size, *, weights):
        built.append((name, size, weights))
        return small_model

    monkeypatch.setattr("siamese.models.embedding_model.embedding_model", build)
    weights = tmp_path / "w.h5"
    weights.write_bytes(b"weights")
    models = [("MobileNet", 32), ("Other", 48), ("MobileNet", 32, str(weights))]
    for _ in range(2):
        for words in models:
            assert Embedder.pretrained(*words, runtime="openvino").runtime is not None
    assert built == [(*words[:2], ["imagenet", *words[2:]][-1]) for words in models]


@pytest.mark.parametrize("damage", ["", "[1]", '{"fingerprint": 1}'])
def test_damaged_facts_are_written_again(path, loaded, damage):
    first = Embedder.load(path)
    (facts,) = cache_folder(path).glob("*.json")
    whole = facts.read_text()
    facts.write_text(damage)
    assert Embedder.load(path).facts == first.facts
    embed(Embedder.load(path))
    assert facts.read_text() == whole


def test_facts_without_a_converted_model_are_ignored(path, loaded):
    first = Embedder.load(path)
    (model,) = cache_folder(path).glob("*.zip")
    model.unlink()
    assert Embedder.load(path).facts == first.facts
    assert loaded == ["final_model.hdf5"]


def test_a_damaged_model_is_converted_again(path, loaded):
    first = Embedder.load(path)
    expected = embed(first)
    (model,) = cache_folder(path).glob("*.zip")
    model.write_bytes(model.read_bytes()[:100])
    np.testing.assert_array_equal(embed(Embedder.load(path)), expected)
    assert loaded == ["final_model.hdf5"]


def test_another_version_of_keras_invalidates_the_cache(path, loaded, monkeypatch):
    monkeypatch.setattr(openvino_cache, "version", lambda package: "99.0")
    Embedder.load(path)
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("runtime", "gpu"), [("tensorflow", False), ("auto", True)], ids=["requested", "GPU"]
)
def test_the_model_is_loaded_if_tensorflow_runs_it(path, loaded, monkeypatch, runtime, gpu):
    monkeypatch.setattr("siamese.models.devices.may_have_gpu", lambda: gpu)
    Embedder.load(path, runtime=runtime)
    assert len(loaded) == 1


def test_without_a_writable_folder_nothing_is_cached(fresh, monkeypatch):
    def refuse_models(path):
        if path.suffix == ".zip":
            raise InputError(f"{path}: cannot be written")
        return atomic_path(path)

    monkeypatch.setattr(openvino_cache, "atomic_path", refuse_models)
    embed(Embedder.load(fresh))
    assert not list(cache_folder(fresh).glob("*.json"))


def test_a_missing_checkpoint_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"no\.hdf5: no such model file"):
        Embedder.load(tmp_path / "no.hdf5")


def test_the_cache_contains_no_path(path):
    """A checkpoint can be moved, or given away, together with its cache."""
    (facts,) = cache_folder(path).glob("*.json")
    assert set(json.loads(facts.read_text())) == {"fingerprint", "embedding_size", "picture_size"}
    assert siamese.embedding.embedder.__file__ not in facts.read_text()
