"""Train on a catalogue, watch retrieval on held-out items, resume after a kill."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from siamese.data.catalogue import Catalogue, Skipped
from siamese.embedding.embedder import Embedder
from siamese.errors import InputError
from siamese.evaluation.calibration import calibrate_on_retrieval, get_calibration_path
from siamese.evaluation.metrics import measure_retrieval
from siamese.models.checkpoints import FINAL_MODEL, load_model
from siamese.models.devices import choose_training_precision
from siamese.models.embedding_model import (
    EMBEDDING_MODEL,
    POOLING,
    PROJECTION,
    embedding_model,
    extract_embedding_model,
    siamese_network,
)
from siamese.models.layer_walk import freeze_batch_norm
from siamese.models.precision import set_precision
from siamese.training.augmentation import RandomView
from siamese.training.budget import TimeBudget
from siamese.training.features import Embed, FrozenFeatures, embed_pictures
from siamese.training.held_out import _hold_out, _validation
from siamese.training.linear_head import train_head
from siamese.training.objective import batch_context, compares_with_items, fitted_model, make_loss
from siamese.training.optimizer import make_optimizer
from siamese.training.pair_generator import PairGenerator
from siamese.training.recipe import HEAD_SIZE, Recipe
from siamese.training.resume import (
    _require_no_unfinished_run,
    _require_same,
    read_training_state,
    restore_training,
)
from siamese.training.training_callback import TrainingCallback, TrainingProgress
from siamese.utils.artefacts import TRAINING_STATE
from siamese.utils.files import atomic_path, require_writable


@dataclass(frozen=True)
class Trained:
    """What a training run left behind.

    Attributes
    ----------
    model : the final model's file: the best epoch's weights
    best_epoch : counted from 1
    history : one row of figures an epoch, as in the CSV log; epoch 0 is before training
    seconds : that it took, in all its calls
    skipped : the pictures that could not be used
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
    """Train, writing checkpoints to the folder `output`.

    Parameters
    ----------
    catalogue : what to learn from; see `siamese.data.catalogue`
    recipe : how
    output : folder for `weights.{epoch}-{val_loss}.hdf5` (each best one so far),
        `final_model.hdf5` (the best of all), `final_model.calibration.json` (from held-out items,
        see `siamese.evaluation.calibration`), `training_state.hdf5` (for `resume`) and `training_log.csv`
    held_out : items to measure retrieval on; otherwise a share of `catalogue` is kept for that
    start : a checkpoint whose embedding model is trained further, instead of a fresh one
    resume : go on after the last finished epoch of the run in `output`, which must have had the
        same recipe; ends where the uninterrupted run would have ended
    watch : is called before the first step, about once a second, and after each epoch; progress
        is then not printed

    Raises
    ------
    InputError
        No pairs to learn from, choices that do not go together, nothing to resume or another
        recipe, an unwritable folder, a loss or embeddings that are no longer numbers.
    """
    if problems := recipe.problems():
        raise InputError(problems)
    budget = TimeBudget(limit=recipe.budget)
    loss = make_loss(recipe)
    require_writable(output / FINAL_MODEL)
    state_path = output / TRAINING_STATE
    if resume:
        state = read_training_state(state_path)
        _require_same(recipe, catalogue, state, state_path)
        budget.earlier, budget.reserve = state["seconds"], state.get("reserve", 0.0)
        network = load_model(state_path)
    else:
        _require_no_unfinished_run(state_path)
        keras.utils.set_random_seed(recipe.seed)
        network = siamese_network(_fresh_embedding_model(recipe, start))
        state = {
            "recipe": asdict(recipe),
            "pictures": len(catalogue.pictures),
            "epoch": 0,
            "seconds": 0.0,
            "finished": False,
            "best": None,
            "history": [],
        }
    model = network.get_layer(EMBEDDING_MODEL)
    before_training = _model_before_training(model, recipe, start)
    # A checkpoint that is trained further has a size of its own.
    recipe = replace(recipe, picture_size=model.input_shape[1])

    if held_out is None and recipe.held_out > 0:
        catalogue, held_out = _hold_out(catalogue, recipe)
    generator = PairGenerator(
        catalogue,
        picture_size=recipe.picture_side,
        sampling=recipe.sampling,
        batch_size=recipe.batch_size,
        pictures_per_item=recipe.pictures_per_item,
        batches=recipe.batches,
        hard_negatives=recipe.hard_negatives,
        memory=recipe.memory,
        proxies=compares_with_items(recipe),
        seed=recipe.seed,
    )
    validation = None if held_out is None else _validation(held_out, recipe)
    freeze_batch_norm(model)
    set_precision(network, choose_training_precision())
    view = RandomView(recipe.seed, recipe.flip, recipe.erasing) if recipe.augmented else None
    callback = TrainingCallback(
        network, generator, validation, state, output, recipe, view, budget, watch
    )
    head_first = recipe.layers != "all" and state["epoch"] == 0
    if head_first:
        features = FrozenFeatures(model)
        callback.embed = features.embed
    try:
        if not state["history"]:
            callback.begin(before_training)
        callback.notify()
        if head_first:
            losses = train_head(model, generator, features.compute(generator), recipe.seed)
            callback.end_epoch(1, {"loss": losses[-1]})
            if recipe.layers == "head-then-all":
                callback.embed = embed_pictures
                set_precision(network, choose_training_precision())
        if recipe.layers != "head" and not state["finished"]:
            _fit(callback, loss, state_path if resume else None)
    finally:
        callback.close()
    best = output / state["best"]["file"]
    final = output / FINAL_MODEL
    with atomic_path(final) as temporary:
        shutil.copyfile(best, temporary)
    if validation is not None:
        _calibrate(final, validation, callback.embed)
    _warn_if_not_improved(state)
    skipped = generator.skipped + (validation.skipped if validation else [])
    return Trained(
        final, state["best"]["epoch"], state["history"], round(state["seconds"], 1), skipped
    )


