"""From pictures to vectors: a checkpoint or the pretrained default, fed by decoding threads."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from siamese.data.catalogue import Catalogue, Picture
from siamese.data.images import PictureError, square_picture
from siamese.data.remote_cache import cache_file
from siamese.data.remote_files import File, RemoteFile, RemoteFolder, count_reader_threads
from siamese.embedding.store import EmbeddingStore, OpenStore, Outcome, StoredOutcome
from siamese.embedding.store_rows import FileState
from siamese.errors import InputError
from siamese.utils.keras_import import import_keras
from siamese.utils.progress import progress
from siamese.utils.text import pluralize
from siamese.utils.threads import in_threads

if TYPE_CHECKING:
    import keras
    from PIL import Image

    from siamese.embedding.executor import Executor
    from siamese.embedding.runtimes.choose import PrecisionName, Runtime, RuntimeName

    Source = str | os.PathLike[str] | RemoteFile | bytes | Image.Image
from siamese.data.catalogue import Skipped
from siamese.models.facts import ModelFacts

T = TypeVar("T")

BATCH_SIZE = 32


@dataclass(frozen=True)
class Embeddings:
    """A catalogue as vectors: `vectors[i]`, float32 (d,) of length 1, is `pictures[i]`.

    `contents[i]` is the BLAKE2b of its file, 16 bytes, as it was when the picture was embedded.
    """

    pictures: list[Picture]
    vectors: np.ndarray
    skipped: list[Skipped]
    contents: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Embedded:
    """What embedding a catalogue into a store came to.

    Attributes
    ----------
    pictures : that have a vector now
    new : of these, embedded in this run
    skipped : those that have none
    seconds : of this run, the loading of the model not counted
    runtime, precision : what embedded, and how; None where nothing was new
    engine : where: "local", or the name of an `siamese.embedding.executor.Executor`
    """

    pictures: int
    new: int
    skipped: list[Skipped]
    seconds: float
    runtime: str | None
    precision: str | None
    engine: str

    @property
    def pictures_per_second(self) -> float:
        """New ones."""
        return self.new / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        return {**asdict(self), "pictures_per_second": self.pictures_per_second}


class Embedder:
    """A model that turns pictures into vectors of length 1.

    >>> embedder = Embedder.load("checkpoints/final_model.hdf5")   # or Embedder.pretrained()
    >>> embedder.embed(["a.jpg", "b.jpg"]).shape
    (2, 1280)

    Made by `load`, `pretrained` or `from_model`.

    Parameters
    ----------
    load : gives the model, once
    facts : what is known of it

    Attributes
    ----------
    facts : `ModelFacts`
    wanted : the runtime and the precision as they were asked for
    engine : what embeds catalogues in place of this process; None for that itself
    """

    engine: Executor | None = None

    def __init__(
        self,
        load: Callable[[], keras.Model],
        facts: ModelFacts,
        *,
        source: str | None = None,
        runtime: RuntimeName = "auto",
        precision: PrecisionName = "auto",
    ) -> None:
        self.facts = facts
        self._load = load
        self._model: keras.Model | None = None
        self._source = source
        self.wanted = runtime, precision
        self._runtime: Runtime | None = None
        self._opening = RLock()

    def __repr__(self) -> str:
        facts = self.facts
        size = f"{facts.embedding_size} dimensions, {facts.picture_size} px"
        return f"Embedder({facts.name!r}, {size})"

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
        runtime, precision : what is to run it, and how; see `siamese.embedding.runtimes.choose.open_runtime`

        Raises
        ------
        InputError
            Missing, damaged, or no such model.
        """
        path = Path(path)

        def load() -> keras.Model:
            from siamese.models.checkpoints import load_model
            from siamese.models.embedding_model import inner_embedding_model

            return inner_embedding_model(load_model(path), path)

        made_of = ("checkpoint",), path
        return cls._made_of(made_of, load, path.name, path, runtime, precision)

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
        from siamese.models.defaults import DEFAULT_BACKBONE, DEFAULT_PICTURE_SIZE

        name, size = backbone or DEFAULT_BACKBONE, picture_size or DEFAULT_PICTURE_SIZE
        if name == "base_cnn":
            raise InputError("--backbone base_cnn: is not pretrained; train it, then --keras-model")

        def load() -> keras.Model:
            from siamese.models.embedding_model import embedding_model

            return embedding_model(name, size, weights=weights)

        file = None if weights == "imagenet" else weights
        made_of = ("pretrained", name, size), file
        return cls._made_of(made_of, load, name, None, runtime, precision)

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
        """Embed with a model that is loaded.

        Parameters
        ----------
        path : of its checkpoint
        source : names what it is made of, to be known by the next time; see
            `siamese.embedding.runtimes.openvino_cache.source_of`
        """
        from siamese.models.fingerprint import fingerprint

        facts = ModelFacts(
            name=name,
            fingerprint=fingerprint(model),
            embedding_size=model.output_shape[1],
            picture_size=model.input_shape[1],
            path=None if path is None else str(path.resolve()),
        )
        return cls(lambda: model, facts, source=source, runtime=runtime, precision=precision)

    @classmethod
    def _made_of(
        cls,
        made_of: tuple[tuple[object, ...], str | os.PathLike[str] | None],
        load: Callable[[], keras.Model],
        name: str,
        path: Path | None,
        runtime: RuntimeName,
        precision: PrecisionName,
    ) -> Embedder:
        """Embed with what `load` gives, without loading it where what is kept of it will do.

        Parameters
        ----------
        made_of : what `source_of` takes, the words and the file; which is not read for nothing
        """
        from siamese.embedding.runtimes.choose import keras_needed
        from siamese.embedding.runtimes.openvino_cache import known_facts, source_of

        def loaded() -> keras.Model:
            import_keras()
            return load()

        words, file = made_of
        source = None if keras_needed(runtime) else source_of(*words, file=file)
        facts = None if source is None else known_facts(source, name, path)
        if facts is None:
            return cls.from_model(
                loaded(), name, path, source=source, runtime=runtime, precision=precision
            )
        return cls(lambda: _unchanged(loaded(), facts), facts, runtime=runtime, precision=precision)

    @property
    def model(self) -> keras.Model:
        """float32 (n, s, s, 3), RGB in [-1, 1] → float32 (n, d), length 1; loaded when needed.

        Raises
        ------
        InputError
            It cannot be loaded, or its checkpoint is another one by now.
        """
        with self._opening:
            if self._model is None:
                model = self._load()
                from siamese.models.devices import embedding_precision
                from siamese.models.precision import set_precision

                set_precision(model, embedding_precision())
                self._model = model
            return self._model

    @property
    def runtime(self) -> Runtime:
        """What runs the model, made ready when it is first needed; see `siamese.embedding.runtimes.choose`.

        Raises
        ------
        InputError
            The runtime or the precision that was asked for cannot be had.
        """
        with self._opening:
            if self._runtime is None:
                from siamese.embedding.runtimes.choose import open_runtime
                from siamese.embedding.runtimes.openvino_cache import keep_facts

                self._runtime = open_runtime(lambda: self.model, self.facts, *self.wanted)
                if self._source is not None:
                    keep_facts(self._source, self.facts)
            return self._runtime

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
        drop_others: bool = True,
    ) -> Embeddings:
        """Embed every picture of a catalogue, with progress; broken ones are skipped and listed.

        Parameters
        ----------
        store : keeps the vectors as they come. What it holds already, from a run that was stopped
            or from an earlier one, is not embedded again. Without one, the vectors go to a folder
            for temporary files.
        drop_others : whether pictures that are not in the catalogue go from the store

        Returns
        -------
        its vectors lie on disk (see `OpenStore.vectors`): memory does not grow with their number

        Raises
        ------
        InputError
            The store cannot be used; see `EmbeddingStore.open`.
        """
        if store is None:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                alone = EmbeddingStore(folder)
                return self.embed_catalogue(catalogue, batch_size=batch_size, store=alone)
        with self._filled(store, catalogue, batch_size, drop_others) as filled:
            kept, whole = filled.kept, filled.whole
            return Embeddings(
                whole,
                kept.vectors([picture.filename for picture in whole]),
                filled.skipped,
                [kept.state_of(picture.filename).content for picture in whole],
            )

    def embed_into(
        self, store: EmbeddingStore, catalogue: Catalogue, *, batch_size: int = BATCH_SIZE
    ) -> Embedded:
        """Embed a catalogue as `embed_catalogue` does, into a store and nowhere else.

        Raises
        ------
        InputError
            The store cannot be used; see `EmbeddingStore.open`.
        """
        began = monotonic()
        with self._filled(store, catalogue, batch_size, drop_others=True) as filled:
            runtime, precision = self._ran() if filled.new else (None, None)
        return Embedded(
            pictures=len(filled.whole),
            new=filled.new,
            skipped=filled.skipped,
            seconds=monotonic() - began,
            runtime=runtime,
            precision=precision,
            engine="local" if self.engine is None else self.engine.name,
        )

    def _ran(self) -> tuple[str, str]:
        if self.engine is not None:
            return self.engine.ran
        return self.runtime.name, self.runtime.precision

    @contextmanager
    def _filled(
        self, store: EmbeddingStore, catalogue: Catalogue, batch_size: int, drop_others: bool
    ) -> Iterator[_Filled]:
        """Embed what a store does not know yet, and tidy it up."""
        files = _Files(catalogue)
        if isinstance(catalogue.image_dir, RemoteFolder):
            catalogue.image_dir.reset_listing(keep_unused=True)
        with store.open(self.facts) as kept:
            known = kept.known(files)
            if known:
                count = pluralize(len(files), "picture")
                print(f"{len(known):,} of {count} embedded already", file=sys.stderr)
            unknown = [filename for filename in files if filename not in known]
            reasons = self._fill(kept, files, unknown, batch_size)
            kept.merge(files if drop_others else None)
            for filename in files:
                if filename not in reasons and (error := kept.error_of(filename)) is not None:
                    reasons[filename] = error
            whole: list[Picture] = []
            skipped: list[Skipped] = []
            for picture in catalogue.pictures:
                if (reason := reasons.get(picture.filename)) is None:
                    whole.append(picture)
                else:
                    skipped.append(Skipped(picture.item_id, picture.filename, reason))
            new = sum(filename not in reasons for filename in unknown)
            yield _Filled(kept, whole, skipped, new)

    def _fill(
        self, kept: OpenStore, files: Mapping[str, File], unknown: Sequence[str], batch_size: int
    ) -> dict[str, str]:
        """Embed pictures into a store; return why some have no vector."""
        reasons: dict[str, str] = {}
        if self.engine is None:
            entries = self.entries(files, unknown, batch_size)
        else:
            entries = self.engine.entries(self, files, unknown, batch_size)
        with progress("embedding", len(unknown)) as bar, closing(entries) as batches:
            for batch in batches:
                reasons.update(
                    (entry.filename, entry.outcome)
                    for entry in batch
                    if isinstance(entry.outcome, str)
                )
                kept.add(batch)
                if reasons:
                    bar.set_postfix_str(f"{len(reasons):,} skipped", refresh=False)
                bar.update(len(batch))
        return reasons

    def entries(
        self, files: Mapping[str, File], filenames: Sequence[str], batch_size: int = BATCH_SIZE
    ) -> Generator[list[StoredOutcome]]:
        """Embed the files of some filenames, about a batch at a time, in no special order."""
        size = self.facts.picture_size
        states: dict[str, FileState | None] = {}

        def prepare(filename: str) -> np.ndarray | str:
            # Before it is decoded: should it change meanwhile, that is seen the next time.
            file = cache_file(files[filename])
            state = FileState.from_path(file)
            try:
                square = square_picture(file, size)
            except PictureError as error:
                states[filename] = None if _may_pass(error) else state
                return str(error)
            states[filename] = state
            return "changed while it was read" if state is None else square

        threads = count_reader_threads(files.values())
        with closing(self._embedded(filenames, prepare, batch_size, threads)) as batches:
            for batch in batches:
                yield [StoredOutcome(name, states.pop(name), outcome) for name, outcome in batch]

    def _embedded(
        self,
        items: Sequence[T],
        prepare: Callable[[T], np.ndarray | str],
        batch_size: int,
        threads: int | None = None,
    ) -> Generator[list[tuple[T, Outcome]]]:
        """Embed the square pictures of some items, a batch at a time; reasons are passed on.

        Parameters
        ----------
        prepare : an item's square picture, uint8 (s, s, 3), or a reason; called in threads
        """

        def batches(prepared: Iterable[np.ndarray | str]) -> Iterator[_Batch[T]]:
            batch = _Batch[T]([], [], [])
            for item, square in zip(items, prepared, strict=True):
                if isinstance(square, str):
                    batch.broken.append((item, square))
                else:
                    batch.whole.append(item)
                    batch.squares.append(square)
                if len(batch.whole) == batch_size:
                    yield batch
                    batch = _Batch([], [], [])
            yield batch

        def embedded(batch: _Batch[T]) -> list[tuple[T, Outcome]]:
            if not batch.whole:
                return batch.broken
            vectors = self.runtime.vectors(np.stack(batch.squares))
            return [*zip(batch.whole, vectors, strict=True), *batch.broken]

        with (
            closing(in_threads(prepare, items, 2 * batch_size, threads)) as prepared,
            # The next batch is begun before one ends, so that no core waits for a batch's last.
            closing(in_threads(embedded, batches(prepared), ahead=1, threads=2)) as done,
        ):
            yield from done


