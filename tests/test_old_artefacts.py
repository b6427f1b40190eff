"""Files written by version 0.1.0 open with the present code and give the same answers.

`tests/fixtures/make_artefacts.py` wrote them.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from siamese import losses
from siamese.cli.main import cli
from siamese.data.images import square_picture, to_network_input
from siamese.embedding.embedder import Embedder
from siamese.embedding.runtimes.openvino_runtime import OpenVinoRuntime
from siamese.embedding.runtimes.runtime import KerasRuntime
from siamese.evaluation.calibration import read_calibration
from siamese.models.checkpoints import load_model

ARTEFACTS = Path(__file__).parent / "fixtures" / "v0_1_0"
EXPECTED = json.loads((ARTEFACTS / "expected.json").read_text())
NAMES, VECTORS = list(EXPECTED["vectors"]), np.array(list(EXPECTED["vectors"].values()))
CATALOGUE = ("--labeled-data", "items.json", "--image-dir", "pictures")
MODEL = ("--keras-model", "final_model.hdf5")

needs_milvus = pytest.mark.skipif(
    importlib.util.find_spec("milvus_lite") is None, reason="no Milvus Lite for this system"
)
every_index = pytest.mark.parametrize(
    "index",
    [
        "search_index.pkl",
        "search_index.faiss",
        pytest.param("search_index.milvus", marks=needs_milvus),
    ],
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return a copy of the artefacts, which is the working folder: commands write beside them."""
    copy = shutil.copytree(ARTEFACTS, tmp_path / "v0_1_0")
    monkeypatch.chdir(copy)
    return copy


def run(*words: str) -> Any:
    """Run a command that must succeed, and return its JSON document."""
    if "search_index.milvus" in words:
        # Within `invoke` this import would close the log stream of absl: pytest's standard error.
        import pymilvus  # noqa: F401
    result = CliRunner().invoke(cli, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def assert_expected(vectors: np.ndarray) -> None:
    assert vectors.dtype == np.float32
    assert (vectors * VECTORS).sum(axis=1).min() >= 0.99999


def test_the_checkpoint_gives_the_same_vectors(folder):
    embedder = Embedder.load(folder / "final_model.hdf5", precision="float32")
    assert embedder.facts.fingerprint == EXPECTED["fingerprint"]
    assert_expected(embedder.embed([folder / "pictures" / name for name in NAMES]))


def test_the_calibration_belongs_to_the_checkpoint(folder):
    found = read_calibration(folder / "final_model.hdf5", EXPECTED["fingerprint"])
    written = json.loads((folder / "final_model.calibration.json").read_text())
    assert found is not None and found.as_dict() == written


def test_a_model_compiled_with_a_loss_loads_in_keras(folder):
    model = keras.models.load_model(folder / "compiled.h5")
    assert type(model.loss) is losses.MultiSimilarityLoss
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 8)
    assert keras.saving.get_registered_name(type(model.get_layer("pooling"))) == (
        "siamese>GeneralisedMean"
    )


def test_a_checkpoint_compiled_with_a_removed_loss_still_loads(folder):
    with h5py.File(folder / "compiled.h5", "r+") as file:
        config = file.attrs["training_config"]
        file.attrs["training_config"] = config.replace("MultiSimilarityLoss", "CosFaceLoss")
    with pytest.raises(ValueError, match="Could not interpret loss"):
        keras.models.load_model(folder / "compiled.h5")
    embedder = Embedder.load(folder / "compiled.h5")
    assert embedder.facts.picture_size == 32 and embedder.facts.embedding_size == 8


@pytest.mark.parametrize("name", sorted(set(EXPECTED["losses"]["values"]) & set(losses.__all__)))
def test_the_loss_has_the_same_name_settings_and_value(name):
    expected = EXPECTED["losses"]["values"][name]
    loss = keras.losses.deserialize(expected["config"])
    assert type(loss) is getattr(losses, name)
    assert loss.get_config() == expected["config"]["config"] == type(loss)().get_config()
    if name == "ContrastiveLoss":
        value = loss(np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.25, 1.5]))
    else:
        relations = np.array(EXPECTED["losses"]["relations"], np.float32)
        value = loss(relations, np.array(EXPECTED["losses"]["vectors"], np.float32))
    assert float(value) == pytest.approx(expected["value"], rel=1e-4)


@pytest.mark.slow
def test_the_unfinished_training_goes_on(folder):
    document = run("train", "--resume", "--output", "unfinished", *CATALOGUE)
    assert document["model"] == "unfinished/final_model.hdf5"
    with (folder / "unfinished" / "training_log.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["0", "1", "2"]
    for row, expected in zip(history, EXPECTED["history"], strict=True):
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=0.01), name
    assert load_model(folder / document["model"]).input_shape[0] == (None, 32, 32, 3)


def test_the_savedmodel_gives_the_same_vectors(folder):
    import tensorflow as tf

    signatures = tf.saved_model.load(str(folder / "savedmodel" / "1")).signatures
    paths = [folder / "pictures" / name for name in NAMES]
    inputs = tf.constant(to_network_input(np.stack([square_picture(path, 32) for path in paths])))
    assert_expected(signatures["prediction"](input=inputs)["embedding"].numpy())
    encoded = tf.constant([path.read_bytes() for path in paths])
    assert_expected(signatures["serving_bytes"](image_bytes=encoded)["embedding"].numpy())


@every_index
def test_the_index_gives_the_same_results(folder, index):
    searches = EXPECTED["searches"][index]
    queries = [query["query"] for query in searches["all"]]
    words = ("search", "--index", index, "--precision", "float32", "-k", "6", *queries)
    for filters, expected in (((), "all"), (("--any-label", "frame"), "frames")):
        for got, query in zip(run(*words, *filters), searches[expected], strict=True):
            # A picture is at a distance of 0 from itself, and √ makes much of rounding there.
            near = [pytest.approx(one.pop("distance"), abs=1e-3) for one in query["results"]]
            assert [one.pop("distance") for one in got["results"]] == near
            assert got == query


@pytest.fixture
def no_model_runs(monkeypatch):
    def refuse(self, squares):
        raise AssertionError(f"{len(squares)} pictures are embedded again")

    for runtime in (KerasRuntime, OpenVinoRuntime):
        monkeypatch.setattr(runtime, "embed_squares", refuse)


@every_index
@pytest.mark.usefixtures("no_model_runs")
def test_an_update_with_nothing_new_embeds_nothing(folder, index):
    document = run("index", "--update", "--output", index, *CATALOGUE, *MODEL)
    assert document["pictures"] == len(NAMES)
    assert document["changes"] == {"added": 0, "changed": 0, "removed": 0}


@pytest.mark.usefixtures("no_model_runs")
def test_the_embeddings_are_not_made_again(folder):
    document = run("embed", "--output", "search_index.embeddings", *CATALOGUE, *MODEL)
    assert (document["pictures"], document["new"]) == (len(NAMES), 0)