def _fit(callback: TrainingCallback, loss: keras.losses.Loss, resumed_from: Path | None) -> None:
    """Train all layers from the epoch that the callback's state names on, to the end."""
    network, generator, state, recipe = (
        callback.network,
        callback.generator,
        callback.state,
        callback.recipe,
    )
    of_pairs = recipe.sampling == "random-pairs"
    trained = network if of_pairs else network.get_layer(EMBEDDING_MODEL)
    context = batch_context(recipe, generator)
    # Held-out items have no proxies, and so no loss to tell.
    validation = None if compares_with_items(recipe) else callback.validation
    optimizer = None
    for picture_size, end in _phases(recipe, state["epoch"]):
        generator.epoch = state["epoch"]  # the end of `fit` leaves it elsewhere
        fitted = fitted_model(trained, picture_size, view=callback.view, context=context)
        if optimizer is None:
            epochs = recipe.epochs - (recipe.layers == "head-then-all")
            optimizer = make_optimizer(fitted, recipe, epochs * len(generator))
            optimizer.schedule.budget_used.assign(callback.budget.used)
            if choose_training_precision() == "mixed_float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            callback.kept_variables = context.trainable_variables if context is not None else []
            if resumed_from is not None:
                restore_training(resumed_from, optimizer, fitted, callback.kept_variables)
            if generator.draws_by_embeddings and state["epoch"]:
                callback.show_embeddings()
        # One optimizer, seen by both: the checkpoint is the whole siamese network with its state,
        # whatever is fitted.
        network.compile(optimizer, auto_scale_loss=False)
        # jit_compile is left at "auto": XLA on a GPU, none on a CPU, where it compiles for minutes.
        fitted.compile(optimizer, loss, auto_scale_loss=False)
        callbacks: list[keras.callbacks.Callback] = [callback]
        if recipe.weight_average:
            callback.average = keras.callbacks.SwapEMAWeights()
            callbacks = [callback.average, callback]
        fitted.fit(
            generator,
            validation_data=validation,
            initial_epoch=state["epoch"],
            epochs=end,
            verbose=0,
            shuffle=False,
            callbacks=callbacks,
        )
        if state["finished"]:
            return


def _phases(recipe: Recipe, first: int) -> Iterator[tuple[int, int]]:
    """The picture sizes from an epoch on, each with the epoch that it ends before."""
    for epoch in range(first, recipe.epochs):
        size, following = recipe.picture_size_of(epoch), recipe.picture_size_of(epoch + 1)
        if epoch + 1 == recipe.epochs or size != following:
            yield size, epoch + 1


def _fresh_embedding_model(recipe: Recipe, start: Path | None) -> keras.Model:
    if start is not None:
        return extract_embedding_model(load_model(start), start)
    head_size = HEAD_SIZE if recipe.layers != "all" else None
    return embedding_model(
        recipe.backbone,
        recipe.picture_side,
        embedding_size=recipe.embedding_size or head_size,
        pooling=recipe.pooling,
        weights=recipe.weights,
    )


def _model_before_training(model: keras.Model, recipe: Recipe, start: Path | None) -> keras.Model:
    """What embeds before anything is trained: without the projection that a head begins with.

    Raises
    ------
    InputError
        If a head is to be trained of a checkpoint that has none.
    """
    if recipe.layers == "all":
        return model
    if not {POOLING, PROJECTION} <= {layer.name for layer in model.layers}:
        raise InputError(
            f"{start}: has no layers named {POOLING} and {PROJECTION}, so there is no head to "
            "train; leave --layers out, or start from a checkpoint trained with --embedding-size"
        )
    if start is not None:
        return model
    features = model.get_layer(POOLING).output
    return keras.Model(model.input, keras.layers.UnitNormalization(dtype="float32")(features))


def _calibrate(final: Path, validation: PairGenerator, embed: Embed) -> None:
    """Write the distance beyond which a thing is not in the catalogue, where that can be told."""
    embedder = Embedder.load(final)
    vectors = embed(embedder.model, validation, None)
    item_ids = [picture.item_id for picture in validation.pictures]
    try:
        calibrated = calibrate_on_retrieval(
            measure_retrieval(vectors, item_ids),
            fingerprint=embedder.facts.fingerprint,
            measured_on="the held-out items of its training",
        )
    except InputError:  # too few items or pictures
        return
    calibrated.write(get_calibration_path(final))


def _warn_if_not_improved(state: dict[str, Any]) -> None:
    before, best = state["history"][0].get("val_map@r"), state["best"]["score"]
    if before is not None and best <= before:
        print(
            f"note: no epoch was better than the start on held-out items (MAP@R {before:.3f} "
            f"before, {best:.3f} at best): there is little to learn from these pictures, or the "
            "--learning-rate is too high; what you started from may serve you better",
            file=sys.stderr,
        )
