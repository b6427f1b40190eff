"""What the flags name, loaded: catalogues, models, stores."""

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
    from siamese.embedding.executor import ExecutorName
    from siamese.embedding.runtimes.choose import PrecisionName, RuntimeName
    from siamese.embedding.store import EmbeddingStore


@contextlib.contextmanager
def model_at_work() -> Iterator[None]:
    """Keep standard output free for results, and say which GPU there is, or should be.

    Without one Keras is not loaded here: `Embedder` does so where it must.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from siamese.models.devices import device_line, gpu_conceivable, has_gpu, missing_gpu

        if gpu_conceivable():
            import_keras()
            if has_gpu() or missing_gpu():
                print(device_line())
        yield


@contextlib.contextmanager
def keras_at_work() -> Iterator[None]:
    """The same, and load Keras."""
    with contextlib.redirect_stdout(sys.stderr):
        import_keras()
    with model_at_work():
        yield


def read(labeled_data: Path, image_dir: Folder | None) -> Catalogue:
    """Read a catalogue, without opening its pictures."""
    from siamese.data.catalogue import Catalogue

    return Catalogue.read(labeled_data, image_dir)


def read_usable(labeled_data: Path, image_dir: Folder | None) -> Catalogue:
    """Read a catalogue that has nothing wrong but single pictures, which can be skipped."""
    from siamese.data.check import quick_check

    catalogue = read(labeled_data, image_dir)
    if fatal := quick_check(catalogue).fatal:
        raise InputError(f"{labeled_data}: {problem}" for problem in fatal)
    return catalogue


def embedder(
    keras_model: Path | None,
    backbone: str | None = None,
    picture_size: int | None = None,
    weights: str | None = None,
    recorded: Any = None,
    *,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "auto",
    engine: ExecutorName = "local",
    ray_address: str | None = None,
) -> Embedder:
    """The model that the flags name; without any, the one an index records, or the default."""
    words: dict[str, Any] = {"runtime": runtime, "precision": precision}
    loaded = _loaded(keras_model, backbone, picture_size, weights, recorded, words)
    if engine == "ray":
        from siamese.embedding.ray.executor import RayExecutor

        loaded.engine = RayExecutor(ray_address)
    return loaded


def _loaded(
    keras_model: Path | None,
    backbone: str | None,
    picture_size: int | None,
    weights: str | None,
    recorded: Any,
    words: dict[str, Any],
) -> Embedder:
    from siamese.embedding.embedder import Embedder

    if keras_model is not None:
        require_alone(backbone=backbone, picture_size=picture_size, weights=weights)
        return Embedder.load(keras_model, **words)
    if recorded is not None and (backbone, picture_size, weights) == (None, None, None):
        if recorded["path"] is not None:
            if not Path(recorded["path"]).is_file():
                raise InputError(
                    f"{recorded['path']}: the model that made the index is not there; say where "
                    "it is now with --keras-model"
                )
            return Embedder.load(recorded["path"], **words)
        backbone, picture_size = recorded["name"], recorded["picture_size"]
    return Embedder.pretrained(backbone, picture_size, weights or "imagenet", **words)


def store(embeddings: Path | None) -> EmbeddingStore | None:
    """The folder of embeddings that a flag names."""
    from siamese.embedding.store import EmbeddingStore

    return None if embeddings is None else EmbeddingStore(embeddings)


def require_alone(**of_a_fresh_model: object) -> None:
    """Beside --keras-model, no flag that describes a fresh model."""
    if too_many := [name for name, value in of_a_fresh_model.items() if value is not None]:
        raise InputError(
            f"--{name.replace('_', '-')} and --keras-model: a checkpoint has its own; leave it out"
            for name in too_many
        )
