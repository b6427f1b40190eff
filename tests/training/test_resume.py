from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import siamese.training.train
from siamese.errors import InputError
from siamese.models.checkpoints import FINAL_MODEL, load_model, save_model
from siamese.training.recipe import Recipe
from siamese.training.resume import (
    TrainingState,
    checkpoint_name,
    read_training_state,
    recorded_recipe,
    require_no_unfinished_run,
    restore_optimizer,
    save_training,
)
from siamese.training.train import train
from siamese.utils.artefacts import TRAINING_STATE
from tests.training.conftest import (
    RECIPE,
    copy_after,
    watch_nothing,
    weights,
)


def tiny():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inputs))


def loss_scaled():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=64.0)


def built(optimizer, model):
    optimizer.build(model.trainable_variables)
    return optimizer


def state_of(recipe=RECIPE, **progress):
    return TrainingState(asdict(recipe), pictures=48, **progress)


def test_checkpoint_names():
    assert checkpoint_name(3, 0.123456789) == "weights.003-0.12346.hdf5"
    assert checkpoint_name(1234, 12.0) == "weights.1234-12.00000.hdf5"


# --- the file


def test_a_training_state_comes_back_with_its_optimizer(tmp_path):
    path = tmp_path / "state.hdf5"
    model = tiny()
    model.compile(keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError())
    x, y = np.ones((8, 4), np.float32), np.zeros((8, 2), np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    state = state_of(epoch=2, seconds=1.25, history=[{"epoch": 0}, {"epoch": 1, "loss": 0.1}])
    save_training(model, path, state, model.optimizer)

    assert read_training_state(path) == state
    loaded = load_model(path)
    optimizer = built(keras.optimizers.Adam(0.01), loaded)
    restore_optimizer(path, optimizer)
    assert int(optimizer.iterations) == 2 and len(optimizer.variables) == 6
    for restored, saved in zip(optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(restored, saved)
    loaded.compile(optimizer, keras.losses.MeanSquaredError())
    for continued in (model, loaded):
        continued.fit(x, y, epochs=1, verbose=0)
    np.testing.assert_allclose(loaded.get_weights()[0], model.get_weights()[0], atol=1e-6)


def test_a_training_state_comes_back_with_its_loss_scale_and_in_another_precision(tmp_path):
    path = tmp_path / "state.hdf5"
    model = tiny()
    model.compile(loss_scaled(), "mse")
    x, y = np.ones((8, 4), np.float32), np.zeros((8, 2), np.float32)
    model.fit(x, y, epochs=2, verbose=0)
    model.optimizer.dynamic_scale.assign(128.0)
    save_training(model, path, state_of(), model.optimizer)

    scaled, plain = (built(one, model) for one in (loss_scaled(), keras.optimizers.Adam(0.01)))
    for optimizer in (scaled, plain):
        restore_optimizer(path, optimizer)
        assert int(optimizer.iterations) == 2
    assert float(scaled.dynamic_scale) == 128 and int(scaled.step_counter) == 2
    inner = model.optimizer.inner_optimizer.variables
    for one, two, expected in zip(
        scaled.inner_optimizer.variables, plain.variables, inner, strict=True
    ):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(two, expected)

    # And the other way round: trained without, resumed with.
    save_training(model, path, state_of(), plain)
    resumed = built(loss_scaled(), model)
    restore_optimizer(path, resumed)
    assert int(resumed.iterations) == 2 and float(resumed.dynamic_scale) == 64


def cut(path):
    save_training(tiny(), path, state_of())
    path.write_bytes(path.read_bytes()[:3000])


def of_another_program(path):
    save_model(tiny(), path, add=lambda file: file.create_dataset("training_state", data="{}"))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("gone.hdf5", lambda path: None, "nothing to resume"),
        ("text.hdf5", lambda path: path.write_text("model"), "holds no training state"),
        ("cut.hdf5", cut, "holds no training state"),
        ("model.hdf5", lambda path: save_model(tiny(), path), "holds no training state"),
        ("other.hdf5", of_another_program, "holds no training state"),
    ],
)
def test_nothing_to_resume_is_one_line(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=message) as raised:
        read_training_state(path)
    assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]


def test_only_an_unfinished_run_prevents_a_new_one(tmp_path):
    require_no_unfinished_run(tmp_path)
    for finished in (False, True):
        state = state_of(epoch=1, finished=finished)
        save_training(tiny(), tmp_path / TRAINING_STATE, state)
        if finished:
            require_no_unfinished_run(tmp_path)
        else:
            with pytest.raises(InputError, match=r"unfinished training \(epoch 1 of 2\)"):
                require_no_unfinished_run(tmp_path)


# --- recipes of earlier versions

