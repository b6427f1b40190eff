"""From pictures to vectors: a checkpoint or the pretrained default, fed by decoding threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from siamese.catalogue import Catalogue, Picture
from siamese.embedding_store import EmbeddingStore, Entry, FileState, OpenStore, Outcome
from siamese.errors import InputError
from siamese.images import PictureError, square_picture
from siamese.progress import progress
from siamese.threads import in_threads
from siamese.words import counted

if TYPE_CHECKING:
    import keras
    from PIL import Image

    from siamese.runtimes import PrecisionName, Runtime, RuntimeName

    Source = str | os.PathLike[str] | bytes | Image.Image

T = TypeVar("T")

BATCH_SIZE = 32


@dataclass(frozen=True)
class ModelFacts:
    """What an index records of the model that made it.

    Attributes
    ----------
    name : the backbone's, or the checkpoint's file name
    fingerprint : see `siamese.fingerprint`
    embedding_size : d
    picture_size : pixels of a side
    path : the checkpoint, or None for a pretrained model
    """

    name: str
    fingerprint: str
    embedding_size: int
    picture_size: int
    path: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be used, and why."""

    item_id: str
    filename: str
    reason: str


@dataclass(frozen=True)
class Embeddings:
    """A catalogue as vectors: `vectors[i]`, float32 (d,) of length 1, is `pictures[i]`.

    `contents[i]` is the BLAKE2b of its file, 16 bytes, as it was when the picture was embedded.
    """

    pictures: list[Picture]
    vectors: np.ndarray
    skipped: list[Skipped]
    contents: list[bytes] = field(default_factory=list)


