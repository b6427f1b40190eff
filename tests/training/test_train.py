from __future__ import annotations

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from siamese.embedding.embed_catalogue import embed_catalogue
from siamese.embedding.embedder import Embedder
from siamese.errors import InputError
from siamese.evaluation.calibration import get_calibration_path
from siamese.models.checkpoints import FINAL_MODEL, load_model, save_model
from siamese.models.embedding_model import EMBEDDING_MODEL
from siamese.training.train import Recipe, train
from siamese.training.training_log import TRAINING_LOG
from siamese.utils.artefacts import TRAINING_STATE
from tests.training.conftest import RECIPE, watch_nothing, weights

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("eagerly")
def test_training_a_new_network_makes_retrieval_better(catalogue, tmp_path):
    recipe = Recipe(
        backbone="base_cnn",
        weights=None,
        picture_size=32,
        embedding_size=16,
        batch_size=16,
        epochs=2,
        learning_rate=5e-4,
        held_out=0.35,
        seed=3,
    )
    trained = train(catalogue, recipe, tmp_path, watch=watch_nothing)
    before, *epochs = trained.history
    assert [row["epoch"] for row in trained.history] == [0, 1, 2]
    assert set(before) == {"epoch", "val_recall@1", "val_map@r"}
    assert set(epochs[0]) == {"epoch", "loss", "val_loss", "val_recall@1", "val_map@r"}
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert max(row["val_map@r"] for row in epochs) > before["val_map@r"] + 0.05

    embedder = Embedder.load(tmp_path / FINAL_MODEL, runtime="tensorflow")
    assert embedder.facts.picture_size == 32 and embedder.facts.embedding_size == 16
    vectors = embed_catalogue(embedder, catalogue).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_files_of_a_run(run):
    output, trained = run.output, run.trained
    assert trained.model == output / FINAL_MODEL and trained.skipped == []
    checkpoints = {path.name for path in output.glob("weights.*")}
    beside = {get_calibration_path(FINAL_MODEL).name, TRAINING_STATE, TRAINING_LOG}
    names = {path.name for path in output.iterdir()}
    assert names == {FINAL_MODEL, *beside, *checkpoints} and checkpoints
    with (output / TRAINING_LOG).open() as file:
        log = [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
    assert log == trained.history


def test_the_final_model_is_a_siamese_network(run):
    network = load_model(run.trained.model)
    assert len(network.inputs) == 2 and network.get_layer(EMBEDDING_MODEL).output_shape == (None, 8)


def test_training_a_checkpoint_continues_with_random_pairs(catalogue, start, tmp_path):
    """With held-out items of one's own, and the other way to draw."""
    part, held_out = catalogue.split(0.5)
    recipe = replace(RECIPE, sampling="random-pairs", epochs=1, learning_rate=1e-6)
    trained = train(part, recipe, tmp_path, held_out=held_out, start=start, watch=watch_nothing)
    assert trained.best_epoch == 1 and np.isfinite(trained.history[1]["val_loss"])
    for one, other in zip(weights(trained.model), weights(start), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert (one != other).any()


def test_without_held_out_items_the_loss_decides_and_nothing_is_calibrated(
    catalogue, start, tmp_path
):
    recipe = replace(RECIPE, held_out=0.0, epochs=1)
    trained = train(catalogue, recipe, tmp_path, start=start, watch=watch_nothing)
    assert trained.history[0] == {"epoch": 0} and set(trained.history[1]) == {"epoch", "loss"}
    assert (tmp_path / f"weights.001-{trained.history[1]['loss']:.5f}.hdf5").is_file()
    assert not get_calibration_path(trained.model).exists()


def test_an_unwritable_output_is_reported_before_the_work(catalogue, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="cannot be written"):
        train(catalogue, RECIPE, tmp_path / "file" / "checkpoints")


def test_nothing_to_resume_is_one_line(catalogue, tmp_path):
    with pytest.raises(InputError, match="nothing to resume") as raised:
        train(catalogue, RECIPE, tmp_path, resume=True)
    assert len(raised.value.lines) == 1


def test_a_head_alone_is_trained_in_one_epoch(head_run, start):
    trained = head_run.trained
    assert [row["epoch"] for row in trained.history] == [0, 1] and trained.best_epoch == 1
    assert (head_run.output / FINAL_MODEL).is_file()
    *backbone, kernel, bias = zip(weights(trained.model), weights(start), strict=True)
    for one, other in backbone:
        np.testing.assert_array_equal(one, other)
    for one, other in (kernel, bias):
        assert np.abs(one - other).max() > 1e-3
    assert trained.history[1]["val_map@r"] > trained.history[0]["val_map@r"]


def test_a_training_that_improves_warns_of_nothing(head_run):
    assert head_run.trained.history[1]["val_map@r"] > head_run.trained.history[0]["val_map@r"]
    assert "collapsed" not in head_run.error and "note:" not in head_run.error


def test_training_a_head_that_does_not_exist_fails_in_one_line(catalogue, tmp_path):
    inputs = keras.Input((16, 16, 3))
    flat = layers.UnitNormalization()(layers.Flatten()(inputs))
    save_model(keras.Model(inputs, flat), tmp_path / "flat.hdf5")
    with pytest.raises(InputError, match="has no layers named pooling and projection") as raised:
        train(catalogue, Recipe(layers="head"), tmp_path / "run", start=tmp_path / "flat.hdf5")
    assert len(raised.value.lines) == 1
