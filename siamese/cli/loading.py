"""Loading of the catalogues and models that the options name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.errors import InputError
from siamese.utils.keras_import import import_keras

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue
    from siamese.data.remote_files import Folder
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.runtimes.runtime import PrecisionName, RuntimeName
    from siamese.indexes import Index


@contextlib.contextmanager
def model_context(*, load_keras: bool = False) -> Iterator[None]:
    """Prepare to run a model, and redirect output to standard error within a `with` block.

    This keeps messages, such as the name of the GPU, apart from the results on standard output.
    Unless `load_keras` is true, Keras is imported here only if there may be a GPU.
    """
    from siamese.models.devices import describe_device, explain_missing_gpu, has_gpu, may_have_gpu

    with contextlib.redirect_stdout(sys.stderr):
        if load_keras or may_have_gpu():
            import_keras()
        if may_have_gpu() and (has_gpu() or explain_missing_gpu()):
            print(describe_device())
        yield


def read_catalogue(labeled_data: Path, image_dir: Folder | None) -> Catalogue:
    """Read a catalogue without opening its pictures."""
    from siamese.data.catalogue import Catalogue

    return Catalogue.read(labeled_data, image_dir)


def read_checked_catalogue(labeled_data: Path, image_dir: Folder | None) -> Catalogue:
    """Read a catalogue; raise `InputError` for all problems except unusable pictures."""
    from siamese.data.check import quick_check

    catalogue = read_catalogue(labeled_data, image_dir)
    if fatal := quick_check(catalogue).fatal:
        raise InputError(f"{labeled_data}: {problem}" for problem in fatal)
    return catalogue


def load_embedder(
    keras_model: Path | str | None,
    backbone: str | None = None,
    picture_size: int | None = None,
    weights: str | None = None,
    *,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "auto",
) -> Embedder:
    """Load a model; each parameter is the value of the command-line option with its name."""
    from siamese.embedding.embedder import Embedder

    settings: dict[str, Any] = {"runtime": runtime, "precision": precision}
    if keras_model is None:
        return Embedder.pretrained(backbone, picture_size, weights or "imagenet", **settings)
    reject_model_flags(backbone=backbone, picture_size=picture_size, weights=weights)
    return Embedder.load(keras_model, **settings)


def load_index_embedder(index: Index, index_place: str, **model: Any) -> Embedder:
    """Load the model that the options describe; by default, the model recorded in the index."""
    from siamese.indexes.place import find_moved_checkpoint

    recorded = find_moved_checkpoint(index.model, index_place)
    names = ("keras_model", "backbone", "picture_size", "weights")
    if recorded is None or any(model.get(name) is not None for name in names):
        return load_embedder(**model)
    if recorded.path is None:
        model |= {"backbone": recorded.name, "picture_size": recorded.picture_size}
    elif Path(recorded.path).is_file():
        model["keras_model"] = recorded.path
    else:
        raise InputError(
            f"{recorded.path}: the model that built the index is missing; give its new path with "
            "--keras-model"
        )
    return load_embedder(**model)


def reject_model_flags(**flags: object) -> None:
    """Raise `InputError` if a flag is not None, because --keras-model already determines it."""
    given = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value is not None]
    if given:
        raise InputError(
            f"{flag} and --keras-model: the checkpoint already determines this; omit {flag}"
            for flag in given
        )
