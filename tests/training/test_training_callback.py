"""What a training keeps and when it ends, for every choice of the recipe; stopped, it goes on."""

from __future__ import annotations

from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import siamese.training.train
from siamese.embedding.embedder import Embedder
from siamese.errors import InputError
from siamese.evaluation.calibration import get_calibration_path, read_calibration
from siamese.models.checkpoints import FINAL_MODEL, load_model, save_model
from siamese.models.embedding_model import EMBEDDING_MODEL, POOLING, PROJECTION
from siamese.training.budget import TimeBudget
from siamese.training.resume import read_training_state as read_state
from siamese.training.train import Recipe, train
from siamese.training.training_callback import TrainingCallback
from siamese.utils.artefacts import TRAINING_STATE

pytestmark = pytest.mark.slow

RECIPE = Recipe(
    batch_size=8,
    pictures_per_item=2,
    epochs=3,
    learning_rate=3e-3,
    augmented=False,
    held_out=0.35,
    seed=3,
)


def small_model(path, size=16):
    """Write a small convolutional model with a head, which takes pictures of any size."""
    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((size, size, 3))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D(name=POOLING)(x)
    x = layers.Dense(8, name=PROJECTION)(x)
    save_model(keras.Model(inputs, layers.UnitNormalization(name="embedding")(x)), path)
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("start") / "start.hdf5")


class StopError(Exception):
    """Raised in the middle of a training."""


def stop_after(epoch):
    def watch(now):
        if len(now.history) == epoch + 1:
            raise StopError

    return watch


def watch_nothing(now):
    pass


def weights(path):
    return load_model(path).get_weights()


def assert_resumed_equals_whole(catalogue, recipe, start, folder, *, stopped_after=1):
    """Train twice, once with a stop; returns the uninterrupted run."""
    whole = train(catalogue, recipe, folder / "whole", start=start, watch=watch_nothing)
    output = folder / "stopped"
    with pytest.raises(StopError):
        train(catalogue, recipe, output, start=start, watch=stop_after(stopped_after))
    assert read_state(output / TRAINING_STATE)["epoch"] == stopped_after
    resumed = train(catalogue, recipe, output, resume=True, watch=watch_nothing)
    assert resumed.best_epoch == whole.best_epoch
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    for name in (FINAL_MODEL, TRAINING_STATE):
        for one, other in zip(
            weights(output / name), weights(folder / "whole" / name), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-4)
    first = weights(start)
    moved = [
        np.abs(one - other).max()
        for one, other in zip(weights(output / TRAINING_STATE), first, strict=True)
    ]
    assert max(moved) > 1e-3, "nothing was learned, so that any two runs are the same"
    return whole


@pytest.mark.parametrize(
    "choices",
    [
        {"loss": "cosface"},
        {"memory": 16},
        {"batches": "hard-items"},
        {"sampling": "random-pairs", "hard_negatives": True},
        pytest.param({"batches": "label-balanced"}, marks=pytest.mark.long),
        pytest.param({"first_layer_rate": 0.1, "projection_rate": 3.0}, marks=pytest.mark.long),
        pytest.param({"flip": True, "erasing": 0.5, "augmented": True}, marks=pytest.mark.long),
    ],
    ids=lambda choices: "-".join(choices),
)
def test_stopped_and_gone_on_with_it_ends_as_the_uninterrupted(catalogue, start, tmp_path, choices):
    assert_resumed_equals_whole(catalogue, replace(RECIPE, **choices), start, tmp_path)


def test_proxies_are_kept_for_going_on_and_are_no_part_of_the_checkpoint(
    catalogue, start, tmp_path
):
    recipe = replace(RECIPE, loss="proxy-anchor")
    whole = assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)
    # Held-out items have no proxies, and so no loss.
    assert set(whole.history[1]) == {"epoch", "loss", "val_recall@1", "val_map@r"}
    proxies = []
    for run in ("whole", "stopped"):
        with h5py.File(tmp_path / run / TRAINING_STATE) as file:
            proxies.append(file["training_variables/0"][()])
        with h5py.File(tmp_path / run / FINAL_MODEL) as file:
            assert "training_variables" not in file
    assert proxies[0].shape == (8, 8), "one for each of the 8 items that are not held out"
    np.testing.assert_allclose(*proxies, atol=1e-3)