EARLIER_FIELDS = {
    "warm_up": 0.1,
    "first_layer_rate": 1.0,
    "projection_rate": 1.0,
    "weight_average": 0.0,
    "erasing": 0.0,
    "first_picture_size": None,
    "hard_negatives": False,
}


def write_state(folder, recipe):
    state = replace(state_of(), recipe=recipe)
    save_training(tiny(), folder / TRAINING_STATE, state)


def test_fields_of_earlier_versions_are_dropped_at_their_defaults(tmp_path):
    write_state(tmp_path, {**asdict(RECIPE), **EARLIER_FIELDS})
    assert recorded_recipe(tmp_path) == RECIPE


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"warm_up": 0.2}, "warm_up = 0.2"),
        ({"erasing": 0.5, "weight_average": 0.9}, "weight_average = 0.9, erasing = 0.5"),
        ({"layers": "head-then-all"}, "layers = head-then-all"),
        ({"pooling": "sum"}, "pooling = sum"),
        ({"loss": "circle", "pooling": "max"}, "pooling = max, loss = circle"),
        ({"loss": "contrastive"}, "loss = contrastive"),
        ({"of_a_later_version": 1}, "of_a_later_version = 1"),
    ],
)
def test_other_settings_that_this_version_lacks_are_one_line(tmp_path, recorded, words):
    write_state(tmp_path, {**asdict(RECIPE), **EARLIER_FIELDS, **recorded})
    with pytest.raises(InputError) as raised:
        recorded_recipe(tmp_path)
    (line,) = raised.value.lines
    assert f"was trained with {words}, which this version does not have" in line


# --- stopped and resumed


