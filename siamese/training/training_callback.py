"""What happens around the epochs of a training: it is shown, measured, judged and kept."""

from __future__ import annotations

import csv
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
from siamese.training.pair_generator import PairGenerator
from siamese.training.recipe import Recipe
from siamese.training.resume import checkpoint_name, save_training
from siamese.utils.artefacts import TRAINING_STATE
from siamese.utils.files import atomic_path
from siamese.utils.progress import progress_bar

TRAINING_LOG = "training_log.csv"
WATCH_SECONDS = 1.0
"""Between two looks of a watcher within an epoch."""
PROBE_PICTURES = 256
"""Training pictures whose embeddings are looked at where no items are held out."""
COLLAPSED = 0.02
"""Spread of the embeddings, in parts of that before training, below which they are all alike."""


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is, for those who watch it.

    Attributes
    ----------
    losses : of each step of this call, the newest last
    steps_per_epoch, epochs : of the whole training
    history : one row of figures a finished epoch, as in the CSV log; epoch 0 is before training
    """

    losses: list[float]
    steps_per_epoch: int
    epochs: int
    history: list[dict[str, float]]


class TrainingCallback(keras.callbacks.Callback):
    """Show each step; after each epoch measure retrieval, keep the best model and the state.

    Parameters
    ----------
    network : the siamese network, which is what is written
    generator : the training pictures
    validation : held-out pictures to measure retrieval on
    state : what `--resume` needs to know, kept up to date here
    output : folder
    recipe : ends of the training: epochs, budget, patience
    view : is told which epoch it is
    budget : is looked at for the budget
    kept_variables : trained variables that are not the network's, for the state
    watch : see `siamese.training.train.train`

    Attributes
    ----------
    embed : gives the vectors that retrieval is measured on
    """

    def __init__(
        self,
        network: keras.Model,
        generator: PairGenerator,
        validation: PairGenerator | None,
        state: dict[str, Any],
        output: Path,
        recipe: Recipe,
        view: RandomView | None,
        budget: TimeBudget,
        watch: Callable[[TrainingProgress], None] | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.generator = generator
        self.validation = validation
        self.state = state
        self.output = output
        self.recipe = recipe
        self.view = view
        self.budget = budget
        self.watch = watch
        self.embed: Embed = embed_pictures
        self.kept_variables: list[keras.Variable] = []
        self.average: keras.callbacks.Callback | None = None
        self.bar: tqdm[Any] | None = None
        self.losses: list[float] = []
        self.mean_loss = 0.0
        self.watched = 0.0

    def begin(self, model: keras.Model) -> None:
        """Measure what training starts from: an embedding model."""
        began = self.budget.seconds
        self._add({"epoch": 0, **self._measured(model)})
        # At the end it is measured once more, and calibrated.
        self.budget.reserve = self.state["reserve"] = 2 * (self.budget.seconds - began)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.mean_loss = 0.0
        if self.view is not None:
            self.view.begin_epoch(epoch)
        if self.watch is None:
            what = f"epoch {epoch + 1}/{self.recipe.epochs}"
            self.bar = progress_bar(what, len(self.generator), "batch")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        mean_loss = float((logs or {})["loss"])
        if not np.isfinite(mean_loss):
            raise InputError(
                f"the loss is no longer a number in epoch {self.state['epoch'] + 1}; "
                "train anew with a lower --learning-rate and another --output"
            )
        # Keras tells the mean of the epoch so far.
        self.losses.append((batch + 1) * mean_loss - batch * self.mean_loss)
        self.mean_loss = mean_loss
        if self.recipe.budget is not None:
            self._stop_if_over_budget()
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
            self.bar.update()
        elif monotonic() - self.watched >= WATCH_SECONDS:
            self.notify()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.close()
        self.end_epoch(epoch + 1, {name: float(value) for name, value in (logs or {}).items()})
        if self.state["finished"]:
            self.model.stop_training = True

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> None:
        """Measure after an epoch (from 1), keep it if it is the best so far, and the state."""
        if self.average is not None:
            # The average of the weights takes their place. Not by on_predict_begin: what ends
            # that in Keras does not bring the weights back.
            self.average.on_test_begin()
        try:
            figures |= self._measured(self.network.get_layer(EMBEDDING_MODEL))
            self._add({"epoch": epoch, **figures})
            self._warn_if_collapsed(epoch)
            # Held-out retrieval is what the model is for; without held-out items the loss must do.
            score = figures.get("val_map@r", -figures["loss"])
            if self.state["best"] is None or score > self.state["best"]["score"]:
                name = checkpoint_name(epoch, figures.get("val_loss", figures["loss"]))
                self.state["best"] = {"epoch": epoch, "score": score, "file": name}
                save_model(self.network, self.output / name)
        finally:
            if self.average is not None:
                self.average.on_test_end()
        self.state["epoch"] = epoch
        self.state["seconds"] = self.budget.seconds
        patience = self.recipe.patience
        self.state["finished"] = (
            epoch >= (1 if self.recipe.layers == "head" else self.recipe.epochs)
            or self.budget.used >= 1
            or (patience is not None and epoch - self.state["best"]["epoch"] >= patience)
        )
        if self.generator.draws_by_embeddings and not self.state["finished"]:
            self.show_embeddings()
        save_training(self.network, self.output / TRAINING_STATE, self.state, self.kept_variables)
        self.notify()

    def show_embeddings(self) -> None:
        """Have the generator draw by what the network makes of its pictures now."""
        model = self.network.get_layer(EMBEDDING_MODEL)
        self.generator.set_embeddings(self.embed(model, self.generator, None))

    def close(self) -> None:
        """Take the progress bar away, also from a training that was stopped."""
        if self.bar is not None:
            self.bar.close()

    def notify(self) -> None:
        """Let the watcher see how far it is."""
        if self.watch is not None:
            steps, epochs = len(self.generator), self.recipe.epochs
            self.watch(
                TrainingProgress(list(self.losses), steps, epochs, list(self.state["history"]))
            )
            self.watched = monotonic()

    def _stop_if_over_budget(self) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        optimizer.schedule.budget_used.assign(self.budget.used)
        if self.budget.used >= 1:
            self.model.stop_training = True

    def _measured(self, model: keras.Model) -> dict[str, float]:
        """Retrieval among held-out pictures, if any; notes how far embeddings are spread."""
        shown = self.generator if self.validation is None else self.validation
        pictures = len(shown.pictures)
        if self.validation is None:
            pictures = min(pictures, PROBE_PICTURES)
        vectors = self.embed(model, shown, pictures)
        if not np.isfinite(vectors).all():
            raise InputError(
                "the embeddings are no longer numbers; train anew with a lower --learning-rate "
                "and another --output"
            )
        self.spread = 1 - float(np.square(vectors.mean(axis=0, dtype=np.float64)).sum())
        self.state.setdefault("spread", self.spread)
        if self.validation is None:
            return {}
        figures = retrieval_metrics(vectors, [picture.item_id for picture in shown.pictures])
        return {f"val_{name}": figures[name] for name in ("recall@1", "map@r")}

    def _warn_if_collapsed(self, epoch: int) -> None:
        """Embeddings that are all alike find nothing, whatever the loss says.

        Of vectors of length 1 the spread, 1 − |mean|², is 1 minus the mean cosine of two of them.
        """
        if self.spread < COLLAPSED * self.state["spread"]:
            tqdm.write(
                f"epoch {epoch}: the embeddings have collapsed, all pictures are alike (cosine "
                f"{1 - self.spread:.5f} on average); unless a later epoch mends it, train anew "
                "with a lower --learning-rate, the default --loss or more items in a batch",
                file=sys.stderr,
            )

    def _add(self, figures: dict[str, float]) -> None:
        self.state["history"].append(figures)
        names = list(dict.fromkeys(name for row in self.state["history"] for name in row))
        with atomic_path(self.output / TRAINING_LOG) as temporary, temporary.open("w") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.state["history"])
        text = "  ".join(f"{name} {figures[name]:.3f}" for name in names[1:] if name in figures)
        # Without held-out items there is nothing to say before the first epoch.
        if text and self.watch is None:
            when = f"epoch {figures['epoch']}" if figures["epoch"] else "before"
            tqdm.write(f"{when}: {text}", file=sys.stderr)