class Embedder:
    """A model that turns pictures into vectors of length 1.

    >>> embedder = Embedder.load("checkpoints/final_model.hdf5")   # or Embedder.pretrained()
    >>> embedder.embed(["a.jpg", "b.jpg"]).shape
    (2, 1280)

    Attributes
    ----------
    model : float32 (n, s, s, 3), RGB in [-1, 1] → float32 (n, d), length 1
    facts : `ModelFacts`
    """

    def __init__(
        self,
        model: keras.Model,
        name: str,
        path: Path | None = None,
        *,
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
    ) -> None:
        from siamese.devices import embedding_precision
        from siamese.fingerprint import fingerprint
        from siamese.networks import set_precision

        set_precision(model, embedding_precision())
        self.model = model
        self._wanted = runtime, precision
        self._runtime: Runtime | None = None
        self._opening = Lock()
        self.facts = ModelFacts(
            name=name,
            fingerprint=fingerprint(model),
            embedding_size=model.output_shape[1],
            picture_size=model.input_shape[1],
            path=None if path is None else str(path.resolve()),
        )

    def __repr__(self) -> str:
        facts = self.facts
        size = f"{facts.embedding_size} dimensions, {facts.picture_size} px"
        return f"Embedder({facts.name!r}, {size})"

    @property
    def runtime(self) -> Runtime:
        """What runs the model, made ready when it is first needed; see `siamese.runtimes`.

        Raises
        ------
        InputError
            The runtime or the precision that was asked for cannot be had.
        """
        with self._opening:
            if self._runtime is None:
                from siamese.runtimes import open_runtime

                self._runtime = open_runtime(self.model, self.facts, *self._wanted)
            return self._runtime

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
    ) -> Embedder:
        """Load a checkpoint: a siamese network, or a model of one picture and one vector.

        Parameters
        ----------
        runtime, precision : what is to run it, and how; see `siamese.runtimes.open_runtime`

        Raises
        ------
        InputError
            Missing, damaged, or no such model.
        """
        from siamese.checkpoints import load_model
        from siamese.networks import inner_embedding_model

        path = Path(path)
        model = inner_embedding_model(load_model(path), path)
        return cls(model, path.name, path, runtime=runtime, precision=precision)

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
        """A backbone as ImageNet left it; EfficientNet-Lite0 at 224 pixels unless told otherwise.

        Raises
        ------
        InputError
            Unknown backbone, one that knows nothing yet, or weights that cannot be had.
        """
        from siamese.networks import DEFAULT_PICTURE_SIZE, embedding_model
        from siamese.recipe import DEFAULT_BACKBONE

        backbone = backbone or DEFAULT_BACKBONE
        if backbone == "base_cnn":
            raise InputError("--backbone base_cnn: is not pretrained; train it, then --keras-model")
        model = embedding_model(backbone, picture_size or DEFAULT_PICTURE_SIZE, weights=weights)
        return cls(model, backbone, runtime=runtime, precision=precision)

    def embed(self, sources: Sequence[Source], *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """Embed pictures.

        Parameters
        ----------
        sources : files, encoded bytes or PIL pictures

        Returns
        -------
        float32 (n, d), length 1

        Raises
        ------
        InputError
            Naming every source that is no usable picture.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError("embed takes a list of pictures; put the one into a list")
        size = self.facts.picture_size

        def prepare(row: int) -> np.ndarray | str:
            try:
                return square_picture(sources[row], size)
            except PictureError as error:
                return str(error)

        vectors = np.empty((len(sources), self.facts.embedding_size), np.float32)
        broken: dict[int, str] = {}
        with closing(self._embedded(range(len(sources)), prepare, batch_size)) as batches:
            for row, outcome in chain.from_iterable(batches):
                if isinstance(outcome, str):
                    broken[row] = outcome
                else:
                    vectors[row] = outcome
        if broken:
            raise InputError(f"{_name(sources[row])}: {why}" for row, why in broken.items())
        return vectors

    def embed_catalogue(
        self,
        catalogue: Catalogue,
        *,
        batch_size: int = BATCH_SIZE,
        store: EmbeddingStore | None = None,
    ) -> Embeddings:
        """Embed every picture of a catalogue, with progress; broken ones are skipped and listed.

        Parameters
        ----------
        store : keeps the vectors as they come. What it holds already, from a run that was stopped
            or from an earlier one, is not embedded again; in the end it holds this catalogue.

        Raises
        ------
        InputError
            The store cannot be used; see `EmbeddingStore.open`.
        """
        pictures = catalogue.pictures
        first_rows: dict[str, int] = {}
        for row, picture in enumerate(pictures):
            first_rows.setdefault(picture.filename, row)
        paths = {name: catalogue.path_of(pictures[row]) for name, row in first_rows.items()}
        vectors = np.empty((len(pictures), self.facts.embedding_size), np.float32)
        broken: dict[str, str] = {}
        contents: dict[str, bytes] = {}
        with nullcontext() if store is None else store.open(self.facts) as kept:
            with closing(self._outcomes(paths, batch_size, kept)) as outcomes:
                for filename, outcome, state in outcomes:
                    if isinstance(outcome, str) or state is None:
                        broken[filename] = str(outcome)
                    else:
                        vectors[first_rows[filename]] = outcome
                        contents[filename] = state.content
            if kept is not None:
                kept.merge(paths)

        # In place, because a copy would take as much memory again. What is overwritten has been
        # moved, or belongs to a broken picture.
        whole: list[Picture] = []
        for picture in pictures:
            if picture.filename not in broken:
                vectors[len(whole)] = vectors[first_rows[picture.filename]]
                first_rows[picture.filename] = len(whole)
                whole.append(picture)
        skipped = [
            Skipped(picture.item_id, picture.filename, broken[picture.filename])
            for picture in pictures
            if picture.filename in broken
        ]
        return Embeddings(
            whole, vectors[: len(whole)], skipped, [contents[one.filename] for one in whole]
        )

    def _outcomes(
        self, paths: Mapping[str, Path], batch_size: int, kept: OpenStore | None
    ) -> Generator[tuple[str, Outcome, FileState | None]]:
        """What becomes of each file: first what is kept of an earlier run, then what is new.

        With the state that the file was in; a broken one may have none.
        """
        size = self.facts.picture_size
        known = set() if kept is None else kept.known(paths)
        if kept is not None and known:
            for filename, outcome in kept.read(known):
                yield filename, outcome, kept.state_of(filename)
            count = counted(len(paths), "picture")
            print(f"{len(known):,} of {count} embedded already", file=sys.stderr)
        states: dict[str, FileState | None] = {}

        def prepare(filename: str) -> np.ndarray | str:
            # Before it is decoded: should it change meanwhile, that is seen the next time.
            state = FileState.of(paths[filename])
            try:
                square = square_picture(paths[filename], size)
            except PictureError as error:
                states[filename] = None if _may_pass(error) else state
                return str(error)
            states[filename] = state
            return "changed while it was read" if state is None else square

        unknown = [filename for filename in paths if filename not in known]
        with (
            progress("embedding", len(unknown)) as bar,
            closing(self._embedded(unknown, prepare, batch_size)) as batches,
        ):
            for batch in batches:
                done = [(filename, outcome, states.pop(filename)) for filename, outcome in batch]
                if kept is not None:
                    kept.add(
                        Entry(filename, state, outcome)
                        for filename, outcome, state in done
                        if state is not None
                    )
                yield from done
                bar.update(len(batch))

    def _embedded(
        self, items: Sequence[T], prepare: Callable[[T], np.ndarray | str], batch_size: int
    ) -> Generator[list[tuple[T, Outcome]]]:
        """Embed the square pictures of some items, a batch at a time; reasons are passed on.

        Parameters
        ----------
        prepare : an item's square picture, uint8 (s, s, 3), or a reason; called in threads
        """
        size = self.facts.picture_size
        squares = np.empty((min(batch_size, len(items)), size, size, 3), np.uint8)
        whole: list[T] = []
        broken: list[tuple[T, Outcome]] = []
        with closing(in_threads(prepare, items, ahead=2 * batch_size)) as prepared:
            for number, (item, square) in enumerate(zip(items, prepared, strict=True), start=1):
                if isinstance(square, str):
                    broken.append((item, square))
                else:
                    squares[len(whole)] = square
                    whole.append(item)
                if whole and (len(whole) == batch_size or number == len(items)):
                    vectors = self.runtime.vectors(squares[: len(whole)])
                    yield [*zip(whole, vectors, strict=True), *broken]
                    whole, broken = [], []
        yield broken


def _may_pass(error: PictureError) -> bool:
    """Whether the system refused, not the picture: it may be there, or readable, another time."""
    cause = error.__context__
    return isinstance(cause, MemoryError) or (
        isinstance(cause, OSError) and cause.errno is not None
    )


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "picture"
