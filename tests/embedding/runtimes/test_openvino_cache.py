"""A model that was converted once is known again without being loaded."""

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
from siamese.embedding.runtimes import openvino_cache as kept
from siamese.embedding.runtimes.openvino_cache import kept_folder, known_facts, source_of
from siamese.errors import InputError
from siamese.models.checkpoints import save_model
from siamese.models.embedding_model import embedding_model

SQUARES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def use(embedder: Embedder) -> np.ndarray:
    """Have the model be converted, and kept."""
    return embedder.runtime.vectors(SQUARES)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("siamese.models.devices.gpu_conceivable", lambda: False)


@pytest.fixture
def fresh(checkpoint, tmp_path):
    """A checkpoint beside which nothing is kept yet."""
    return Path(shutil.copyfile(checkpoint, tmp_path / "final_model.hdf5"))


@pytest.fixture(scope="module")
def used(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("used") / "final_model.hdf5"
    shutil.copyfile(checkpoint, path)
    use(Embedder.load(path, runtime="openvino"))
    return path


@pytest.fixture
def path(used, tmp_path):
    """A checkpoint that was used before."""
    shutil.copytree(used.parent, tmp_path / "kept")
    return tmp_path / "kept" / "final_model.hdf5"


@pytest.fixture
def loaded(monkeypatch):
    """Which checkpoints were loaded, in order."""
    from siamese.models import checkpoints

    names: list[str] = []
    load_model = checkpoints.load_model
    monkeypatch.setattr(
        "siamese.models.checkpoints.load_model",
        lambda path: names.append(path.name) or load_model(path),
    )
    return names


def test_the_next_time_the_checkpoint_is_not_loaded(fresh, loaded):
    first = Embedder.load(fresh, precision="float32")
    vectors = use(first)
    again = Embedder.load(fresh, precision="float32")
    assert again.facts == first.facts
    assert use(again).tobytes() == vectors.tobytes()
    assert loaded == ["final_model.hdf5"]


def test_nor_are_tensorflow_and_keras(fresh):
    script = f"""
import sys
from siamese.embedding.embedder import Embedder
import numpy as np
Embedder.load({str(fresh)!r}).runtime.vectors(np.zeros((1, 32, 32, 3), np.uint8))
print(sorted({{"keras", "tensorflow", "sklearn"}} & set(sys.modules)))
"""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NVIDIA_VISIBLE_DEVICES", "KERAS_BACKEND")
    }
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    if any(Path("/dev").glob("nvidia[0-9]*")) or sys.platform != "linux":
        pytest.skip("a GPU may be here, which only TensorFlow can tell")
    assert "tensorflow" in said[0]
    assert said[1] == "[]\n"


def test_the_model_can_still_be_had(path, loaded):
    again = Embedder.load(path, precision="float32")
    expected = again.model.predict_on_batch(SQUARES / np.float32(127.5) - np.float32(1))
    np.testing.assert_allclose(use(again), expected, atol=1e-5)
    assert loaded == ["final_model.hdf5"]


def test_a_checkpoint_of_other_bytes_is_another_model(path, loaded):
    first = Embedder.load(path)
    save_model(embedding_model("base_cnn", 32, embedding_size=8), path)
    trained = Embedder.load(path)
    assert trained.facts.fingerprint != first.facts.fingerprint
    assert use(trained).shape == (3, 8)
    assert loaded == ["final_model.hdf5"]
    # Of the one before nothing is left.
    left = {file.suffix for file in kept_folder(path).iterdir()}
    assert left - {".bfloat16"} == {".json", ".zip"}


def test_a_checkpoint_that_is_changed_before_keras_reads_it_is_refused(path):
    known = Embedder.load(path)
    save_model(embedding_model("base_cnn", 32, embedding_size=8), path)
    with pytest.raises(InputError, match=r"final_model\.hdf5: was changed meanwhile"):
        known.model  # noqa: B018


def test_a_copy_under_another_name_is_known_by_its_own(path, tmp_path):
    (tmp_path / "copies").mkdir()
    copy = shutil.copyfile(path, tmp_path / "copies" / "other.hdf5")
    shutil.copytree(kept_folder(path), kept_folder(copy))
    facts = known_facts(source_of("checkpoint", file=copy), "other.hdf5", Path(copy))
    assert (facts.name, facts.path) == ("other.hdf5", str(Path(copy).resolve()))


def test_of_a_pretrained_model_name_size_and_weights_count(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    built = []

    def build(name, size, *, weights):
        built.append((name, size, weights))
        return embedding_model("base_cnn", size)

    monkeypatch.setattr("siamese.models.embedding_model.embedding_model", build)
    weights = tmp_path / "w.h5"
    weights.write_bytes(b"weights")
    asked = [("MobileNet", 32), ("Other", 48), ("MobileNet", 32, str(weights))]
    for _ in range(2):
        for words in asked:
            assert Embedder.pretrained(*words, runtime="openvino").runtime is not None
    assert built == [(*words[:2], ["imagenet", *words[2:]][-1]) for words in asked]


@pytest.mark.parametrize("damage", ["", "[1]", '{"fingerprint": 1}'])
def test_damaged_facts_are_made_anew(path, loaded, damage):
    first = Embedder.load(path)
    (facts,) = kept_folder(path).glob("*.json")
    whole = facts.read_text()
    facts.write_text(damage)
    assert Embedder.load(path).facts == first.facts
    use(Embedder.load(path))
    assert facts.read_text() == whole


def test_facts_without_their_model_do_not_count(path, loaded):
    first = Embedder.load(path)
    (model,) = kept_folder(path).glob("*.zip")
    model.unlink()
    assert Embedder.load(path).facts == first.facts
    assert loaded == ["final_model.hdf5"]


def test_a_damaged_model_is_converted_anew(path, loaded):
    first = Embedder.load(path)
    expected = use(first)
    (model,) = kept_folder(path).glob("*.zip")
    model.write_bytes(model.read_bytes()[:100])
    np.testing.assert_array_equal(use(Embedder.load(path)), expected)
    assert loaded == ["final_model.hdf5"]


def test_another_version_of_keras_may_make_another_model(path, loaded, monkeypatch):
    monkeypatch.setattr(kept, "version", lambda package: "99.0")
    Embedder.load(path)
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("runtime", "gpu"), [("tensorflow", False), ("auto", True)], ids=["asked for", "a GPU"]
)
def test_where_tensorflow_runs_it_the_model_is_loaded(path, loaded, monkeypatch, runtime, gpu):
    monkeypatch.setattr("siamese.models.devices.gpu_conceivable", lambda: gpu)
    Embedder.load(path, runtime=runtime)
    assert len(loaded) == 1


def test_a_place_where_nobody_may_write_keeps_nothing(fresh, monkeypatch):
    def refuse(path):
        raise InputError(f"{path}: cannot be written")

    monkeypatch.setattr("siamese.embedding.runtimes.openvino_convert.atomic_path", refuse)
    use(Embedder.load(fresh))
    assert not list(kept_folder(fresh).glob("*.json"))


def test_a_missing_checkpoint_is_said_as_ever(tmp_path):
    with pytest.raises(InputError, match=r"no\.hdf5: no such model file"):
        Embedder.load(tmp_path / "no.hdf5")


def test_what_is_kept_names_no_path(path):
    """So that a checkpoint and what stands beside it can be moved, and given away."""
    (facts,) = kept_folder(path).glob("*.json")
    assert set(json.loads(facts.read_text())) == {"fingerprint", "embedding_size", "picture_size"}
    assert siamese.embedding.embedder.__file__ not in facts.read_text()
