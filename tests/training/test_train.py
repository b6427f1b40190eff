from __future__ import annotations

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import siamese.training.train
import siamese.training.training_callback
from siamese.embedding.embed_catalogue import embed_catalogue
from siamese.embedding.embedder import Embedder
from siamese.errors import InputError
from siamese.evaluation.calibration import get_calibration_path
from siamese.losses import MultiSimilarityLoss
from siamese.models.checkpoints import FINAL_MODEL, load_model, save_model
from siamese.training.objective import fitted_model
from siamese.training.resume import read_training_state, recorded_recipe
from siamese.training.train import Recipe, train
from siamese.training.training_callback import TRAINING_LOG, TrainingProgress
from siamese.utils.artefacts import TRAINING_STATE

pytestmark = pytest.mark.slow

RECIPE = Recipe(
    backbone="base_cnn",
    weights=None,
    picture_size=32,
    embedding_size=16,
    batch_size=16,
    epochs=3,
    learning_rate=5e-4,
    held_out=0.35,
    seed=3,
)


@pytest.fixture(scope="module")
def run(catalogue, tmp_path_factory):
    """Return the folder of an uninterrupted training, and what it returned."""
    output = tmp_path_factory.mktemp("training") / "checkpoints"
    return output, train(catalogue, RECIPE, output)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a checkpoint that is trained further in no time."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16, 16, 3))
    vectors = keras.layers.Dense(8)(keras.layers.Flatten()(inputs))
    path = tmp_path_factory.mktemp("start") / "start.hdf5"
    save_model(keras.Model(inputs, keras.layers.UnitNormalization()(vectors)), path)
    return path


def weights(path):
    return load_model(path).get_weights()


def test_training_makes_retrieval_better(run):
    _, trained = run
    before, *epochs = trained.history
    assert [row["epoch"] for row in trained.history] == [0, 1, 2, 3]
    assert set(before) == {"epoch", "val_recall@1", "val_map@r"}
    assert set(epochs[0]) == {"epoch", "loss", "val_loss", "val_recall@1", "val_map@r"}
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert max(row["val_map@r"] for row in epochs) > before["val_map@r"] + 0.05