def test_the_batches_drawn_by_embeddings_are_those_of_the_uninterrupted(
    catalogue, start, tmp_path, monkeypatch
):
    """What the generator is shown after a resumed epoch is what it was shown before."""
    shown = []

    class Witness(siamese.training.train.PairGenerator):
        def set_embeddings(self, vectors):
            super().set_embeddings(vectors)
            shown.append(vectors)

    monkeypatch.setattr(siamese.training.train, "PairGenerator", Witness)
    recipe = replace(RECIPE, batches="hard-items")
    assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)
    # Whole: after epochs 1 and 2. Stopped: after epoch 1. Resumed: epoch 1 again, epoch 2.
    first, second, *again = shown
    assert len(again) == 3 and np.abs(first - second).max() > 1e-3
    for one, other in zip(again, (first, first, second), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_average_of_the_weights_is_what_is_kept(
    catalogue, start, tmp_path, monkeypatch, precision
):
    after_steps = []

    class Witness(TrainingCallback):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            after_steps.append(self.network.get_weights())

    monkeypatch.setattr(siamese.training.train, "TrainingCallback", Witness)
    monkeypatch.setattr(siamese.training.train, "choose_training_precision", lambda: precision)
    momentum = 0.7
    recipe = replace(RECIPE, epochs=1, weight_average=momentum)
    trained = train(catalogue, recipe, tmp_path, start=start, watch=watch_nothing)
    average = after_steps[0]
    for step in after_steps[1:]:
        average = [
            momentum * one + (1 - momentum) * w for one, w in zip(average, step, strict=True)
        ]
    kept, state = weights(trained.model), weights(tmp_path / TRAINING_STATE)
    for one, other in zip(kept, average, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for one, other in zip(state, after_steps[-1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
    assert max(np.abs(one - other).max() for one, other in zip(kept, state, strict=True)) > 1e-3


def test_an_average_of_weights_goes_on(catalogue, start, tmp_path):
    recipe = replace(RECIPE, weight_average=0.9)
    assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)


# --- the head


def test_a_head_alone_is_the_first_epoch_and_the_last(catalogue, start, tmp_path):
    trained = train(catalogue, replace(RECIPE, layers="head"), tmp_path, start=start)
    assert [row["epoch"] for row in trained.history] == [0, 1] and trained.best_epoch == 1
    assert read_state(tmp_path / TRAINING_STATE)["finished"]
    *backbone, kernel, bias = zip(weights(trained.model), weights(start), strict=True)
    for one, other in backbone:
        np.testing.assert_array_equal(one, other)
    for one, other in (kernel, bias):
        assert np.abs(one - other).max() > 1e-3
    assert trained.history[1]["val_map@r"] > trained.history[0]["val_map@r"]


def test_the_head_comes_first_then_all_layers(catalogue, start, tmp_path):
    recipe = replace(RECIPE, layers="head-then-all")
    whole = assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)
    assert [row["epoch"] for row in whole.history] == [0, 1, 2, 3]
    head = train(catalogue, replace(RECIPE, layers="head"), tmp_path / "head", start=start)
    assert head.history[1] == pytest.approx(whole.history[1], abs=1e-4)
    kernel = weights(tmp_path / "whole" / TRAINING_STATE)[0]
    assert np.abs(kernel - weights(start)[0]).max() > 1e-3, "the backbone has not learned"


def test_a_head_of_a_checkpoint_that_has_none_is_one_line(catalogue, tmp_path):
    inputs = keras.Input((16, 16, 3))
    flat = layers.UnitNormalization()(layers.Flatten()(inputs))
    save_model(keras.Model(inputs, flat), tmp_path / "flat.hdf5")
    with pytest.raises(InputError, match="has no layers named pooling and projection") as raised:
        train(
            catalogue,
            replace(RECIPE, layers="head"),
            tmp_path / "run",
            start=tmp_path / "flat.hdf5",
        )
    assert len(raised.value.lines) == 1


# --- pictures that grow


def test_pictures_grow_and_go_on_at_their_size(catalogue, tmp_path, monkeypatch):
    sizes = []
    make = siamese.training.train.fitted_model

    def witness(model, picture_size, **more):
        fitted = make(model, picture_size, **more)
        seen = [layer.output.shape[1] for layer in fitted.layers if layer.name == "smaller"]
        sizes.append(*(seen or [model.input_shape[1]]))
        return fitted

    monkeypatch.setattr(siamese.training.train, "fitted_model", witness)
    recipe = replace(RECIPE, picture_size=96, first_picture_size=32)
    start = small_model(tmp_path / "start.hdf5", 96)
    whole = assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)
    assert sizes == [32, 64, 96, 32, 64, 96]
    assert Embedder.load(whole.model).facts.picture_size == 96


def test_a_network_of_one_size_alone_cannot_begin_smaller(catalogue, tmp_path):
    inputs = keras.Input((64, 64, 3))
    vectors = layers.Dense(8)(layers.Flatten()(inputs))
    save_model(
        keras.Model(inputs, layers.UnitNormalization()(vectors)),
        tmp_path / "flat.hdf5",
    )
    recipe = replace(RECIPE, picture_size=64, first_picture_size=32)
    with pytest.raises(InputError, match="--first-picture-size: the network takes no") as raised:
        train(catalogue, recipe, tmp_path / "run", start=tmp_path / "flat.hdf5")
    assert len(raised.value.lines) == 1


# --- when it ends

SECONDS_A_STEP = 10.0


@pytest.fixture
def slow_steps(monkeypatch):
    """Return what notes the budget used and the learning rate of each step; each takes 10 s."""
    steps, before = [], []

    class Ticking(TimeBudget):
        @property
        def seconds(self):
            return self.earlier + SECONDS_A_STEP * (len(steps) - before[-1])

    def make_budget(**settings):
        before.append(len(steps))
        return Ticking(**settings)

    class Slow(TrainingCallback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(None)
            super().on_train_batch_end(batch, logs)
            optimizer = self.model.optimizer
            steps[-1] = (self.budget.used, float(optimizer.learning_rate))

    monkeypatch.setattr(siamese.training.train, "TimeBudget", make_budget)
    monkeypatch.setattr(siamese.training.train, "TrainingCallback", Slow)
    return steps


def test_a_budget_ends_it_early_and_finished(catalogue, start, tmp_path, slow_steps):
    a_epoch = 4  # 32 pictures in batches of 8
    recipe = replace(RECIPE, epochs=50, budget=SECONDS_A_STEP * a_epoch * 2.5)
    trained = train(catalogue, recipe, tmp_path, start=start, watch=watch_nothing)
    assert [row["epoch"] for row in trained.history] == [0, 1, 2, 3]
    assert len(slow_steps) == 2.5 * a_epoch, "not at the step at which the time was used up"
    assert [used for used, _ in slow_steps] == pytest.approx(np.arange(1, 11) / 10)
    rates = [rate for _, rate in slow_steps]
    assert max(rates) > 0.9 * recipe.learning_rate and rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    state = read_state(tmp_path / TRAINING_STATE)
    assert state["finished"] and state["epoch"] == 3 and trained.seconds == 100
    assert trained.model.is_file()
    resumed = train(catalogue, recipe, tmp_path, resume=True, watch=watch_nothing)
    assert resumed.history == trained.history and len(slow_steps) == 10


def test_earlier_calls_count_for_the_budget(catalogue, start, tmp_path, slow_steps):
    recipe = replace(RECIPE, epochs=50, budget=100.0)
    whole = assert_resumed_equals_whole(catalogue, recipe, start, tmp_path)
    assert len(slow_steps) == 2 * 10 and len(whole.history) == 4


def test_a_resumed_training_sets_as_much_time_aside(catalogue, start, tmp_path, monkeypatch):
    budgets = []

    def make_budget(**settings):
        budgets.append(TimeBudget(**settings))
        return budgets[-1]

    monkeypatch.setattr(siamese.training.train, "TimeBudget", make_budget)
    recipe = replace(RECIPE, epochs=1)
    for resume in (False, True):
        train(catalogue, recipe, tmp_path, start=start, resume=resume, watch=watch_nothing)
    assert budgets[1].reserve == budgets[0].reserve > 0


def test_patience_ends_it_when_nothing_gets_better(catalogue, start, tmp_path):
    recipe = replace(RECIPE, epochs=9, patience=2, learning_rate=1e-12)
    trained = train(catalogue, recipe, tmp_path, start=start)
    assert trained.best_epoch == 1 and [row["epoch"] for row in trained.history] == [0, 1, 2, 3]
    assert read_state(tmp_path / TRAINING_STATE)["finished"]
    whole = train(
        catalogue, replace(recipe, patience=None, epochs=4), tmp_path / "all", start=start
    )
    assert len(whole.history) == 5


# --- what is said and written at the end


def test_a_collapse_is_told_with_what_to_do(catalogue, tmp_path, capsys):
    recipe = replace(
        RECIPE, backbone="base_cnn", picture_size=16, epochs=2, learning_rate=30.0, warm_up=0.0
    )
    trained = train(catalogue, recipe, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "the embeddings have collapsed" in line]
    assert told and told[-1].startswith("epoch 2: ")
    assert len(told) == len({line.split(":")[0] for line in told}), "said twice of an epoch"
    for advice in ("--learning-rate", "--loss", "more items in a batch"):
        assert all(advice in line for line in told)
    assert all(np.isfinite(list(row.values())).all() for row in trained.history)
    assert all(np.isfinite(array).all() for array in weights(trained.model))
    (note,) = [line for line in lines if line.startswith("note: ")]
    before, best = trained.history[0]["val_map@r"], trained.history[trained.best_epoch]["val_map@r"]
    assert best <= before
    assert f"MAP@R {before:.3f} before, {best:.3f} at best" in note and "--learning-rate" in note


def test_a_training_that_learns_says_nothing_of_that(catalogue, start, tmp_path, capsys):
    trained = train(catalogue, replace(RECIPE, layers="head"), tmp_path, start=start)
    assert trained.history[1]["val_map@r"] > trained.history[0]["val_map@r"]
    error = capsys.readouterr().err
    assert "collapsed" not in error and "note:" not in error


def test_a_training_calibrates_its_final_model(catalogue, start, tmp_path):
    trained = train(catalogue, replace(RECIPE, epochs=1), tmp_path, start=start)
    embedder = Embedder.load(trained.model)
    found = read_calibration(trained.model, embedder.facts.fingerprint)
    assert found is not None and 0 < found.threshold < 2
    assert found.measured_on == "the held-out items of its training"
    assert (found.known, found.unknown, found.gallery) == (16, 16, 16), "4 items are held out"
    assert read_calibration(trained.model, "another") is None


def test_without_held_out_items_nothing_is_calibrated(catalogue, start, tmp_path):
    trained = train(catalogue, replace(RECIPE, epochs=1, held_out=0.0), tmp_path, start=start)
    assert not get_calibration_path(trained.model).exists()


def test_what_is_kept_is_a_siamese_network(catalogue, start, tmp_path):
    trained = train(catalogue, replace(RECIPE, epochs=1), tmp_path, start=start)
    network = load_model(trained.model)
    assert len(network.inputs) == 2 and network.get_layer(EMBEDDING_MODEL).output_shape == (None, 8)
