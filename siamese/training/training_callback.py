"""Keras callback that measures and saves the model, reports progress and stops training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from siamese.errors import InputError
from siamese.evaluation.metrics import retrieval_metrics
from siamese.models.checkpoints import save_model
from siamese.models.embedding_model import EMBEDDING_MODEL
from siamese.training.augmentation import RandomView
from siamese.training.budget import TimeBudget
from siamese.training.features import Embed, embed_pictures
from siamese.training.learning_rate import WarmUpThenCosine
from siamese.training.pair_generator import PairGenerator
from siamese.training.recipe import Recipe
from siamese.training.resume import TrainingState, checkpoint_name, save_training
from siamese.training.training_log import write_training_log
from siamese.utils.artefacts import TRAINING_STATE
from siamese.utils.progress import progress_bar

NOTIFY_SECONDS = 1.0
"""Minimum seconds between two calls of a watcher within an epoch."""
PROBE_PICTURES = 256
"""Maximum number of training pictures used to detect a collapse if no items are held out."""
COLLAPSED = 0.02
"""Embeddings have collapsed if their spread falls below this fraction of the initial spread."""


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training run, for a watcher.

    Attributes
    ----------
    losses : list of float
        Loss of each step since the run was started or resumed, newest last.
    steps_per_epoch : int
        Number of steps per epoch.
    epochs : int
        Number of epochs in the whole training.
    history : list of dict
        Metrics of each finished epoch, as in the CSV log; epoch 0 is the model before training.
    """

    losses: list[float]
    steps_per_epoch: int
    epochs: int
    history: list[dict[str, float]]


