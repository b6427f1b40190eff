"""State of a training run, saved after each epoch so that the run can be resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import h5py
import keras

from siamese.data.catalogue import Catalogue
from siamese.errors import InputError
from siamese.models.checkpoints import load_model, save_model
from siamese.training.recipe import CHOICES, Recipe
from siamese.utils.artefacts import TRAINING_STATE

REMOVED_FIELDS: dict[str, Any] = {
    "warm_up": 0.1,
    "first_layer_rate": 1.0,
    "projection_rate": 1.0,
    "weight_average": 0.0,
    "erasing": 0.0,
    "first_picture_size": None,
    "hard_negatives": False,
}
"""Former fields of `Recipe`, each with the value that disabled it."""

_STATE, _OPTIMIZER, _LOSS_SCALE = "training_state", "training_optimizer", "training_loss_scale"


@dataclass
class TrainingState:
    """Progress of a training run, as plain JSON values.

    Attributes
    ----------
    recipe : dict
        Fields of the run's `Recipe`.
    pictures : int
        Number of pictures in the catalogue.
    epoch : int
        Number of finished epochs.
    seconds : float
        Time taken so far, including before the run was resumed.
    reserve : float
        Seconds set aside for the final measurement; see `siamese.training.budget.TimeBudget`.
    finished : bool
        Whether the training is complete.
    best : dict or None
        The best epoch so far: its ``epoch``, ``score`` and checkpoint ``file``.
    history : list of dict
        The metrics of each epoch, as in the CSV log.
    spread : float or None
        Spread of the embeddings before training: 1 minus their mean cosine.
    """

    recipe: dict[str, Any]
    pictures: int
    epoch: int = 0
    seconds: float = 0.0
    reserve: float = 0.0
    finished: bool = False
    best: dict[str, Any] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    spread: float | None = None


def checkpoint_name(epoch: int, val_loss: float) -> str:
    """Return the file name of an epoch's checkpoint; epochs count from 1."""
    return f"weights.{epoch:03d}-{val_loss:.5f}.hdf5"


def save_training(
    network: keras.Model,
    path: Path,
    state: TrainingState,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> None:
    """Save a network and everything else needed to resume its training.

    Parameters
    ----------
    network : keras.Model
        The network in training.
    path : Path
        File to write. An existing file is replaced only when the new one is complete.
    state : TrainingState
        Progress of the run.
    optimizer : keras.optimizers.Optimizer, optional
        Optimizer whose variables to save.

    Raises
    ------
    InputError
        If the file cannot be written.
    """

    def add(file: h5py.File) -> None:
        file[_STATE] = json.dumps(asdict(state))
        # For functional models, Keras can save the optimizer's variables but not restore them.
        for name, variable in _named_variables(optimizer):
            file[name] = keras.ops.convert_to_numpy(variable)

    save_model(network, path, add=add)


def read_training_state(path: Path) -> TrainingState:
    """Read the state that `save_training` wrote, without building the network.

    Raises
    ------
    InputError
        If the file does not exist or holds no valid training state.
    """
    if not path.is_file():
        raise InputError(f"{path}: nothing to resume; train without --resume first")
    try:
        with h5py.File(path, "r") as file:
            return TrainingState(**json.loads(file[_STATE][()]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: holds no training state; remove it and train without --resume"
        ) from error


def restore_optimizer(path: Path, optimizer: keras.optimizers.Optimizer) -> None:
    """Restore the variables of an optimizer.

    Parameters
    ----------
    path : Path
        File written by `save_training`. If it holds no optimizer, nothing happens.
    optimizer : keras.optimizers.Optimizer
        Optimizer already built for the model's variables.
    """
    with h5py.File(path, "r") as file:
        if _OPTIMIZER not in file:
            return
        for name, variable in _named_variables(optimizer):
            if name.startswith(_LOSS_SCALE) and name not in file:
                continue  # the file was saved without loss scaling
            variable.assign(file[name][()])


def _named_variables(
    optimizer: keras.optimizers.Optimizer | None,
) -> Iterator[tuple[str, keras.Variable]]:
    """Yield an optimizer's variables by name; loss scaling adds names, but changes none."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        yield f"{_LOSS_SCALE}/scale", optimizer.dynamic_scale
        yield f"{_LOSS_SCALE}/steps", optimizer.step_counter
        optimizer = optimizer.inner_optimizer
    for number, variable in enumerate(optimizer.variables if optimizer is not None else ()):
        yield f"{_OPTIMIZER}/{number}", variable


def recorded_recipe(output: Path) -> Recipe:
    """Return the recipe of the run in the folder `output`.

    Raises
    ------
    InputError
        If there is no run to resume, or its recipe uses settings that this version lacks.
    """
    path = output / TRAINING_STATE
    return _parse_recipe(read_training_state(path).recipe, path)


def resume_run(
    output: Path, recipe: Recipe, catalogue: Catalogue
) -> tuple[keras.Model, TrainingState]:
    """Load the network and the state of the run in the folder `output`.

    Raises
    ------
    InputError
        If there is no run to resume, or its recipe or number of pictures differs.
    """
    path = output / TRAINING_STATE
    state = read_training_state(path)
    if len(catalogue.pictures) != state.pictures:
        raise InputError(
            f"{path}: was trained on {state.pictures:,} pictures, now there are "
            f"{len(catalogue.pictures):,}; resume with the same data, or start a new training "
            "in another --output with --keras-model"
        )
    now, earlier = asdict(recipe), asdict(_parse_recipe(state.recipe, path))
    if now != earlier:
        raise InputError(
            f"{path}: was trained with {name} = {earlier[name]}, now it is {now[name]}; "
            "resume with the same flags"
            for name in now
            if now[name] != earlier[name]
        )
    state.recipe = now
    return load_model(path), state


def require_no_unfinished_run(output: Path) -> None:
    """Raise `InputError` if a new training in `output` would overwrite an unfinished one."""
    path = output / TRAINING_STATE
    if not path.is_file():
        return
    state = read_training_state(path)
    if not state.finished:
        raise InputError(
            f"{path}: an unfinished training (epoch {state.epoch} of {state.recipe['epochs']}); "
            "continue it with --resume, or choose another --output"
        )


def _parse_recipe(recorded: dict[str, Any], path: Path) -> Recipe:
    """Parse a recorded recipe, which may come from an older or newer version of this package."""
    known = {field.name for field in fields(Recipe)}
    removed = [
        f"{name} = {value}"
        for name, value in recorded.items()
        if (name not in known and value != REMOVED_FIELDS.get(name, ...))
        or (name in CHOICES and value is not None and value not in get_args(CHOICES[name]))
    ]
    if removed:
        raise InputError(
            f"{path}: was trained with {', '.join(removed)}, which this version does not have; "
            "resume it with the version that started it, or start a new training in another "
            "--output"
        )
    return Recipe(**{name: value for name, value in recorded.items() if name in known})