def assert_resumed_equals_whole(catalogue, recipe, start, folder):
    """Train once, and resume a copy of the run after its first epoch; return the former."""
    whole, copy = folder / "whole", folder / "copy"
    trained = train(catalogue, recipe, whole, start=start, watch=copy_after(1, whole, copy))
    assert read_training_state(copy / TRAINING_STATE).epoch == 1
    resumed = train(catalogue, recipe, copy, resume=True, watch=watch_nothing)
    assert resumed.best_epoch == trained.best_epoch
    for one, other in zip(resumed.history, trained.history, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    for name in (FINAL_MODEL, TRAINING_STATE):
        for one, other in zip(weights(copy / name), weights(whole / name), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    moved = [
        np.abs(one - other).max()
        for one, other in zip(weights(copy / TRAINING_STATE), weights(start), strict=True)
    ]
    assert max(moved) > 1e-3, "nothing was learned, so that any two runs are the same"
    return trained


@pytest.mark.slow
def test_a_resumed_epoch_begins_with_an_empty_memory(catalogue, start, tmp_path):
    assert_resumed_equals_whole(catalogue, replace(RECIPE, memory=16), start, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_resumed_run_has_the_same_random_pairs(catalogue, start, tmp_path):
    recipe = replace(RECIPE, sampling="random-pairs")
    assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_resumed_epoch_has_the_same_batches_and_random_views(
    catalogue, start, tmp_path, monkeypatch
):
    begun = []

    class Witness(siamese.training.train.RandomView):
        def begin_epoch(self, epoch):
            super().begin_epoch(epoch)
            begun.append((epoch, np.asarray(self.seed_generator.state).tolist()))

    monkeypatch.setattr(siamese.training.train, "RandomView", Witness)
    recipe = replace(RECIPE, batches="label-balanced", augmented=True, flip=True)
    assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)
    assert [epoch for epoch, _ in begun] == [0, 1, 1] and begun[0][1] != begun[1][1]
    assert begun[2] == begun[1]


@pytest.mark.slow
def test_hard_items_are_drawn_by_the_same_embeddings(catalogue, start, tmp_path, monkeypatch):
    given = []

    class Witness(siamese.training.train.PairGenerator):
        def set_embeddings(self, vectors):
            super().set_embeddings(vectors)
            given.append(vectors)

    monkeypatch.setattr(siamese.training.train, "PairGenerator", Witness)
    recipe = replace(RECIPE, batches="hard-items", epochs=3)
    assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)
    # Whole: after epochs 1 and 2. Resumed: epoch 1 again, then epoch 2.
    first, second, *again = given
    assert len(again) == 2 and np.abs(first - second).max() > 1e-3
    for one, other in zip(again, (first, second), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


SLOW = replace(RECIPE, learning_rate=1e-4)


@pytest.fixture(scope="module")
def in_float32(catalogue, start, tmp_path_factory):
    """Return a training at a low rate, from which another precision hardly differs."""
    output = tmp_path_factory.mktemp("float32")
    return train(catalogue, SLOW, output, start=start, watch=watch_nothing)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_run_in_mixed_precision_is_resumed(
    in_float32, catalogue, start, tmp_path, monkeypatch, precision
):
    monkeypatch.setattr(siamese.training.train, "choose_training_precision", lambda: precision)
    output, copy = tmp_path / "whole", tmp_path / "copy"
    whole = train(catalogue, SLOW, output, start=start, watch=copy_after(1, output, copy))
    for one, other in zip(whole.history, in_float32.history, strict=True):
        assert one == pytest.approx(other, abs=0.05)
    assert whole.history[2]["loss"] != in_float32.history[2]["loss"], "not in another precision"

    assert read_training_state(copy / TRAINING_STATE).epoch == 1
    with h5py.File(copy / TRAINING_STATE) as file:
        assert ("training_loss_scale" in file) == (precision == "mixed_float16")
    resumed = train(catalogue, SLOW, copy, resume=True, watch=watch_nothing)
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert one == pytest.approx(other, abs=0.05)
    for model in (whole.model, resumed.model):
        kinds = {layer.dtype_policy.name for layer in load_model(model)._flatten_layers()}
        assert kinds == {"float32"}


KILLED = """
import os, signal, sys
from pathlib import Path
import siamese.training.train
from siamese.data.catalogue import Catalogue

class Killed(siamese.training.train.TrainingCallback):
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.state.epoch == 1 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

siamese.training.train.TrainingCallback = Killed
labeled_data, output, start, recipe = sys.argv[1:]
siamese.training.train.train(
    Catalogue.read(labeled_data),
    siamese.training.train.Recipe(**eval(recipe)),
    Path(output),
    start=Path(start),
)
"""


@pytest.mark.slow
def test_a_killed_run_is_resumed_and_ends_as_the_uninterrupted(run, catalogue, start, tmp_path):
    killed = tmp_path / "checkpoints"
    labeled_data = catalogue.image_dir / "items.json"
    words = [str(labeled_data), str(killed), str(start), repr(asdict(RECIPE))]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    state = killed / TRAINING_STATE
    assert read_training_state(state).epoch == 1 and not (killed / FINAL_MODEL).exists()
    assert recorded_recipe(killed) == RECIPE

    with pytest.raises(InputError, match=r"unfinished training \(epoch 1 of 2\).*--resume"):
        train(catalogue, RECIPE, killed, start=start)
    with pytest.raises(InputError, match="epochs = 2, now it is 4") as raised:
        train(catalogue, replace(RECIPE, epochs=4, seed=2), killed, resume=True)
    assert len(raised.value.lines) == 2, "each difference is a line"
    part = catalogue.split(0.5)[0]
    with pytest.raises(InputError, match="trained on 48 pictures, now there are 24"):
        train(part, RECIPE, killed, resume=True)
    assert read_training_state(state).epoch == 1

    resumed = train(catalogue, RECIPE, killed, resume=True, watch=watch_nothing)
    assert resumed.best_epoch == run.trained.best_epoch
    for one, other in zip(resumed.history, run.trained.history, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    for name in (FINAL_MODEL, TRAINING_STATE):
        for one, other in zip(weights(killed / name), weights(run.output / name), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(run, catalogue, tmp_path):
    before = (run.output / FINAL_MODEL).read_bytes()
    log = (run.output / "training_log.csv").read_bytes()
    resumed = train(catalogue, RECIPE, run.output, resume=True, watch=watch_nothing)
    assert resumed == run.trained
    assert (run.output / FINAL_MODEL).read_bytes() == before
    assert (run.output / "training_log.csv").read_bytes() == log


@pytest.mark.slow
def test_a_finished_head_of_an_earlier_version_may_have_flags_that_it_ignored(
    head_run, catalogue, tmp_path
):
    copy = shutil.copytree(head_run.output, tmp_path / "copy")
    with h5py.File(copy / TRAINING_STATE, "r+") as file:
        state = json.loads(file["training_state"][()])
        del file["training_state"]
        state["recipe"] |= {**EARLIER_FIELDS, "batch_size": 64, "epochs": 3}
        file["training_state"] = json.dumps(state)
    recipe = recorded_recipe(copy)
    assert recipe.batch_size == 64 and recipe.problems()
    resumed = train(catalogue, recipe, copy, resume=True, watch=watch_nothing)
    assert resumed.history == head_run.trained.history


@pytest.mark.slow
def test_the_state_is_json_that_earlier_versions_wrote_alike(run):
    with h5py.File(run.output / TRAINING_STATE) as file:
        state = json.loads(file["training_state"][()])
    assert set(state) == {
        *("recipe", "pictures", "epoch", "seconds", "reserve"),
        *("finished", "best", "history", "spread"),
    }
    assert set(state["best"]) == {"epoch", "score", "file"}
    assert Recipe(**state["recipe"]) == RECIPE
