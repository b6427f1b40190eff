"""Save and load checkpoints: whole models in HDF5, written completely or not at all.

`keras.callbacks.ModelCheckpoint` is not used, because it refuses names that end in `.hdf5` and
leaves half a file if it is interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
from absl import logging

import siamese.losses  # noqa: F401 - registers the losses that a checkpoint may name
from siamese.errors import InputError
from siamese.models.devices import enable_memory_growth
from siamese.models.precision import in_float32
from siamese.utils.artefacts import MODELS, require_artefact
from siamese.utils.files import atomic_path

FINAL_MODEL = "final_model.hdf5"


def save_model(
    model: keras.Model,
    path: Path,
    *,
    add: Callable[[h5py.File], None] | None = None,
) -> None:
    """Save a whole model as HDF5, in float32 whatever precision it is trained in.

    Parameters
    ----------
    model : keras.Model
        Any model, compiled or not. The state of its optimizer is not saved.
    path : Path
        The file to write. An existing one is replaced when the new one is complete.
    add : callable, optional
        Called with the open `h5py.File`, to store more in it.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        verbosity = logging.get_verbosity()
        # Keras warns that HDF5 is a legacy format, but it is the format of our checkpoints.
        logging.set_verbosity(logging.ERROR)
        try:
            with in_float32(model):
                model.save(temporary, include_optimizer=False)
        finally:
            logging.set_verbosity(verbosity)
        if add is not None:
            with h5py.File(temporary, "r+") as file:
                add(file)


def load_model(path: Path) -> keras.Model:
    """Load a whole model, without the loss and the optimizer that it was trained with.

    Parameters
    ----------
    path : Path
        A file that ends in `.hdf5`, `.h5` or `.keras`.

    Returns
    -------
    keras.Model

    Raises
    ------
    InputError
        If the file is missing, damaged or no model, or contains code, which is not run.
    """
    require_artefact(path, "a model", *MODELS)
    if not path.is_file():
        raise InputError(f"{path}: no such model file")
    enable_memory_growth()
    try:
        with path.open("rb") as file:
            is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
        if is_hdf5 and path.suffix not in (".h5", ".hdf5"):
            raise InputError(f"{path}: holds HDF5; name it .hdf5")
        return keras.models.load_model(path, compile=False)
    except InputError:
        raise
    except Exception as error:  # h5py, zipfile and Keras raise almost any type for a damaged file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: cannot be loaded as a Keras model ({reason[0][:200]}); "
            "give a whole model saved as .hdf5, .h5 or .keras"
        ) from error
