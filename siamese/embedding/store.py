"""Store vectors on disk as they are computed.

A store is a folder. Its `manifest.json` names the model. The vectors are in Parquet files (shards),
`part-00000.parquet` and so on, with one row per picture. A shard is written every few seconds,
completely or not at all, so an interrupted run loses only seconds of work. If several shards
contain the same picture, the row in the shard with the highest number is used.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.data.remote_files import File, cache_file, count_reader_threads, stat_files
from siamese.embedding.store_rows import (
    FileState,
    Outcome,
    PackedRows,
    StoredOutcome,
    batch_outcomes,
    outcomes_to_batch,
)
from siamese.embedding.store_shards import DamagedShardError, Shards, find_shards
from siamese.errors import InputError
from siamese.utils.artefacts import MANIFEST, Artefact, require_artefact
from siamese.utils.files import atomic_path, lock_folder, require_writable
from siamese.utils.progress import progress_bar
from siamese.utils.threads import map_in_threads

if TYPE_CHECKING:
    import pyarrow

    from siamese.models.facts import ModelFacts

FORMAT = 1  # format number in the manifest; higher numbers are rejected
SHARD_PICTURES = 1024  # a shard is written once this many pictures are pending,
SHARD_SECONDS = 3.0  # or this many seconds after the last write
MERGED_PICTURES = 65_536  # approximate maximum number of pictures in a merged shard


class EmbeddingStore:
    """Folder that stores the vectors computed by one model.

    Parameters
    ----------
    folder : path-like
        The store's folder. It is created on first use.

    Examples
    --------
    >>> from siamese import embed_catalogue
    >>> store = EmbeddingStore("search_index.embeddings")
    >>> embed_catalogue(embedder, catalogue, store=store)  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @contextmanager
    def open(self, facts: ModelFacts) -> Iterator[OpenStore]:
        """Open the store for a model's vectors, and lock it against other processes.

        Vectors of another model and damaged shards are deleted, with a note on standard error.
        When the context ends, all added outcomes are written to disk.

        Raises
        ------
        InputError
            If the folder is not writable, not a store, or in use by another process, or if its
            manifest is damaged or was written by a newer version.
        """
        self.require_writable()
        with lock_folder(self.folder):
            for leftover in self.folder.glob(".*.tmp"):  # left by a killed process
                shutil.rmtree(leftover, ignore_errors=True)
            self._prepare(facts)
            opened = OpenStore(self.folder, facts.embedding_size)
            try:
                yield opened
            finally:
                opened.flush()

    def require_writable(self) -> None:
        """Raise `InputError` if the folder is not writable or is another kind of artefact."""
        require_artefact(self.folder, "an embeddings folder", Artefact.EMBEDDINGS)
        require_writable(self.folder / MANIFEST)

    def _prepare(self, facts: ModelFacts) -> None:
        """Record the model in the manifest, and delete the vectors of a different model."""
        recorded, current = self._read_manifest(), facts.as_dict()
        if recorded == current:
            return
        if recorded is not None and recorded.get("fingerprint") != facts.fingerprint:
            print(
                f"{self.folder}: holds embeddings of another model ({recorded.get('name')}); "
                f"starting again with {facts.name}",
                file=sys.stderr,
            )
            # Delete first: after an interruption, a new manifest must not describe old vectors.
            for path in find_shards(self.folder).values():
                path.unlink()
        with atomic_path(self.folder / MANIFEST) as temporary:
            manifest = {"format": FORMAT, "model": current}
            temporary.write_text(json.dumps(manifest, indent=2) + "\n")

    def _read_manifest(self) -> dict[str, Any] | None:
        """Return the model facts in the manifest, or None if there is no manifest."""
        path = self.folder / MANIFEST
        remedy = f"remove {self.folder} to start again, or choose another folder"
        try:
            manifest = json.loads(path.read_bytes())
            number, model = manifest["format"], manifest.get("model")
        except FileNotFoundError:
            if find_shards(self.folder):
                problem = f"has Parquet files but no {MANIFEST}"
                raise InputError(f"{self.folder}: {problem}; {remedy}") from None
            return None
        except OSError as error:
            raise InputError(f"{path}: unreadable ({error.strerror or error})") from error
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{path}: damaged; {remedy}") from None
        if isinstance(number, int) and number > FORMAT:
            raise InputError(f"{path}: written by a newer version (format {number}); {remedy}")
        if number != FORMAT or not isinstance(model, dict):
            raise InputError(f"{path}: damaged; {remedy}")
        return model


