from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import siamese.training.train
from siamese.training.budget import TimeBudget
from siamese.training.resume import read_training_state
from siamese.training.train import train
from siamese.training.training_callback import TrainingCallback
from siamese.utils.artefacts import TRAINING_STATE
from tests.training.conftest import RECIPE, copy_after, watch_nothing

SECONDS_A_STEP = 10.0


def test_without_a_limit_nothing_is_used():
    assert TimeBudget(earlier=1e9).used == 0.0


def test_the_reserve_is_not_available():
    budget = TimeBudget(limit=1000.0, reserve=200.0, earlier=400.0)
    assert budget.used == pytest.approx(0.5, abs=0.01)
    assert budget.seconds == pytest.approx(400, abs=1)
    assert TimeBudget(limit=1000.0, reserve=200.0, earlier=900.0).used == 1.0
    assert TimeBudget(limit=100.0, reserve=200.0, earlier=1.0).used == 1.0


@pytest.fixture
def slow_steps(monkeypatch):
    """Return a list of the budget used and the learning rate at each step, which takes 10 s."""
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


@pytest.mark.slow
def test_a_budget_ends_the_training_early_and_finished(catalogue, start, tmp_path, slow_steps):
    steps_per_epoch = 4  # 32 pictures in batches of 8
    recipe = replace(RECIPE, epochs=50, budget=SECONDS_A_STEP * steps_per_epoch * 2.5)
    output, copy = tmp_path / "whole", tmp_path / "copy"
    watch = copy_after(1, output, copy)
    trained = train(catalogue, recipe, output, start=start, watch=watch)
    assert [row["epoch"] for row in trained.history] == [0, 1, 2, 3]
    assert len(slow_steps) == 2.5 * steps_per_epoch, "not at the step that used the time up"
    assert [used for used, _ in slow_steps] == pytest.approx(np.arange(1, 11) / 10)
    rates = [rate for _, rate in slow_steps]
    assert max(rates) > 0.9 * recipe.learning_rate and rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    state = read_training_state(output / TRAINING_STATE)
    assert state.finished and state.epoch == 3 and trained.seconds == 100
    assert trained.model.is_file()
    finished = train(catalogue, recipe, output, resume=True, watch=watch_nothing)
    assert finished.history == trained.history and len(slow_steps) == 10

    # The seconds of earlier calls count.
    resumed = train(catalogue, recipe, copy, resume=True, watch=watch_nothing)
    np.testing.assert_allclose(slow_steps[10:], slow_steps[4:10], atol=1e-9)
    assert resumed.seconds == 100
    for one, other in zip(resumed.history, trained.history, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


@pytest.mark.slow
def test_a_resumed_training_has_the_same_reserve(run, catalogue, monkeypatch):
    budgets = []

    def make_budget(**settings):
        budgets.append(TimeBudget(**settings))
        return budgets[-1]

    monkeypatch.setattr(siamese.training.train, "TimeBudget", make_budget)
    train(catalogue, RECIPE, run.output, resume=True, watch=watch_nothing)
    assert budgets[0].reserve == read_training_state(run.output / TRAINING_STATE).reserve > 0