class _Batch(NamedTuple, Generic[T]):
    """Items that have a square picture, those pictures, and items with why they have none."""

    whole: list[T]
    squares: list[np.ndarray]
    broken: list[tuple[T, Outcome]]


class _Filled(NamedTuple):
    """A store that holds a catalogue: its pictures with a vector, those without, those embedded."""

    kept: OpenStore
    whole: list[Picture]
    skipped: list[Skipped]
    new: int


class _Files(Mapping[str, File]):
    """The file of each filename of a catalogue; a path is made when asked for, as it is large."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._pictures = {picture.filename: picture for picture in catalogue.pictures}

    def __getitem__(self, filename: str) -> File:
        return self._catalogue.path_of(self._pictures[filename])

    def __contains__(self, filename: object) -> bool:
        return filename in self._pictures

    def __iter__(self) -> Iterator[str]:
        return iter(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)


def _unchanged(model: keras.Model, facts: ModelFacts) -> keras.Model:
    """A model that was known before it was loaded, if it is still that one."""
    from siamese.models.fingerprint import fingerprint

    if fingerprint(model) != facts.fingerprint:
        raise InputError(f"{facts.path or facts.name}: was changed meanwhile; run this again")
    return model


def _may_pass(error: PictureError) -> bool:
    """Whether the system refused, not the picture: it may be there, or readable, another time."""
    cause = error.__context__
    return isinstance(cause, MemoryError) or (
        isinstance(cause, OSError) and cause.errno is not None
    )


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | os.PathLike | RemoteFile) else "picture"