class TrainingCallback(keras.callbacks.Callback):
    """Callback that reports progress, and measures and saves the model after each epoch.

    Parameters
    ----------
    network : keras.Model
        Siamese network to save in checkpoints.
    generator : PairGenerator
        Generator of the training pictures.
    validation : PairGenerator or None
        Generator of the held-out pictures, on which retrieval is measured.
    state : TrainingState
        Progress of the run, updated and saved after each epoch.
    output : Path
        Folder of the run.
    recipe : Recipe
        Settings of the run; its epochs and patience decide when training stops.
    budget : TimeBudget
        Time budget; training stops when it is used up.
    view : RandomView, optional
        Augmentation layer, reset at the start of each epoch.
    watch : callable, optional
        See `siamese.training.train.train`.

    Attributes
    ----------
    embed : callable
        Function that embeds a generator's pictures; `embed_pictures` by default.
    schedule : WarmUpThenCosine or None
        Learning rate schedule, whose `budget_used` is updated after each step.
    """

    def __init__(
        self,
        network: keras.Model,
        generator: PairGenerator,
        validation: PairGenerator | None,
        state: TrainingState,
        output: Path,
        recipe: Recipe,
        budget: TimeBudget,
        view: RandomView | None = None,
        watch: Callable[[TrainingProgress], None] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.generator = generator
        self.validation = validation
        self.state = state
        self.output = output
        self.recipe = recipe
        self.budget = budget
        self.view = view
        self.watch = watch
        self.embed: Embed = embed_pictures
        self.schedule: WarmUpThenCosine | None = None
        self._bar: tqdm[Any] | None = None
        self._losses: list[float] = []
        self._mean_loss = 0.0
        self._notified = 0.0
        self._spread = 0.0

    def measure_start(self, model: keras.Model) -> None:
        """Measure the embedding model before training, and record it as epoch 0."""
        began = self.budget.seconds
        self._record({"epoch": 0, **self._measure(model)})
        # Measuring after the last epoch and calibrating will each take about as long as this.
        self.budget.reserve = self.state.reserve = 2 * (self.budget.seconds - began)
        self.state.spread = self._spread

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._mean_loss = 0.0
        if self.view is not None:
            self.view.begin_epoch(epoch)
        if self.watch is None:
            title = f"epoch {epoch + 1}/{self.recipe.epochs}"
            self._bar = progress_bar(title, len(self.generator), "batch")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        mean_loss = float((logs or {})["loss"])
        if not np.isfinite(mean_loss):
            raise InputError(
                f"the loss is not finite in epoch {self.state.epoch + 1}; start again with a "
                "lower --learning-rate and another --output"
            )
        # Keras reports the mean loss of the epoch so far; compute this step's loss from it.
        self._losses.append((batch + 1) * mean_loss - batch * self._mean_loss)
        self._mean_loss = mean_loss
        self._stop_if_over_budget()
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
            self._bar.update()
        elif monotonic() - self._notified >= NOTIFY_SECONDS:
            self.notify()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.close()
        self.end_epoch(epoch + 1, {name: float(value) for name, value in (logs or {}).items()})
        if self.state.finished:
            self.model.stop_training = True

    def end_epoch(self, epoch: int, losses: dict[str, float]) -> None:
        """Measure and record an epoch, save the model if it is the best, and save the state.

        Parameters
        ----------
        epoch : int
            Counted from 1.
        losses : dict
            The epoch's ``loss`` and, if available, ``val_loss``.
        """
        state = self.state
        figures = self._measure(self.network.get_layer(EMBEDDING_MODEL)) | losses
        self._record({"epoch": epoch, **figures})
        self._warn_if_collapsed(epoch)
        # Without held-out items, the epoch with the lowest loss is the best.
        score = figures.get("val_map@r", -figures["loss"])
        if state.best is None or score > state.best["score"]:
            name = checkpoint_name(epoch, figures.get("val_loss", figures["loss"]))
            state.best = {"epoch": epoch, "score": score, "file": name}
            save_model(self.network, self.output / name)
        state.epoch = epoch
        state.seconds = self.budget.seconds
        patience = self.recipe.patience
        state.finished = (
            epoch >= self.recipe.epochs
            or self.recipe.layers == "head"
            or self.budget.used >= 1
            or (patience is not None and epoch - state.best["epoch"] >= patience)
        )
        if self.generator.draws_by_embeddings and not state.finished:
            self.update_embeddings()
        optimizer = getattr(self.model, "optimizer", None)
        save_training(self.network, self.output / TRAINING_STATE, state, optimizer)
        self.notify()

    def update_embeddings(self) -> None:
        """Pass the network's current embeddings to the generator, for drawing hard items."""
        model = self.network.get_layer(EMBEDDING_MODEL)
        self.generator.set_embeddings(self.embed(model, self.generator, None))

    def close(self) -> None:
        """Close the progress bar."""
        if self._bar is not None:
            self._bar.close()

    def notify(self) -> None:
        """Call the watcher, if any, with the progress so far."""
        if self.watch is not None:
            steps, epochs = len(self.generator), self.recipe.epochs
            self.watch(
                TrainingProgress(list(self._losses), steps, epochs, list(self.state.history))
            )
            self._notified = monotonic()

    def _stop_if_over_budget(self) -> None:
        if self.schedule is not None:
            self.schedule.budget_used.assign(self.budget.used)
        if self.budget.used >= 1:
            self.model.stop_training = True

    def _measure(self, model: keras.Model) -> dict[str, float]:
        """Return retrieval metrics on held-out pictures, if any, and update `_spread`."""
        generator, count = self.validation, None
        if generator is None:
            generator = self.generator
            count = min(len(generator.pictures), PROBE_PICTURES)
        vectors = self.embed(model, generator, count)
        if not np.isfinite(vectors).all():
            raise InputError(
                "the embeddings are not finite; start again with a lower --learning-rate and "
                "another --output"
            )
        # For unit vectors, the squared norm of their mean is the mean cosine over all pairs.
        self._spread = 1 - float(np.square(vectors.mean(axis=0, dtype=np.float64)).sum())
        if self.validation is None:
            return {}
        figures = retrieval_metrics(vectors, [picture.item_id for picture in generator.pictures])
        return {f"val_{name}": figures[name] for name in ("recall@1", "map@r")}

    def _warn_if_collapsed(self, epoch: int) -> None:
        """Warn if the embeddings are nearly equal, and so useless even if the loss is low."""
        if self.state.spread is None:
            self.state.spread = self._spread
        if self._spread < COLLAPSED * self.state.spread:
            tqdm.write(
                f"epoch {epoch}: the embeddings have collapsed, all pictures are alike (cosine "
                f"{1 - self._spread:.5f} on average); unless a later epoch recovers, start again "
                "with a lower --learning-rate, the default --loss or more items per batch",
                file=sys.stderr,
            )

    def _record(self, figures: dict[str, float]) -> None:
        """Add an epoch to the history and the log, and print its metrics if there is no watcher."""
        self.state.history.append(figures)
        write_training_log(self.output, self.state.history)
        text = "  ".join(
            f"{name} {value:.3f}" for name, value in figures.items() if name != "epoch"
        )
        # Without held-out items there is nothing to print before the first epoch.
        if text and self.watch is None:
            title = f"epoch {figures['epoch']}" if figures["epoch"] else "before"
            tqdm.write(f"{title}: {text}", file=sys.stderr)
