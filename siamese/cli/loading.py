"""Load what the options name: catalogues, models and stored embeddings."""

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
    from siamese.embedding.executor import Executor, ExecutorName
    from siamese.embedding.runtimes.runtime import PrecisionName, RuntimeName
    from siamese.embedding.store import EmbeddingStore
    from siamese.indexes import Index
    from siamese.models.facts import ModelFacts


@contextlib.contextmanager
def model_context(*, load_keras: bool = False) -> Iterator[None]:
    """Context in which a command loads and runs a model.

    Sends whatever is printed in it to standard error, which leaves standard output to the
    results, and prints which GPU is used if the machine has one.

    Parameters
    ----------
    load_keras : bool, default=False
        Import Keras now. Without it, Keras is only imported on a machine with a GPU; elsewhere
        `Embedder` imports it if the runtime needs it.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if load_keras:
            import_keras()
        from siamese.models.devices import (
            describe_device,
            explain_missing_gpu,
            has_gpu,
            may_have_gpu,
        )

        if may_have_gpu():
            import_keras()
            if has_gpu() or explain_missing_gpu():
                print(describe_device())
        yield


def read_catalogue(labeled_data: Path, image_dir: Folder | None) -> Catalogue:
    """Read a catalogue without opening its pictures."""
    from siamese.data.catalogue import Catalogue

    return Catalogue.read(labeled_data, image_dir)


def read_checked_catalogue(labeled_data: Path, image_dir: Folder | None) -> Catalogue:
    """Read a catalogue and raise `InputError` for any problem but unusable pictures."""
    from siamese.data.check import quick_check

    catalogue = read_catalogue(labeled_data, image_dir)
    if fatal := quick_check(catalogue).fatal:
        raise InputError(f"{labeled_data}: {problem}" for problem in fatal)
    return catalogue


def load_embedder(
    keras_model: Path | None,
    backbone: str | None = None,
    picture_size: int | None = None,
    weights: str | None = None,
    recorded: ModelFacts | None = None,
    *,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "auto",
) -> Embedder:
    """Load the model that the options name, or else the recorded one, or else the default.

    Parameters
    ----------
    keras_model, backbone, picture_size, weights, runtime, precision
        The values of the options with these names.
    recorded : ModelFacts, optional
        The model that an index was built with.
    """
    from siamese.embedding.embedder import Embedder

    settings: dict[str, Any] = {"runtime": runtime, "precision": precision}
    if keras_model is not None:
        reject_model_flags(backbone=backbone, picture_size=picture_size, weights=weights)
        return Embedder.load(keras_model, **settings)
    if recorded is not None and (backbone, picture_size, weights) == (None, None, None):
        if recorded.path is not None:
            if not Path(recorded.path).is_file():
                raise InputError(
                    f"{recorded.path}: the model that built the index is missing; give its "
                    "new path with --keras-model"
                )
            return Embedder.load(recorded.path, **settings)
        backbone, picture_size = recorded.name, recorded.picture_size
    return Embedder.pretrained(backbone, picture_size, weights or "imagenet", **settings)


def load_index_embedder(index: Index, index_place: str, **model: Any) -> Embedder:
    """Load the model that the options name, or else the one that the index was built with."""
    from siamese.indexes.place import find_moved_checkpoint

    return load_embedder(**model, recorded=find_moved_checkpoint(index.model, index_place))


def create_executor(name: ExecutorName, ray_address: str | None) -> Executor:
    """Create the executor that --executor names."""
    if name == "ray":
        from siamese.embedding.ray.executor import RayExecutor

        return RayExecutor(ray_address)
    from siamese.embedding.executor import LocalExecutor

    return LocalExecutor()


def open_store(embeddings: Path | None) -> EmbeddingStore | None:
    """Open the folder that --embeddings names."""
    from siamese.embedding.store import EmbeddingStore

    return None if embeddings is None else EmbeddingStore(embeddings)


def reject_model_flags(**flags: object) -> None:
    """Raise `InputError` if a flag that describes a new model is given beside --keras-model."""
    if given := [name for name, value in flags.items() if value is not None]:
        raise InputError(
            f"--{name.replace('_', '-')} and --keras-model: the checkpoint already determines "
            f"this; omit --{name.replace('_', '-')}"
            for name in given
        )
