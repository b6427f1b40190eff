"""Embed every picture of a catalogue and store the vectors as they are computed."""

from __future__ import annotations

import sys
import tempfile
from collections import UserDict
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese.data.catalogue import Catalogue, Picture, Skipped
from siamese.data.remote_files import File, RemoteFolder
from siamese.embedding.executor import Executor, LocalExecutor
from siamese.embedding.pipeline import BATCH_SIZE
from siamese.embedding.store import EmbeddingStore, OpenStore
from siamese.utils.progress import progress_bar
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.embedding.embedder import Embedder


@dataclass(frozen=True)
class Embeddings:
    """Vectors of a catalogue's pictures.

    Attributes
    ----------
    pictures : list of Picture, length n
        The pictures that have a vector, in catalogue order.
    vectors : ndarray of float32, shape (n, d)
        Unit-length vectors, in the order of `pictures`.
    skipped : list of Skipped
        The pictures without a vector, each with the reason.
    contents : list of bytes, length n
        16-byte BLAKE2b digest of each picture's file at the time it was embedded.
    """

    pictures: list[Picture]
    vectors: np.ndarray
    skipped: list[Skipped]
    contents: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class EmbeddingRun:
    """Summary of a call to `embed_into_store`.

    `pictures` is the number of pictures with a vector, `new` the number embedded in this call, and
    `skipped` the pictures without a vector. `runtime` and `precision` are None if `new` is 0.
    """

    pictures: int
    new: int
    skipped: list[Skipped]
    seconds: float
    runtime: str | None
    precision: str | None
    executor: str

    @property
    def pictures_per_second(self) -> float:
        """Number of newly embedded pictures per second."""
        return self.new / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as the dictionary that `siamese embed --json` prints."""
        document = asdict(self)
        document["engine"] = document.pop("executor")  # the key's original name, kept for users
        return {**document, "pictures_per_second": self.pictures_per_second}


def embed_catalogue(
    embedder: Embedder,
    catalogue: Catalogue,
    *,
    store: EmbeddingStore | None = None,
    batch_size: int = BATCH_SIZE,
    drop_others: bool = True,
    executor: Executor | None = None,
) -> Embeddings:
    """Embed a catalogue and return its vectors.

    Pictures that cannot be used are skipped and listed in the result.

    Parameters
    ----------
    store : EmbeddingStore, optional
        Store whose vectors are reused, and to which new vectors are added. By default, a temporary
        store is used.
    batch_size : int, default 32
        Number of pictures per call to the model.
    drop_others : bool, default True
        Whether to remove pictures from the store if they are not in the catalogue.
    executor : Executor, optional
        Computes the vectors; by default a `LocalExecutor`, which runs in this process.

    Returns
    -------
    Embeddings
        Its `vectors` array is memory-mapped, so it may be larger than memory.

    Raises
    ------
    InputError
        If the store cannot be used (see `EmbeddingStore.open`), or the executor fails.

    Examples
    --------
    >>> from siamese import Catalogue, Embedder
    >>> catalogue = Catalogue.read("items.json")  # doctest: +SKIP
    >>> embed_catalogue(Embedder.pretrained(), catalogue).vectors.shape  # doctest: +SKIP
    (100, 1280)
    """
    if store is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            store = EmbeddingStore(folder)
            return embed_catalogue(
                embedder, catalogue, store=store, batch_size=batch_size, executor=executor
            )
    with _embed(embedder, store, catalogue, batch_size, executor, drop_others) as embedded:
        opened, pictures, run = embedded
        filenames = [picture.filename for picture in pictures]
        contents = [opened.rows[filename].state.content for filename in filenames]
        return Embeddings(pictures, opened.read_vectors(filenames), run.skipped, contents)


def embed_into_store(
    embedder: Embedder,
    store: EmbeddingStore,
    catalogue: Catalogue,
    *,
    batch_size: int = BATCH_SIZE,
    executor: Executor | None = None,
) -> EmbeddingRun:
    """Embed a catalogue into a store and return a summary; see `embed_catalogue`.

    The vectors are not read back. Pictures not in the catalogue are removed from the store.
    """
    with _embed(embedder, store, catalogue, batch_size, executor) as (_, _, run):
        return run


class _CatalogueFiles(UserDict[str, Any]):
    """Mapping from each filename in a catalogue, except those in `without`, to its file.

    The `File` objects are created on access, because they take far more memory than `Picture`s.
    """

    def __init__(self, catalogue: Catalogue, without: Container[str] = ()) -> None:
        self._catalogue = catalogue
        self.data = {
            picture.filename: picture
            for picture in catalogue.pictures
            if picture.filename not in without
        }

    def __getitem__(self, filename: str) -> File:
        return self._catalogue.path_of(self.data[filename])


@contextmanager
def _embed(
    embedder: Embedder,
    store: EmbeddingStore,
    catalogue: Catalogue,
    batch_size: int,
    executor: Executor | None,
    drop_others: bool = True,
) -> Iterator[tuple[OpenStore, list[Picture], EmbeddingRun]]:
    """Embed a catalogue; yield the open store, the pictures with a vector and a summary."""
    began = monotonic()
    executor = executor or LocalExecutor()
    files = _CatalogueFiles(catalogue)
    if isinstance(catalogue.image_dir, RemoteFolder):
        catalogue.image_dir.reset_listing(keep_unused=True)
    with store.open(embedder.facts) as opened:
        unchanged = opened.find_unchanged(files)
        if unchanged:
            count = pluralize(len(files), "picture")
            print(f"{len(unchanged):,} of {count} embedded already", file=sys.stderr)
        new_files = _CatalogueFiles(catalogue, without=unchanged)
        batches = executor.embed_files(embedder, new_files, batch_size)
        reasons: dict[str, str] = {}
        ran: set[tuple[str, str]] = set()
        with progress_bar("embedding", len(new_files)) as bar, closing(batches):
            for outcomes, ran_batch in batches:
                opened.add(outcomes)
                ran |= ran_batch
                reasons |= {name: result for name, _, result in outcomes if isinstance(result, str)}
                if reasons:
                    bar.set_postfix_str(f"{len(reasons):,} skipped", refresh=False)
                bar.update(len(outcomes))
        new = len(new_files) - len(reasons)
        opened.merge(files if drop_others else None)
        errors = ((filename, opened.rows[filename].error) for filename in unchanged)
        reasons |= {filename: error for filename, error in errors if error is not None}
        pictures, skipped = [], []
        for picture in catalogue.pictures:
            if (reason := reasons.get(picture.filename)) is None:
                pictures.append(picture)
            else:
                skipped.append(Skipped(picture.item_id, picture.filename, reason))
        runtime = precision = None
        if new:  # a cluster's nodes may use different runtimes
            runtime, precision = (", ".join(sorted(set(names))) for names in zip(*ran, strict=True))
        seconds = monotonic() - began
        run = EmbeddingRun(len(pictures), new, skipped, seconds, runtime, precision, executor.name)
        yield opened, pictures, run
