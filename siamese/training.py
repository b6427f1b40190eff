"""Train on a catalogue, watch retrieval on held-out items, resume after a kill."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from siamese.augmentation import RandomView
from siamese.catalogue import Catalogue
from siamese.checkpoints import (
    FINAL_MODEL,
    TRAINING_STATE,
    checkpoint_name,
    load_model,
    read_training_state,
    restore_optimizer,
    save_model,
)
from siamese.devices import training_precision
from siamese.embedding import Skipped
from siamese.errors import InputError
from siamese.files import atomic_path, require_writable
from siamese.losses import ContrastiveLoss, MultiSimilarityLoss
from siamese.metrics import retrieval_metrics
from siamese.networks import (
    EMBEDDING_MODEL,
    embedding_model,
    inner_embedding_model,
    set_precision,
    siamese_network,
)
from siamese.pairs import PairGenerator
from siamese.progress import progress
from siamese.recipe import Recipe

TRAINING_LOG = "training_log.csv"
HELD_OUT_PICTURES = 2000
"""Most pictures of held-out items that are looked at each epoch."""
WATCH_SECONDS = 1.0
"""Between two looks of a watcher within an epoch."""


@dataclass(frozen=True)
class Progress:
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


@dataclass(frozen=True)
class Trained:
    """What a training run left behind.

    Attributes
    ----------
    model : the final model's file: the best epoch's weights
    best_epoch : counted from 1
    history : one row of figures an epoch, as in the CSV log; epoch 0 is before training
    skipped : the pictures that could not be used
    """

    model: Path
    best_epoch: int
    history: list[dict[str, float]]
    skipped: list[Skipped]


def train(
    catalogue: Catalogue,
    recipe: Recipe,
    output: Path,
    *,
    held_out: Catalogue | None = None,
    start: Path | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train, writing checkpoints to the folder `output`.

    Parameters
    ----------
    catalogue : what to learn from; see `siamese.catalogue`
    recipe : how
    output : folder for `weights.{epoch}-{val_loss}.hdf5` (each best one so far),
        `final_model.hdf5` (the best of all), `training_state.hdf5` (for `resume`) and
        `training_log.csv`
    held_out : items to measure retrieval on; otherwise a share of `catalogue` is kept for that
    start : a checkpoint whose embedding model is trained further, instead of a fresh one
    resume : go on after the last finished epoch of the run in `output`, which must have had the
        same recipe; ends where the uninterrupted run would have ended
    watch : is called before the first step, about once a second, and after each epoch; progress
        is then not printed

    Raises
    ------
    InputError
        No pairs to learn from, nothing to resume or another recipe, an unwritable folder, a loss
        that is no longer a number.
    """
    require_writable(output / FINAL_MODEL)
    state_path = output / TRAINING_STATE
    if resume:
        state = read_training_state(state_path)
        _require_same(recipe, catalogue, state, state_path)
        network = load_model(state_path)
    else:
        _require_no_unfinished_run(state_path)
        keras.utils.set_random_seed(recipe.seed)
        network = siamese_network(_fresh_embedding_model(recipe, start))
        state = {
            "recipe": asdict(recipe),
            "pictures": len(catalogue.pictures),
            "epoch": 0,
            "best": None,
            "history": [],
        }
    model = network.get_layer(EMBEDDING_MODEL)
    picture_size = model.input_shape[1]

    if held_out is None and recipe.held_out > 0:
        catalogue, held_out = _hold_out(catalogue, recipe)
    generator = PairGenerator(
        catalogue,
        picture_size=picture_size,
        sampling=recipe.sampling,
        batch_size=recipe.batch_size,
        pictures_per_item=recipe.pictures_per_item,
        seed=recipe.seed,
    )
    validation = None if held_out is None else _validation(held_out, recipe, picture_size)
    generator.epoch = state["epoch"]

    freeze_batch_norm(model)
    precision = training_precision()
    set_precision(network, precision)
    optimizer = _optimizer(recipe, steps=recipe.epochs * len(generator))
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    if resume:
        restore_optimizer(optimizer, network, state_path)
    # One optimizer, seen by both: the checkpoint is the whole siamese network with its state,
    # whatever is fitted.
    network.compile(optimizer, auto_scale_loss=False)
    view = RandomView(recipe.seed) if recipe.augmented else None
    fitted = _fitted(model if recipe.sampling == "batch-pairs" else network, view)
    # jit_compile is left at "auto": XLA on a GPU, none on a CPU, where it compiles for minutes.
    fitted.compile(optimizer, _loss(recipe), auto_scale_loss=False)

    keeper = _Keeper(network, validation, state, output, view, watch)
    try:
        fitted.fit(
            generator,
            validation_data=validation,
            initial_epoch=state["epoch"],
            epochs=recipe.epochs,
            verbose=0,
            shuffle=False,
            callbacks=[keeper],
        )
    finally:
        keeper.close()
    best = output / state["best"]["file"]
    final = output / FINAL_MODEL
    with atomic_path(final) as temporary:
        shutil.copyfile(best, temporary)
    skipped = generator.skipped + (validation.skipped if validation else [])
    return Trained(final, state["best"]["epoch"], state["history"], skipped)