class OpenStore:
    """Contents of an open `EmbeddingStore`, locked by this process."""

    def __init__(self, folder: Path, embedding_size: int) -> None:
        self.folder = folder
        self.embedding_size = embedding_size
        self._pending: dict[str, StoredOutcome] = {}
        self._last_write = monotonic()
        self._shards = Shards(folder, embedding_size)
        self._loaded_rows = PackedRows()
        self._unloaded: dict[int, list[str]] = {}
        self._outdated_shards: set[int] = set()
        for number in find_shards(folder):
            rows = PackedRows()
            try:
                rows.update(self._shards.read_rows(number))
            except DamagedShardError as error:
                print(f"{error}; its pictures are embedded again", file=sys.stderr)
                self._shards.remove(number)
            else:
                self._shards.row_counts[number] = len(rows)
                self._loaded_rows.update(rows)

    @property
    def rows(self) -> PackedRows:
        """The newest row of each picture.

        To save memory while the model runs, new rows are read back from disk only on access.
        """
        for number, filenames in self._unloaded.items():
            rows = (row for _, row in self._shards.read_rows(number))
            # Reuse the filename strings that are already in memory.
            self._loaded_rows.update(zip(filenames, rows, strict=True))
        self._unloaded.clear()
        return self._loaded_rows

    def find_unchanged(self, files: Mapping[str, File]) -> set[str]:
        """Return the filenames of the stored pictures whose files have not changed.

        A file is unchanged if its size (if known) and modification time or content are the same.
        """
        unchanged: set[str] = set()
        same_size = []
        stored = [filename for filename in files if filename in self.rows]
        threads = count_reader_threads(files.values())
        statuses = stat_files([files[filename] for filename in stored])
        for filename, status in zip(stored, statuses, strict=True):
            state = self.rows[filename].state
            if status is None or not stat.S_ISREG(status.st_mode):
                continue
            if status.st_size not in (state.size, -1):  # -1: the server does not report it
                continue
            # A time of 0 is valid for a local file, but means unknown for a remote one.
            if status.st_mtime_ns == state.modified and (threads is None or state.modified):
                unchanged.add(filename)
            else:
                same_size.append(filename)

        # A file that was copied or checked out has a new time but the same content.
        def read_state(filename: str) -> FileState | None:
            return FileState.from_path(cache_file(files[filename]))

        states = map_in_threads(read_state, same_size, 64, threads)
        with closing(states), progress_bar("comparing", len(same_size)) as bar:
            for filename, current in zip(same_size, states, strict=True):
                row = self.rows[filename]
                if current is not None and current.content == row.state.content:
                    unchanged.add(filename)
                    self.rows[filename] = row._replace(state=current)
                    self._outdated_shards.add(row.shard)
                bar.update()
        return unchanged

    def read_vectors(self, filenames: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of the given pictures, shape (n, d), in the order of `filenames`.

        Each picture must have a vector; filenames may repeat. The array is memory-mapped.
        """
        positions: dict[str, list[int]] = {}
        for position, filename in enumerate(filenames):
            positions.setdefault(filename, []).append(position)
        shape = (len(filenames), self.embedding_size)
        if not positions:
            return np.empty(shape, np.float32)
        try:
            with tempfile.TemporaryFile(dir=self.folder, buffering=0) as file:
                for filename, vector in self.read_outcomes(positions):
                    for position in positions[filename]:
                        file.seek(position * 4 * self.embedding_size)
                        file.write(np.asarray(vector, np.float32).tobytes())
                # Mode "c" (copy-on-write): assigning to the array does not change the file.
                return np.asarray(np.memmap(file, np.float32, "c", shape=shape))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self.folder}: cannot be written ({reason})") from error

    def read_outcomes(self, filenames: Container[str]) -> Iterator[tuple[str, Outcome]]:
        """Yield the filename and outcome of each stored, given picture, in no particular order."""
        for number in self._shards.row_counts:
            for batch in self._newest_batches(number, filenames):
                yield from zip(batch["filename"].to_pylist(), batch_outcomes(batch), strict=True)

    def add(self, outcomes: Iterable[StoredOutcome]) -> None:
        """Add the outcomes that have a state, and flush from time to time."""
        self._pending.update(
            (outcome.filename, outcome) for outcome in outcomes if outcome.state is not None
        )
        waited = monotonic() - self._last_write
        if len(self._pending) >= SHARD_PICTURES or waited >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write all pending outcomes to disk."""
        if self._pending:
            number = self._shards.write([outcomes_to_batch(self._pending.values())])
            self._unloaded[number] = list(self._pending)
            self._pending = {}
        self._last_write = monotonic()

    def merge(self, filenames: Container[str] | None = None) -> None:
        """Merge small shards into large ones; if `filenames` is given, drop all other pictures.

        Large shards that are up to date are not rewritten, so adding a few pictures to a large
        store is quick. If the process is interrupted, rows may be in two shards, which is harmless.
        """
        self.flush()
        if filenames is None:
            filenames = dict.fromkeys(self.rows)  # a copy, because `rows` changes below
        kept_rows = Counter(row.shard for name, row in self.rows.items() if name in filenames)

        counts = self._shards.row_counts.items()
        outdated = self._outdated_shards | {
            number for number, rows in counts if rows != kept_rows[number]
        }
        small = {number for number, rows in counts if rows < MERGED_PICTURES // 2}
        if not outdated and len(small) == 1:
            return
        to_merge = sorted(small | outdated)
        batches = chain.from_iterable(self._newest_batches(old, filenames) for old in to_merge)
        for batch in batches:  # each iteration writes one merged shard
            new = self._shards.write(chain([batch], batches), MERGED_PICTURES)
            for name, row in self._shards.read_rows(new):  # read back before removing old shards
                self.rows[name] = self.rows[name]._replace(shard=row.shard)
        for name in [name for name in self.rows if name not in filenames]:
            del self.rows[name]
        for number in to_merge:
            self._shards.remove(number)
        self._outdated_shards.clear()

    def _newest_batches(
        self, number: int, filenames: Container[str]
    ) -> Iterator[pyarrow.RecordBatch]:
        """Yield a shard's rows for `filenames` that no later shard replaces, with current times."""
        import pyarrow as pa

        for batch in self._shards.read_batches(number):
            names = batch["filename"].to_pylist()
            newest = [name in filenames and self.rows[name].shard == number for name in names]
            if not any(newest):
                continue
            rows = batch.filter(pa.array(newest, pa.bool_()))
            times = [self.rows[name].state.modified for name in rows["filename"].to_pylist()]
            column = rows.schema.get_field_index("modified")
            yield rows.set_column(column, "modified", pa.array(times, pa.int64()))
