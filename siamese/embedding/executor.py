"""Executors embed the files of a catalogue; `LocalExecutor` does so in this process."""

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
"""The values of `--executor`."""


class EmbeddedBatch(NamedTuple):
    """Outcomes of some files, with each pair of runtime and precision that computed vectors."""

    outcomes: list[StoredOutcome]
    ran: set[tuple[str, str]]


class Executor(Protocol):
    """Embeds the files of a catalogue. `name` is the value of `--executor`."""

    name: str

    def embed_files(
        self, embedder: Embedder, files: Mapping[str, File], batch_size: int
    ) -> Generator[EmbeddedBatch]:
        """Embed files and yield their outcomes as they arrive, in any order.

        Parameters
        ----------
        files : mapping of str to File
            The file of each filename.
        batch_size : int
            Pictures per call of the model.

        Yields
        ------
        EmbeddedBatch
            Each file is in exactly one batch.
        """


class LocalExecutor:
    """Embeds in this process."""

    name = "local"

    def embed_files(
        self, embedder: Embedder, files: Mapping[str, File], batch_size: int
    ) -> Generator[EmbeddedBatch]:
        """Embed files; see `Executor.embed_files`."""
        size = embedder.facts.picture_size
        states: dict[str, FileState | None] = {}

        def decode(filename: str) -> np.ndarray | str:
            # The state is read before the picture, so that a later change of the file is noticed.
            file = cache_file(files[filename])
            state = states[filename] = FileState.from_path(file)
            try:
                square = square_picture(file, size)
            except PictureError as error:
                cause = error.__context__
                if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno):
                    states[filename] = None  # the system failed, not the picture: try again later
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
