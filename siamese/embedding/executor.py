"""Executors embed a catalogue's files; `LocalExecutor` does so in this process."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np

from siamese.data.images import PictureError, square_picture
from siamese.data.remote_files import File, cache_file, count_reader_threads
from siamese.embedding.pipeline import decode_and_embed
from siamese.embedding.store_rows import FileState, StoredOutcome

if TYPE_CHECKING:
    from siamese.embedding.embedder import Embedder

ExecutorName = Literal["local", "ray"]
"""Accepted values of `--executor`."""


class EmbeddedBatch(NamedTuple):
    """Outcomes of a batch of files, and the (runtime, precision) pairs used to compute them."""

    outcomes: list[StoredOutcome]
    ran: set[tuple[str, str]]


class Executor(Protocol):
    """Interface of executors. `name` is the value of `--executor`."""

    name: str

    def embed_files(
        self, embedder: Embedder, files: Mapping[str, File], batch_size: int
    ) -> Generator[EmbeddedBatch]:
        """Embed files, yielding outcomes in batches as they are ready, in no particular order.

        Parameters
        ----------
        files : mapping of str to File
            Maps each filename to its file.
        batch_size : int
            Number of pictures per call to the model.

        Yields
        ------
        EmbeddedBatch
            Outcomes of some of the files. Each file is in exactly one batch.
        """


class LocalExecutor:
    """Executor that embeds files in this process."""

    name = "local"

    def embed_files(
        self, embedder: Embedder, files: Mapping[str, File], batch_size: int
    ) -> Generator[EmbeddedBatch]:
        """Embed files; see `Executor.embed_files`."""
        size = embedder.facts.picture_size
        states: dict[str, FileState | None] = {}

        def decode(filename: str) -> np.ndarray | str:
            # Read the state first, so that the next run detects a change during decoding.
            file = cache_file(files[filename])
            state = states[filename] = FileState.from_path(file)
            try:
                square = square_picture(file, size)
            except PictureError as error:
                cause = error.__context__
                if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno):
                    states[filename] = None  # a system error: try the picture again in the next run
                return str(error)
            return "changed while it was read" if state is None else square

        threads = count_reader_threads(files.values())
        embed = embedder.embed_squares
        with closing(decode_and_embed(embed, list(files), decode, batch_size, threads)) as batches:
            for batch in batches:
                outcomes = [StoredOutcome(name, states.pop(name), result) for name, result in batch]
                ran = set()
                if any(not isinstance(result, str) for _, result in batch):
                    ran.add((embedder.runtime.name, embedder.runtime.precision))
                yield EmbeddedBatch(outcomes, ran)
