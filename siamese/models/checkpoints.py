"""Checkpoints: whole models in HDF5, written so that a kill never leaves half a one.

Keras' own `ModelCheckpoint` refuses the name `.hdf5` and writes in place; this is the part of it
that a training run needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
from absl import logging

import siamese.losses  # noqa: F401 - registers the classes that a checkpoint names
from siamese.errors import InputError
from siamese.models.devices import grow_memory
from siamese.models.precision import in_float32
from siamese.utils.files import atomic_path

FINAL_MODEL = "final_model.hdf5"
TRAINING_STATE = "training_state.hdf5"
"""The last finished epoch, with the optimizer's state: where `--resume` goes on."""

_STATE, _OPTIMIZER, _LOSS_SCALE, _VARIABLES = (
    "training_state",
    "training_optimizer",
    "training_loss_scale",
    "training_variables",
)


def checkpoint_name(epoch: int, val_loss: float) -> str:
    """Return the name of the checkpoint of an epoch, counted from 1."""
    return f"weights.{epoch:03d}-{val_loss:.5f}.hdf5"


def save_model(
    model: keras.Model,
    path: Path,
    *,
    state: dict[str, Any] | None = None,
    variables: Sequence[keras.Variable] = (),
) -> None:
    """Write a whole model to HDF5, with its optimizer's variables only where `state` is given.

    Whatever precision it is trained in, the file holds it in float32, for any device.

    Parameters
    ----------
    state : where a training is
    variables : what else was trained, beside the model; only with `state`

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        verbosity = logging.get_verbosity()
        # Keras warns that HDF5 is legacy; it is the format this toolkit promises.
        logging.set_verbosity(logging.ERROR)
        try:
            with in_float32(model):
                model.save(temporary, include_optimizer=False)
        finally:
            logging.set_verbosity(verbosity)
        if state is not None:
            with h5py.File(temporary, "r+") as file:
                file[_STATE] = json.dumps(state)
                # Not by Keras: it writes them, but reads back none for a functional model.
                for name, variable in _stored(getattr(model, "optimizer", None), variables):
                    file[name] = keras.ops.convert_to_numpy(variable)


def load_model(path: Path) -> keras.Model:
    """Load a whole model from `.hdf5`, `.h5` or `.keras`, whatever loss it was trained with.

    Raises
    ------
    InputError
        One line: missing, no model, damaged, or holding code that is not loaded.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such model file")
    grow_memory()
    try:
        with path.open("rb") as file:
            is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
        if is_hdf5 and path.suffix not in (".h5", ".hdf5"):
            raise InputError(f"{path}: holds HDF5; name it .hdf5")
        return keras.models.load_model(path, compile=False)
    except InputError:
        raise
    except Exception as error:  # h5py, zip and Keras raise nearly anything on a damaged file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: cannot be loaded as a Keras model ({reason[0][:200]}); "
            "give a whole model saved as .hdf5, .h5 or .keras"
        ) from error


def read_training_state(path: Path) -> dict[str, Any]:
    """Read the state that `save_model` was given, without building the network.

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
    """Set a new optimizer of a model, and the `variables` beside it, to what `save_model` wrote.

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