def test_the_files_of_a_run(run):
    output, trained = run
    assert trained.model == output / FINAL_MODEL and trained.skipped == []
    names = sorted(path.name for path in output.iterdir())
    checkpoints = [name for name in names if name.startswith("weights.")]
    beside = {get_calibration_path(FINAL_MODEL).name, TRAINING_STATE, TRAINING_LOG}
    assert set(names) == {FINAL_MODEL, *beside, *checkpoints}
    best, score = 0, -np.inf
    expected = []
    for row in trained.history[1:]:
        if row["val_map@r"] > score:
            best, score = int(row["epoch"]), row["val_map@r"]
            expected.append(f"weights.{best:03d}-{row['val_loss']:.5f}.hdf5")
    assert checkpoints == expected and trained.best_epoch == best
    assert (output / FINAL_MODEL).read_bytes() == (output / expected[-1]).read_bytes()
    with (output / TRAINING_LOG).open() as file:
        log = [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
    assert log == trained.history


def test_the_final_model_embeds(run, catalogue):
    output, _ = run
    embedder = Embedder.load(output / FINAL_MODEL)
    assert embedder.facts.picture_size == 32 and embedder.facts.embedding_size == 16
    vectors = embed_catalogue(embedder, catalogue).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


KILLED = """
import os, signal, sys
from pathlib import Path
import siamese.training.train
from siamese.data.catalogue import Catalogue

class Killed(siamese.training.train.TrainingCallback):
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.state["epoch"] == 1 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

siamese.training.train.TrainingCallback = Killed
recipe = siamese.training.train.Recipe(**eval(sys.argv[3]))
siamese.training.train.train(Catalogue.read(sys.argv[1]), recipe, Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def killed(catalogue, tmp_path_factory):
    """Return the folder of the same training, killed in the middle of its second epoch."""
    output = tmp_path_factory.mktemp("killed") / "checkpoints"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED,
            str(catalogue.image_dir / "items.json"),
            str(output),
            repr(vars(RECIPE)),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return output


def test_a_killed_run_goes_on_and_ends_as_the_uninterrupted(run, killed, catalogue):
    state = killed / TRAINING_STATE
    assert read_training_state(state)["epoch"] == 1 and not (killed / FINAL_MODEL).exists()
    assert recorded_recipe(killed) == RECIPE

    with pytest.raises(InputError, match=r"unfinished training \(epoch 1 of 3\).*--resume"):
        train(catalogue, RECIPE, killed)
    with pytest.raises(InputError, match="epochs = 3, now it is 4") as raised:
        train(catalogue, replace(RECIPE, epochs=4, seed=2), killed, resume=True)
    assert len(raised.value.lines) == 2, "each difference is a line"
    assert read_training_state(state)["epoch"] == 1

    output, whole = run
    resumed = train(catalogue, RECIPE, killed, resume=True)
    assert resumed.best_epoch == whole.best_epoch
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert one == pytest.approx(other, abs=0.02)
    for one, other in zip(weights(resumed.model), weights(whole.model), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    # Without the optimizer's state and the schedule's place they would be apart by far more.
    moved = max(
        np.abs(one - other).max()
        for one, other in zip(
            weights(output / TRAINING_STATE), weights(killed / TRAINING_STATE), strict=True
        )
    )
    assert moved < 2e-3


def test_a_finished_run_may_be_done_again_and_resuming_it_changes_nothing(run, catalogue):
    output, whole = run
    before = (output / FINAL_MODEL).read_bytes()
    resumed = train(catalogue, RECIPE, output, resume=True)
    assert resumed.history == whole.history and (output / FINAL_MODEL).read_bytes() == before


def test_nothing_to_resume_is_one_line(catalogue, tmp_path):
    with pytest.raises(InputError, match="nothing to resume"):
        train(catalogue, RECIPE, tmp_path, resume=True)


def test_a_checkpoint_is_trained_further_by_random_pairs(catalogue, start, tmp_path):
    """With held-out items of one's own, and the other way to draw."""
    part, held_out = catalogue.split(0.5)
    recipe = replace(RECIPE, sampling="random-pairs", epochs=1, learning_rate=1e-6)
    trained = train(part, recipe, tmp_path, held_out=held_out, start=start)
    assert trained.best_epoch == 1 and np.isfinite(trained.history[1]["val_loss"])
    for one, other in zip(weights(trained.model), weights(start), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert (one != other).any()


def test_without_held_out_items_the_loss_decides(catalogue, start, tmp_path, capsys):
    few = catalogue.split(0.35)[0]
    trained = train(few, replace(RECIPE, held_out=0.1, epochs=1), tmp_path, start=start)
    assert "too few items with two pictures (4) to hold any out" in capsys.readouterr().err
    assert trained.history[0] == {"epoch": 0} and set(trained.history[1]) == {"epoch", "loss"}
    assert (tmp_path / f"weights.001-{trained.history[1]['loss']:.5f}.hdf5").is_file()


def test_held_out_items_without_pairs_are_said(catalogue, start, tmp_path, capsys):
    part, rest = catalogue.split(0.9)
    alone = rest.split(0.5)[0] if len(rest.items) > 1 else rest
    train(part, replace(RECIPE, epochs=1), tmp_path, held_out=alone, start=start)
    assert "held-out items: no negative pair" in capsys.readouterr().err


class NotANumber(MultiSimilarityLoss):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) * np.nan


def test_a_loss_that_is_no_number_stops_the_run(catalogue, start, tmp_path, monkeypatch):
    monkeypatch.setattr(siamese.training.train, "make_loss", lambda recipe: NotANumber())
    with pytest.raises(InputError, match="no longer a number in epoch 1") as raised:
        train(catalogue, RECIPE, tmp_path, start=start)
    assert len(raised.value.lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == [TRAINING_LOG]


def test_an_output_that_cannot_be_written_is_said_before_the_work(catalogue, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="cannot be written"):
        train(catalogue, RECIPE, tmp_path / "file" / "checkpoints")


class StopError(Exception):
    """Raised in the middle of a training."""


def stop_after_the_first_epoch(now: TrainingProgress) -> None:
    if len(now.history) == 2:
        raise StopError


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision_a_training_is_stopped_and_goes_on(
    catalogue, start, tmp_path, monkeypatch, precision
):
    recipe = replace(RECIPE, epochs=2)
    plain = train(catalogue, recipe, tmp_path / "plain", start=start)
    monkeypatch.setattr(siamese.training.train, "choose_training_precision", lambda: precision)
    whole = train(catalogue, recipe, tmp_path / "whole", start=start)
    for one, other in zip(whole.history, plain.history, strict=True):
        assert one == pytest.approx(other, abs=0.05)
    assert whole.history[2]["loss"] != plain.history[2]["loss"], "not in another precision"

    output = tmp_path / "stopped"
    with pytest.raises(StopError):
        train(catalogue, recipe, output, start=start, watch=stop_after_the_first_epoch)
    assert read_training_state(output / TRAINING_STATE)["epoch"] == 1
    with h5py.File(output / TRAINING_STATE) as file:
        assert ("training_loss_scale" in file) == (precision == "mixed_float16")
    resumed = train(catalogue, recipe, output, resume=True)
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert one == pytest.approx(other, abs=0.05)
    for model in (whole.model, resumed.model):
        kinds = {layer.dtype_policy.name for layer in load_model(model)._flatten_layers()}
        assert kinds == {"float32"}


@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_views_are_those_of_the_epoch_and_of_training_alone(
    catalogue, start, tmp_path, monkeypatch, sampling
):
    """An epoch that is gone on with sees what the uninterrupted training would have seen."""
    asked = []

    class Witness(siamese.training.train.RandomView):
        def begin_epoch(self, epoch):
            super().begin_epoch(epoch)
            asked.append((epoch, np.asarray(self.seed_generator.state).tolist()))

    monkeypatch.setattr(siamese.training.train, "RandomView", Witness)
    recipe = replace(RECIPE, sampling=sampling, epochs=2, learning_rate=1e-9)
    seen = train(catalogue, recipe, tmp_path / "whole", start=start).history
    assert [epoch for epoch, _ in asked] == [0, 1] and asked[0][1] != asked[1][1]
    with pytest.raises(StopError):
        train(
            catalogue,
            recipe,
            tmp_path / "stopped",
            start=start,
            watch=stop_after_the_first_epoch,
        )
    train(catalogue, recipe, tmp_path / "stopped", resume=True)
    assert asked[2:] == asked[:2]

    plain = train(catalogue, replace(recipe, augmented=False), tmp_path / "plain", start=start)
    assert len(asked) == 4, "a view is drawn though none is wanted"
    # Nothing was learned, so that only what was shown differs; held-out pictures are plain.
    for one, other in zip(seen[1:], plain.history[1:], strict=True):
        assert one["loss"] != pytest.approx(other["loss"], rel=1e-3)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


def test_anchor_and_other_are_seen_differently(network):
    fitted = fitted_model(network, 32, view=siamese.training.train.RandomView())
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    assert np.asarray(fitted([pictures, pictures], training=True)).min() > 1e-3
    np.testing.assert_allclose(fitted([pictures, pictures]), 0, atol=1e-5)


def test_a_training_can_be_watched(catalogue, start, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(siamese.training.training_callback, "WATCH_SECONDS", 0.0)
    seen: list[TrainingProgress] = []
    recipe = replace(RECIPE, epochs=2, augmented=False)
    trained = train(catalogue, recipe, tmp_path, start=start, watch=seen.append)
    assert capsys.readouterr() == ("", "")
    steps = seen[0].steps_per_epoch
    assert steps > 1 and {(now.steps_per_epoch, now.epochs) for now in seen} == {(steps, 2)}
    # Before the first step, after each, and after each epoch.
    done = [*range(steps + 1), *range(steps, 2 * steps + 1), 2 * steps]
    assert [len(now.losses) for now in seen] == done
    assert [len(now.history) for now in seen] == [1] * (steps + 1) + [2] * (steps + 1) + [3]
    assert seen[-1].history == trained.history
    losses = seen[-1].losses
    for epoch, of_epoch in enumerate((losses[:steps], losses[steps:]), 1):
        assert np.mean(of_epoch) == pytest.approx(trained.history[epoch]["loss"], rel=1e-5)
        assert np.ptp(of_epoch) > 1e-3
    assert seen[1].losses == losses[:1], "what was handed out has changed since"

    monkeypatch.setattr(siamese.training.training_callback, "WATCH_SECONDS", 1e9)
    again: list[TrainingProgress] = []
    train(catalogue, recipe, tmp_path / "again", start=start, watch=again.append)
    assert [len(now.losses) for now in again] == [0, steps, 2 * steps]
    finished: list[TrainingProgress] = []
    train(catalogue, recipe, tmp_path, resume=True, watch=finished.append)
    assert [(now.losses, now.history) for now in finished] == [([], trained.history)]


def test_without_a_watcher_the_epochs_are_told(catalogue, start, tmp_path, capsys):
    train(catalogue, replace(RECIPE, epochs=2), tmp_path, start=start)
    out, err = capsys.readouterr()
    assert out == ""
    before, first, second = err.splitlines()
    assert before.startswith("before: val_recall@1 ")
    assert first.startswith("epoch 1: val_recall@1 ") and second.startswith("epoch 2: ")
    assert "  loss " in second
