"""Write the state of a training run, and resume it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import keras

from siamese.data.catalogue import Catalogue
from siamese.errors import InputError
from siamese.models.checkpoints import save_model
from siamese.training.recipe import Recipe
from siamese.utils.artefacts import TRAINING_STATE

_STATE, _OPTIMIZER, _LOSS_SCALE, _VARIABLES = (
    "training_state",
    "training_optimizer",
    "training_loss_scale",
    "training_variables",
)


def checkpoint_name(epoch: int, val_loss: float) -> str:
    """Return the name of the checkpoint of an epoch, counted from 1."""
    return f"weights.{epoch:03d}-{val_loss:.5f}.hdf5"


def save_training(
    network: keras.Model,
    path: Path,
    state: dict[str, Any],
    variables: Sequence[keras.Variable] = (),
) -> None:
    """Save a network together with all that resuming its training needs.

    Parameters
    ----------
    network : keras.Model
        The network; the variables of its optimizer, if it has one, are saved too.
    path : Path
        The file to write. It is replaced only when the new one is complete.
    state : dict
        Where the training is, as plain JSON values; `read_training_state` returns it.
    variables : sequence of keras.Variable, optional
        Trained variables that are not the network's own.

    Raises
    ------
    InputError
        If the file cannot be written.
    """

    def add(file: h5py.File) -> None:
        file[_STATE] = json.dumps(state)
        # Keras can save an optimizer's variables but does not restore those of a functional model.
        for name, variable in _stored(getattr(network, "optimizer", None), variables):
            file[name] = keras.ops.convert_to_numpy(variable)

    save_model(network, path, add=add)


def read_training_state(path: Path) -> dict[str, Any]:
    """Read the state that `save_training` was given, without building the network.

    Raises
    ------
    InputError
        One line: there is nothing to resume, or the file is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: nothing to resume; train without --resume first")
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file[_STATE][()])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: holds no training state; remove it and train without --resume"
        ) from error


def restore_training(
    path: Path,
    optimizer: keras.optimizers.Optimizer,
    fitted: keras.Model,
    variables: Sequence[keras.Variable] = (),
) -> None:
    """Set a new optimizer of a model, and the `variables` beside it, to what `save_training` wrote.

    A file that was written before the optimizer had taken a step leaves it new.
    """
    optimizer.build(fitted.trainable_variables)
    with h5py.File(path, "r") as file:
        if _OPTIMIZER not in file:
            return
        for name, variable in _stored(optimizer, variables):
            if name.startswith(_LOSS_SCALE) and name not in file:
                continue  # it was trained in another precision until now
            variable.assign(file[name][()])


def _stored(
    optimizer: keras.optimizers.Optimizer | None, variables: Sequence[keras.Variable]
) -> Iterator[tuple[str, keras.Variable]]:
    """All variables of a training, under the same names with and without loss scaling."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        yield f"{_LOSS_SCALE}/scale", optimizer.dynamic_scale
        yield f"{_LOSS_SCALE}/steps", optimizer.step_counter
        optimizer = optimizer.inner_optimizer
    for place, variable in enumerate(optimizer.variables if optimizer is not None else ()):
        yield f"{_OPTIMIZER}/{place}", variable
    for place, variable in enumerate(variables):
        yield f"{_VARIABLES}/{place}", variable


def recorded_recipe(output: Path) -> Recipe:
    """The recipe of the run in `output`, to resume it with.

    Raises
    ------
    InputError
        If there is nothing to resume.
    """
    return Recipe(**read_training_state(output / TRAINING_STATE)["recipe"])


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
    if not state["finished"]:
        raise InputError(
            f"{path}: an unfinished training (epoch {state['epoch']} of "
            f"{state['recipe']['epochs']}); go on with --resume, or choose another --output"
        )
