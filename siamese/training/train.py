"""Training of an embedding model on a catalogue."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras

from siamese.data.catalogue import Catalogue, Skipped
from siamese.errors import InputError
from siamese.models.checkpoints import FINAL_MODEL, load_model
from siamese.models.devices import choose_training_precision
from siamese.models.embedding_model import (
    EMBEDDING_MODEL,
    embedding_model,
    extract_embedding_model,
    siamese_network,
)
from siamese.models.layer_walk import freeze_batch_norm
from siamese.models.precision import set_precision
from siamese.training.augmentation import RandomView
from siamese.training.budget import TimeBudget
from siamese.training.calibration import calibrate_on_held_out
from siamese.training.features import FrozenFeatures
from siamese.training.held_out import hold_out_items, make_validation
from siamese.training.learning_rate import WarmUpThenCosine
from siamese.training.linear_head import model_without_head, require_head, train_head
from siamese.training.objective import build_fitted_model, make_loss
from siamese.training.pair_generator import PairGenerator
from siamese.training.recipe import HEAD_SIZE, Recipe
from siamese.training.resume import (
    TrainingState,
    require_no_unfinished_run,
    restore_optimizer,
    resume_run,
)
from siamese.training.training_callback import TrainingCallback, TrainingProgress
from siamese.utils.artefacts import TRAINING_STATE
from siamese.utils.files import atomic_path, require_writable


@dataclass(frozen=True)
class Trained:
    """Result of a training run.

    Attributes
    ----------
    model : Path
        Checkpoint of the best epoch.
    best_epoch : int
        Number of the best epoch, counted from 1.
    history : list of dict
        Metrics of each epoch, as in the CSV log; epoch 0 is the model before training.
    seconds : float
        Time taken, including before the run was resumed.
    skipped : list of Skipped
        Pictures that could not be read.
    """

    model: Path
    best_epoch: int
    history: list[dict[str, float]]
    seconds: float
    skipped: list[Skipped]


def train(
    catalogue: Catalogue,
    recipe: Recipe,
    output: Path,
    *,
    held_out: Catalogue | None = None,
    start: Path | None = None,
    resume: bool = False,
    watch: Callable[[TrainingProgress], None] | None = None,
) -> Trained:
    """Train an embedding model, and write checkpoints to a folder.

    Parameters
    ----------
    catalogue : Catalogue
        Items to train on.
    recipe : Recipe
        Settings of the training.
    output : Path
        Folder for ``final_model.hdf5`` (the best epoch), ``weights.{epoch}-{val_loss}.hdf5`` (each
        epoch better than all before it), ``final_model.calibration.json`` (see
        `siamese.evaluation.calibration`), ``training_log.csv`` and ``training_state.hdf5`` (for
        `resume`).
    held_out : Catalogue, optional
        Items to measure retrieval on. By default, a fraction of `catalogue` is held out.
    start : Path, optional
        Checkpoint of an embedding model to train further; by default a new model is built.
    resume : bool, default False
        Whether to continue the run in `output` after its last finished epoch, as if it had not
        been interrupted. Its recipe must be the same.
    watch : callable, optional
        Called with a `TrainingProgress` before the first step, about once a second, and after each
        epoch. If given, progress is not printed.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If the catalogue has no positive or no negative pair, settings conflict, the run cannot be
        resumed or would overwrite an unfinished one, the folder is not writable, or the loss or
        the embeddings become infinite or NaN.

    Examples
    --------
    >>> catalogue = Catalogue.read("items.json", image_dir="photos")  # doctest: +SKIP
    >>> train(catalogue, Recipe(epochs=3), Path("checkpoints")).best_epoch  # doctest: +SKIP
    3
    """
    if not resume and (problems := recipe.problems()):
        raise InputError(problems)
    loss = make_loss(recipe)
    budget = TimeBudget(limit=recipe.budget)
    require_writable(output / FINAL_MODEL)
    if resume:
        network, state = resume_run(output, recipe, catalogue)
        budget.earlier, budget.reserve = state.seconds, state.reserve
    else:
        require_no_unfinished_run(output)
        keras.utils.set_random_seed(recipe.seed)
        network = siamese_network(_starting_model(recipe, start))
        state = TrainingState(asdict(recipe), pictures=len(catalogue.pictures))
    model = network.get_layer(EMBEDDING_MODEL)
    recipe = replace(recipe, picture_size=model.input_shape[1])  # a checkpoint's size has priority

    if held_out is None and recipe.held_out > 0:
        catalogue, held_out = hold_out_items(catalogue, recipe)
    generator = _training_generator(catalogue, recipe)
    validation = None if held_out is None else make_validation(held_out, recipe)

    freeze_batch_norm(model)
    set_precision(network, choose_training_precision())
    view = RandomView(recipe.seed, recipe.flip) if recipe.augmented else None
    callback = TrainingCallback(
        network, generator, validation, state, output, recipe, budget, view, watch
    )
    features = FrozenFeatures(model) if recipe.layers == "head" else None
    if features is not None:
        callback.embed = features.embed
    try:
        if not resume:
            fresh_head = features is not None and start is None
            callback.measure_start(model_without_head(model) if fresh_head else model)
        callback.notify()
        if not state.finished and features is not None:
            losses = train_head(model, generator, features.compute(generator), recipe.seed)
            callback.end_epoch(1, {"loss": losses[-1]})
        elif not state.finished:
            _fit(callback, loss, output / TRAINING_STATE if resume else None)
    finally:
        callback.close()

    final = output / FINAL_MODEL
    assert state.best is not None
    with atomic_path(final) as temporary:
        shutil.copyfile(output / state.best["file"], temporary)
    if validation is not None:
        calibrate_on_held_out(final, validation, callback.embed)
    _warn_if_not_improved(state)
    skipped = generator.skipped + (validation.skipped if validation else [])
    return Trained(final, state.best["epoch"], state.history, round(state.seconds, 1), skipped)


def _starting_model(recipe: Recipe, start: Path | None) -> keras.Model:
    """Return the embedding model of the checkpoint `start`, or a new one if that is None.

    Raises
    ------
    InputError
        If only a head is to be trained, but the checkpoint has none.
    """
    if start is None:
        head_size = HEAD_SIZE if recipe.layers == "head" else None
        return embedding_model(
            recipe.backbone,
            recipe.effective_picture_size,
            embedding_size=recipe.embedding_size or head_size,
            pooling=recipe.pooling,
            weights=recipe.weights,
        )
    model = extract_embedding_model(load_model(start), start)
    if recipe.layers == "head":
        require_head(model, start)
    return model


def _training_generator(catalogue: Catalogue, recipe: Recipe) -> PairGenerator:
    return PairGenerator(
        catalogue,
        picture_size=recipe.effective_picture_size,
        sampling=recipe.sampling,
        batch_size=recipe.batch_size,
        pictures_per_item=recipe.pictures_per_item,
        batches=recipe.batches,
        memory=recipe.memory,
        seed=recipe.seed,
    )


def _fit(callback: TrainingCallback, loss: keras.losses.Loss, resume_from: Path | None) -> None:
    """Train all layers, from the epoch in the callback's state to the last.

    Parameters
    ----------
    callback : TrainingCallback
        Callback that holds the network, the generators, the state and the recipe.
    loss : keras.losses.Loss
        Loss to minimise.
    resume_from : Path or None
        Training state from which to restore the optimizer; None for a new run.
    """
    generator, state, recipe = callback.generator, callback.state, callback.recipe
    model = callback.network
    if recipe.sampling == "batch-pairs":
        model = model.get_layer(EMBEDDING_MODEL)
    fitted = build_fitted_model(model, view=callback.view, memory=generator.memory)

    schedule = WarmUpThenCosine(recipe.peak_learning_rate, recipe.epochs * len(generator))
    schedule.budget_used.assign(callback.budget.used)
    callback.schedule = schedule
    optimizer = keras.optimizers.Adam(schedule)
    if choose_training_precision() == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(fitted.trainable_variables)  # so that the step is traced only once
    if resume_from is not None:
        restore_optimizer(resume_from, optimizer)
        if generator.draws_by_embeddings:
            callback.update_embeddings()
    generator.epoch = state.epoch
    # Keep jit_compile="auto": it uses XLA only on a GPU; on a CPU, compiling would take minutes.
    fitted.compile(optimizer, loss, auto_scale_loss=False)
    fitted.fit(
        generator,
        validation_data=callback.validation,
        initial_epoch=state.epoch,
        epochs=recipe.epochs,
        verbose=0,
        shuffle=False,
        callbacks=[callback],
    )


def _warn_if_not_improved(state: TrainingState) -> None:
    """Warn if no epoch beat the starting model on the held-out items."""
    assert state.best is not None
    before, best = state.history[0].get("val_map@r"), state.best["score"]
    if before is not None and best <= before:
        print(
            f"note: no epoch was better than the start on held-out items (MAP@R {before:.3f} "
            f"before, {best:.3f} at best): there is little to learn from these pictures, or the "
            "--learning-rate is too high; the model you started from may serve you better",
            file=sys.stderr,
        )