def recorded_recipe(output: Path) -> Recipe:
    """The recipe of the run in `output`, to resume it with.

    Raises
    ------
    InputError
        If there is nothing to resume.
    """
    return Recipe(**read_training_state(output / TRAINING_STATE)["recipe"])


def freeze_batch_norm(model: keras.Model) -> None:
    """Keep the statistics of a pretrained backbone: small batches would only blur them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            freeze_batch_norm(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


class _Keeper(keras.callbacks.Callback):
    """Show each step; after each epoch measure retrieval, keep the best model and the state."""

    def __init__(
        self,
        network: keras.Model,
        validation: PairGenerator | None,
        state: dict[str, Any],
        output: Path,
        view: RandomView | None,
        watch: Callable[[Progress], None] | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.validation = validation
        self.state = state
        self.output = output
        self.view = view
        self.watch = watch
        self.bar: tqdm[Any] | None = None
        self.losses: list[float] = []
        self.mean_loss = 0.0
        self.watched = 0.0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        if not self.state["history"]:
            self._add({"epoch": 0, **self._retrieval()})
        self._look()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.view is not None:
            self.view.begin_epoch(epoch)
        if self.watch is None:
            what = f"epoch {epoch + 1}/{self.params['epochs']}"
            self.bar = progress(what, self.params["steps"], "batch")

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
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
            self.bar.update()
        elif monotonic() - self.watched >= WATCH_SECONDS:
            self._look()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.close()
        figures = {name: float(value) for name, value in (logs or {}).items()} | self._retrieval()
        self._add({"epoch": epoch + 1, **figures})
        # Held-out retrieval is what the model is for; without held-out items the loss must do.
        score = figures.get("val_map@r", -figures["loss"])
        if self.state["best"] is None or score > self.state["best"]["score"]:
            name = checkpoint_name(epoch + 1, figures.get("val_loss", figures["loss"]))
            self.state["best"] = {"epoch": epoch + 1, "score": score, "file": name}
            save_model(self.network, self.output / name)
        self.state["epoch"] = epoch + 1
        save_model(self.network, self.output / TRAINING_STATE, state=self.state)
        self._look()

    def close(self) -> None:
        """Take the progress bar away, also from a training that was stopped."""
        if self.bar is not None:
            self.bar.close()

    def _look(self) -> None:
        if self.watch is not None:
            steps, epochs = self.params["steps"], self.params["epochs"]
            self.watch(Progress(list(self.losses), steps, epochs, list(self.state["history"])))
            self.watched = monotonic()

    def _retrieval(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        embed = self.network.get_layer(EMBEDDING_MODEL).predict_on_batch
        pictures = self.validation.pictures
        # Whole batches, the last one filled up: another shape would be compiled anew.
        batches = np.resize(np.arange(len(pictures)), (-(-len(pictures) // 64), 64))
        vectors = np.concatenate([embed(self.validation.prepared(rows)) for rows in batches])
        figures = retrieval_metrics(
            vectors[: len(pictures)], [picture.item_id for picture in pictures]
        )
        return {f"val_{name}": figures[name] for name in ("recall@1", "map@r")}

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


def _fitted(model: keras.Model, view: RandomView | None) -> keras.Model:
    """The model that is fitted: with a random view in front of each input, if with any."""
    if view is None:
        return model
    inputs = keras.tree.map_structure(lambda one: keras.Input(one.shape[1:]), model.input)
    return keras.Model(inputs, model(keras.tree.map_structure(view, inputs)))


def _loss(recipe: Recipe) -> keras.losses.Loss:
    if recipe.sampling == "batch-pairs":
        return MultiSimilarityLoss()
    return ContrastiveLoss(recipe.margin)


def _fresh_embedding_model(recipe: Recipe, start: Path | None) -> keras.Model:
    if start is not None:
        return inner_embedding_model(load_model(start), start)
    return embedding_model(
        recipe.backbone,
        recipe.picture_size,
        embedding_size=recipe.embedding_size,
        weights=recipe.weights,
    )


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    warm_up = max(1, round(recipe.warm_up * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / warm_up,
        decay_steps=max(1, steps - warm_up),
        warmup_target=recipe.learning_rate,
        warmup_steps=warm_up,
    )
    return keras.optimizers.Adam(rate)


def _hold_out(catalogue: Catalogue, recipe: Recipe) -> tuple[Catalogue, Catalogue | None]:
    """Split off items to measure on, or none where the catalogue is too small to spare any."""
    pairable = sum(len(item.images) > 1 for item in catalogue.items.values())
    if round(recipe.held_out * pairable) < 2:
        print(
            f"too few items with two pictures ({pairable}) to hold any out: the loss alone decides "
            "which epoch is best; give other items with --held-out",
            file=sys.stderr,
        )
        return catalogue, None
    share = min(recipe.held_out, HELD_OUT_PICTURES / len(catalogue.pictures))
    return catalogue.split(1 - share, recipe.seed)


def _validation(held_out: Catalogue, recipe: Recipe, picture_size: int) -> PairGenerator | None:
    try:
        return PairGenerator(
            held_out,
            picture_size=picture_size,
            sampling=recipe.sampling,
            batch_size=recipe.batch_size,
            pictures_per_item=recipe.pictures_per_item,
            redraw=False,
            seed=recipe.seed,
        )
    except InputError as error:
        print(f"held-out items: {error}; only the loss is shown", file=sys.stderr)
        return None


def _require_same(recipe: Recipe, catalogue: Catalogue, state: dict[str, Any], path: Path) -> None:
    if len(catalogue.pictures) != state["pictures"]:
        raise InputError(
            f"{path}: was trained on {state['pictures']:,} pictures, now there are "
            f"{len(catalogue.pictures):,}; resume with the same data, or train anew in another "
            "--output with --keras-model"
        )
    now, earlier = asdict(recipe), state["recipe"]
    if now != earlier:
        raise InputError(
            f"{path}: was trained with {name} = {earlier.get(name)}, now it is {now[name]}; "
            "resume with the same flags"
            for name in now
            if now[name] != earlier.get(name)
        )


def _require_no_unfinished_run(path: Path) -> None:
    if not path.is_file():
        return
    state = read_training_state(path)
    if state["epoch"] < state["recipe"]["epochs"]:
        raise InputError(
            f"{path}: an unfinished training (epoch {state['epoch']} of "
            f"{state['recipe']['epochs']}); go on with --resume, or choose another --output"
        )
