"""Steps and epochs of a training: checkpoints, progress, patience, warnings."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

import siamese.training.train
import siamese.training.training_callback
from siamese.errors import InputError
from siamese.losses import MultiSimilarityLoss
from siamese.models.checkpoints import FINAL_MODEL
from siamese.training.resume import read_training_state
from siamese.training.train import train
from siamese.training.training_callback import TrainingProgress
from siamese.training.training_log import TRAINING_LOG
from siamese.utils.artefacts import TRAINING_STATE
from tests.training.conftest import RECIPE, watch_nothing, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eagerly")]


def test_the_best_epochs_are_saved_and_the_final_model_is_the_best_of_all(run):
    trained = run.trained
    best, score = 0, -np.inf
    expected = []
    for row in trained.history[1:]:
        if row["val_map@r"] > score:
            best, score = int(row["epoch"]), row["val_map@r"]
            expected.append(f"weights.{best:03d}-{row['val_loss']:.5f}.hdf5")
    assert sorted(path.name for path in run.output.glob("weights.*")) == expected
    assert trained.best_epoch == best
    assert (run.output / FINAL_MODEL).read_bytes() == (run.output / expected[-1]).read_bytes()


def test_without_a_watcher_the_epochs_are_printed(run):
    assert [line.split(":")[0] for line in run.error.splitlines()] == [
        "before",
        "epoch 1",
        "epoch 2",
    ]
    before, first, second = run.error.splitlines()
    assert before.startswith("before: val_recall@1 ")
    assert first.startswith("epoch 1: val_recall@1 ") and second.startswith("epoch 2: ")
    assert "  loss " in second


def test_a_training_can_be_watched(catalogue, start, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(siamese.training.training_callback, "NOTIFY_SECONDS", 0.0)
    seen: list[TrainingProgress] = []
    trained = train(catalogue, RECIPE, tmp_path, start=start, watch=seen.append)
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
    assert seen[1].losses == losses[:1], "a watcher's list has changed since"

    finished: list[TrainingProgress] = []
    train(catalogue, RECIPE, tmp_path, resume=True, watch=finished.append)
    assert [(now.losses, now.history) for now in finished] == [([], trained.history)]

    monkeypatch.setattr(siamese.training.training_callback, "NOTIFY_SECONDS", 1e9)
    seldom: list[TrainingProgress] = []
    recipe = replace(RECIPE, epochs=1)
    train(catalogue, recipe, tmp_path / "seldom", start=start, watch=seldom.append)
    assert [len(now.losses) for now in seldom] == [0, steps]


@pytest.mark.parametrize("sampling", ["batch-pairs", "random-pairs"])
def test_random_views_are_for_training_alone(catalogue, start, tmp_path, sampling):
    losses = []
    for augmented in (False, True):
        # Nothing is learned, so that only the views differ.
        recipe = replace(
            RECIPE, sampling=sampling, epochs=1, learning_rate=1e-9, augmented=augmented
        )
        output = tmp_path / str(augmented)
        trained = train(catalogue, recipe, output, start=start, watch=watch_nothing)
        losses.append(trained.history[1])
    plain, viewed = losses
    assert viewed["loss"] != pytest.approx(plain["loss"], rel=1e-3)
    assert viewed["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-4)


class StopError(Exception):
    """Raised in the middle of a training."""


def test_a_watcher_can_stop_a_training(catalogue, start, tmp_path):
    def stop(progress):
        if len(progress.history) == 2:
            raise StopError

    with pytest.raises(StopError):
        train(catalogue, RECIPE, tmp_path, start=start, watch=stop)
    state = read_training_state(tmp_path / TRAINING_STATE)
    assert state.epoch == 1 and not state.finished and not (tmp_path / FINAL_MODEL).exists()


class NotANumber(MultiSimilarityLoss):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) * np.nan


def test_a_loss_that_is_not_finite_stops_the_run(catalogue, start, tmp_path, monkeypatch):
    monkeypatch.setattr(siamese.training.train, "make_loss", lambda recipe: NotANumber())
    with pytest.raises(InputError, match="the loss is not finite in epoch 1") as raised:
        train(catalogue, RECIPE, tmp_path, start=start)
    assert len(raised.value.lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == [TRAINING_LOG]


def test_patience_ends_a_training_that_does_not_improve_and_a_note_says_so(
    catalogue, start, tmp_path, capsys
):
    recipe = replace(RECIPE, epochs=9, patience=1, learning_rate=1e-12)
    trained = train(catalogue, recipe, tmp_path, start=start, watch=watch_nothing)
    (note,) = capsys.readouterr().err.splitlines()
    before, best = trained.history[0]["val_map@r"], trained.history[1]["val_map@r"]
    assert note.startswith("note: no epoch was better than the start") and best <= before
    assert f"MAP@R {before:.3f} before, {best:.3f} at best" in note and "--learning-rate" in note
    assert trained.best_epoch == 1 and [row["epoch"] for row in trained.history] == [0, 1, 2]
    assert read_training_state(tmp_path / TRAINING_STATE).finished
    whole = train(
        catalogue,
        replace(recipe, patience=None, epochs=3),
        tmp_path / "all",
        start=start,
        watch=watch_nothing,
    )
    assert len(whole.history) == 4


class AllAlike(MultiSimilarityLoss):
    """Is least if all embeddings are equal."""

    def call(self, y_true, y_pred):
        return -keras.ops.mean(keras.ops.matmul(y_pred, keras.ops.transpose(y_pred)), axis=1)


def test_a_collapse_is_reported_with_what_to_do(catalogue, start, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(siamese.training.train, "make_loss", lambda recipe: AllAlike())
    trained = train(catalogue, replace(RECIPE, learning_rate=1.0), tmp_path, start=start)
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if "the embeddings have collapsed" in line]
    assert warnings and warnings[-1].startswith("epoch 2: ")
    assert len(warnings) == len({line.split(":")[0] for line in warnings}), "twice for an epoch"
    for advice in ("--learning-rate", "--loss", "more items per batch"):
        assert all(advice in line for line in warnings)
    assert all(np.isfinite(list(row.values())).all() for row in trained.history)
    assert all(np.isfinite(array).all() for array in weights(trained.model))
