"""Embed pictures with a checkpoint or a pretrained model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import import_module
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.data.images import PictureError, square_picture
from siamese.data.remote_files import RemoteFile
from siamese.embedding.pipeline import BATCH_SIZE, decode_and_embed
from siamese.errors import InputError
from siamese.models.facts import ModelFacts
from siamese.utils.keras_import import import_keras
from siamese.utils.threads import map_in_threads

if TYPE_CHECKING:
    import keras
    from PIL import Image

    from siamese.embedding.runtimes.runtime import PrecisionName, Runtime, RuntimeName

    Source = str | os.PathLike[str] | RemoteFile | bytes | Image.Image


class Embedder:
    """Model that maps pictures to unit-length vectors.

    Create one with `load`, `pretrained` or `from_model`. `facts` holds the model's name,
    fingerprint and sizes. If these are cached, the Keras model is loaded only when needed.

    Parameters
    ----------
    runtime : {"auto", "openvino", "tensorflow"}, default "auto"
        Library that runs the model; "auto" selects OpenVINO on a CPU and TensorFlow on a GPU.
    precision : {"auto", "float32", "bfloat16"}, default "auto"
        Number format; "auto" selects the fastest whose vectors nearly equal those of float32.

    Examples
    --------
    >>> embedder = Embedder.load("checkpoints/final_model.hdf5")  # doctest: +SKIP
    >>> embedder.embed(["a.jpg", "b.jpg"]).shape  # doctest: +SKIP
    (2, 1280)
    """

    def __init__(
        self,
        load_model: Callable[[], keras.Model],
        facts: ModelFacts,
        *,
        source: str | None = None,
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
    ) -> None:
        self.facts = facts
        self.requested_runtime: RuntimeName = runtime
        self.requested_precision: PrecisionName = precision
        self._load_model = load_model
        self._source = source
        self._model: keras.Model | None = None
        self._runtime: Runtime | None = None
        self._opening = RLock()

    def __repr__(self) -> str:
        name, dimensions, side = self.facts.name, self.facts.embedding_size, self.facts.picture_size
        return f"Embedder({name!r}, {dimensions} dimensions, {side} px)"

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
    ) -> Embedder:
        """Load a checkpoint.

        Parameters
        ----------
        path : path-like
            File of a siamese network, or of a model that maps one picture to one vector.
        runtime, precision : str, default "auto"
            See `Embedder`.

        Raises
        ------
        InputError
            If the file is missing or damaged, or contains another kind of model.
        """
        path = Path(path)

        def load() -> keras.Model:
            import_keras()
            from siamese.models.checkpoints import load_model
            from siamese.models.embedding_model import extract_embedding_model

            return extract_embedding_model(load_model(path), path)

        return cls._open(load, ("checkpoint",), path, path.name, path, runtime, precision)

    @classmethod
    def pretrained(
        cls,
        backbone: str | None = None,
        picture_size: int | None = None,
        weights: str = "imagenet",
        *,
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
    ) -> Embedder:
        """Create an embedder from a pretrained backbone.

        Parameters
        ----------
        backbone : str, optional
            Name in `keras.applications`, or "EfficientNetLite0", the default.
        picture_size : int, optional
            Side length of the model's input in pixels; 224 by default.
        weights : str, default "imagenet"
            "imagenet", or the path of a weights file for the backbone without its classifier.
        runtime, precision : str, default "auto"
            See `Embedder`.

        Raises
        ------
        InputError
            If the backbone is unknown, has no pretrained weights, or its weights cannot be loaded.
        """
        from siamese.models.defaults import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE

        name, size = backbone or DEFAULT_BACKBONE, picture_size or DEFAULT_PICTURE_SIZE
        if name == "base_cnn":
            raise InputError(
                "--backbone base_cnn: has no pretrained weights; train it, then give --keras-model"
            )

        def load() -> keras.Model:
            import_keras()
            from siamese.models.embedding_model import embedding_model

            return embedding_model(name, size, weights=weights)

        file = None if weights == "imagenet" else weights
        return cls._open(load, ("pretrained", name, size), file, name, None, runtime, precision)

    @classmethod
    def from_model(
        cls,
        model: keras.Model,
        name: str,
        path: Path | None = None,
        *,
        source: str | None = None,
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
    ) -> Embedder:
        """Create an embedder from a Keras model in memory.

        Parameters
        ----------
        model : keras.Model
            Maps float32 (n, s, s, 3), RGB in [-1, 1], to unit-length vectors, float32 (n, d).
        name : str
            Name of the model, for messages and JSON output.
        path : Path, optional
            The model's checkpoint, if it has one.
        source : str, optional
            Key from `source_digest` for caching the model's facts; by default, they are not cached.
        runtime, precision : str, default "auto"
            See `Embedder`.
        """
        from siamese.models.fingerprint import compute_fingerprint

        facts = ModelFacts(
            name=name,
            fingerprint=compute_fingerprint(model),
            embedding_size=model.output_shape[1],
            picture_size=model.input_shape[1],
            path=None if path is None else str(path.resolve()),
        )
        return cls(lambda: model, facts, source=source, runtime=runtime, precision=precision)

    @classmethod
    def of(cls, *args: Any, **kwargs: Any) -> Embedder:
        """Call `from_model`; this method is deprecated."""
        warnings.warn(
            "Embedder.of is deprecated; use Embedder.from_model", DeprecationWarning, stacklevel=2
        )
        return cls.from_model(*args, **kwargs)

    @classmethod
    def _open(
        cls,
        load: Callable[[], keras.Model],
        source: tuple[object, ...],
        source_file: str | os.PathLike[str] | None,
        name: str,
        path: Path | None,
        runtime: RuntimeName,
        precision: PrecisionName,
    ) -> Embedder:
        """Create an embedder, loading the model right away only if its facts are not cached."""
        from siamese.embedding.runtimes.choose import needs_keras
        from siamese.embedding.runtimes.openvino_cache import read_facts, source_digest

        digest = None if needs_keras(runtime) else source_digest(*source, file=source_file)
        facts = None if digest is None else read_facts(digest, name, path)
        options: dict[str, Any] = {"runtime": runtime, "precision": precision}
        if facts is None:
            return cls.from_model(load(), name, path, source=digest, **options)

        def load_again() -> keras.Model:
            from siamese.models.fingerprint import compute_fingerprint

            model = load()
            if compute_fingerprint(model) != facts.fingerprint:
                problem = "the model changed while it was in use; run the command again"
                raise InputError(f"{facts.path or name}: {problem}")
            return model

        return cls(load_again, facts, **options)

    @property
    def model(self) -> keras.Model:
        """The Keras model, which maps float32 (n, s, s, 3) in [-1, 1] to float32 (n, d)."""
        with self._opening:
            if self._model is None:
                model = self._load_model()
                from siamese.models.devices import choose_embedding_precision
                from siamese.models.precision import set_precision

                set_precision(model, choose_embedding_precision())
                self._model = model
            return self._model

    @property
    def runtime(self) -> Runtime:
        """The `Runtime` that runs the model, opened on first access."""
        with self._opening:
            if self._runtime is None:
                from siamese.embedding.runtimes.choose import open_runtime
                from siamese.embedding.runtimes.openvino_cache import write_facts

                requested = self.requested_runtime, self.requested_precision
                self._runtime = open_runtime(lambda: self.model, self.facts, *requested)
                if self._source is not None:
                    write_facts(self._source, self.facts)
            return self._runtime

    def embed(
        self, sources: Sequence[Source], *, batch_size: int = BATCH_SIZE
    ) -> NDArray[np.float32]:
        """Embed pictures.

        Parameters
        ----------
        sources : sequence of path-like, bytes or PIL.Image.Image
            Files, encoded pictures or decoded pictures.
        batch_size : int, default 32
            Number of pictures per call to the model.

        Returns
        -------
        ndarray of float32, shape (n, d)
            Unit-length vectors, in the order of `sources`.

        Raises
        ------
        InputError
            If any source is not a usable picture; the message lists every such source.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError("embed takes a list of pictures; put a single one into a list")
        size = self.facts.picture_size

        def decode(row: int) -> np.ndarray | str:
            try:
                return square_picture(sources[row], size)
            except PictureError as error:
                return str(error)

        vectors = np.empty((len(sources), self.facts.embedding_size), np.float32)
        problems: dict[int, str] = {}
        rows = range(len(sources))
        with closing(decode_and_embed(self.embed_squares, rows, decode, batch_size)) as batches:
            for row, outcome in chain.from_iterable(batches):
                if isinstance(outcome, str):
                    problems[row] = outcome
                else:
                    vectors[row] = outcome
        if problems:
            named = (str, os.PathLike, RemoteFile)
            names = [str(source) if isinstance(source, named) else "picture" for source in sources]
            raise InputError(f"{names[row]}: {reason}" for row, reason in problems.items())
        return vectors

    def embed_squares(
        self, squares: NDArray[np.uint8], *, batch_size: int = BATCH_SIZE
    ) -> NDArray[np.float32]:
        """Embed pictures prepared with `siamese.data.images.square_picture`.

        Parameters
        ----------
        squares : ndarray of uint8, shape (n, s, s, 3)
            RGB pictures with side length s = `facts.picture_size`; n may be 0.
        batch_size : int, default 32
            Number of pictures per call to the model.

        Returns
        -------
        ndarray of float32, shape (n, d)
            Unit-length vectors, in the order of `squares`.
        """
        side = self.facts.picture_size
        if squares.dtype != np.uint8 or squares.shape[1:] != (side, side, 3):
            raise ValueError(
                f"squares are {squares.dtype} {squares.shape}; "
                f"{self.facts.name} takes uint8 (n, {side}, {side}, 3)"
            )
        if len(squares) <= batch_size:
            return self.runtime.embed_squares(squares)
        batches = np.split(squares, range(batch_size, len(squares), batch_size))
        # Embed two batches at a time, so that no core is idle while a batch finishes.
        vectors = map_in_threads(self.runtime.embed_squares, batches, ahead=1, threads=2)
        return np.concatenate(list(vectors))

    def embed_catalogue(self, *args: Any, **kwargs: Any) -> Any:
        """Call `siamese.embed_catalogue`; this method is deprecated."""
        warnings.warn(
            "Embedder.embed_catalogue is deprecated; use "
            "siamese.embed_catalogue(embedder, catalogue)",
            DeprecationWarning,
            stacklevel=2,
        )
        # import_module: the import-cycle check would count an import statement, even in a function.
        return import_module("siamese").embed_catalogue(self, *args, **kwargs)
