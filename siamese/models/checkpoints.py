"""Saving and loading of checkpoints: whole models in HDF5 files that are written atomically.

`keras.callbacks.ModelCheckpoint` is not used, because it rejects names that end in `.hdf5` and
leaves an incomplete file if interrupted.
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
    model: keras.Model, path: Path, *, add: Callable[[h5py.File], None] | None = None
) -> None:
    """Save a whole model as HDF5, in float32 and without its optimizer state.

    If `add` is given, it is called with the open file and can write extra data to the file.
    """
    with atomic_path(path) as temporary:
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)  # Keras warns that HDF5 is a legacy format
        try:
            with in_float32(model):
                model.save(temporary, include_optimizer=False)
        finally:
            logging.set_verbosity(verbosity)
        if add is not None:
            with h5py.File(temporary, "r+") as file:
                add(file)


def load_model(path: Path) -> keras.Model:
    """Load a whole model without its loss and optimizer, and without running code from the file."""
    require_artefact(path, "a model", *MODELS)
    if not path.is_file():
        raise InputError(f"{path}: no such model file")
    enable_memory_growth()
    try:
        if path.suffix not in (".h5", ".hdf5") and h5py.is_hdf5(path):
            raise InputError(f"{path}: is an HDF5 file; rename it to end in .hdf5")
        return keras.models.load_model(path, compile=False)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise almost any exception
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: cannot be loaded as a Keras model ({reason[0][:200]}); "
            "give a whole model saved as .hdf5, .h5 or .keras"
        ) from error
