"""Store the vectors of pictures on disk while they are computed.

A store is a folder. `manifest.json` names the model that computed the vectors, and the Parquet
files `part-00000.parquet` and so on (shards) hold them, one row per picture. Each file is written
completely or not at all, so a run that is stopped loses only seconds of work. If a picture is in
several shards, the one with the highest number counts.
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

FORMAT = 1  # number in the manifest; folders of a higher one are refused
SHARD_PICTURES = 1024  # a shard is written when this many pictures are waiting,
SHARD_SECONDS = 3.0  # or this long after the last one
MERGED_PICTURES = 65_536  # approximate maximum in a merged shard


class EmbeddingStore:
    """A folder that stores the vectors of one model.

    Parameters
    ----------
    folder : path-like
        Created on first use.

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
        """Open the store for the vectors of a model, for this process only.

        Vectors of another model and damaged shards are deleted and reported on standard error. All
        added outcomes are on disk when the context ends.

        Raises
        ------
        InputError
            If the folder is not writable, is in use by another run, is not a store, or was written
            by a newer version.
        """
        self.require_writable()
        with lock_folder(self.folder):
            for leftover in self.folder.glob(".*.tmp"):  # of a run that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            self._prepare(facts)
            opened = OpenStore(self.folder, facts.embedding_size)
            try:
                yield opened
            finally:
                opened.flush()

    def require_writable(self) -> None:
        """Raise `InputError` if the folder cannot be written to, or holds something else."""
        require_artefact(self.folder, "an embeddings folder", Artefact.EMBEDDINGS)
        require_writable(self.folder / MANIFEST)

    def _prepare(self, facts: ModelFacts) -> None:
        """Record the model in the manifest, and delete the vectors of any other model."""
        recorded, current = self._read_manifest(), facts.as_dict()
        if recorded == current:
            return
        if recorded is not None and recorded.get("fingerprint") != facts.fingerprint:
            print(
                f"{self.folder}: holds embeddings of another model ({recorded.get('name')}); "
                f"starting again with {facts.name}",
                file=sys.stderr,
            )
            # Before the manifest is replaced: a stop in between must not leave wrong vectors.
            for path in find_shards(self.folder).values():
                path.unlink()
        with atomic_path(self.folder / MANIFEST) as temporary:
            manifest = {"format": FORMAT, "model": current}
            temporary.write_text(json.dumps(manifest, indent=2) + "\n")

    def _read_manifest(self) -> dict[str, Any] | None:
        """Return the facts of the recorded model, or None if there is no manifest."""
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
    """The content of an `EmbeddingStore` that this process has locked."""

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

        Rows that this run wrote are loaded here, once the model no longer needs the memory.
        """
        for number, filenames in self._unloaded.items():
            rows = (row for _, row in self._shards.read_rows(number))
            # Reuse these filenames, which are in memory already.
            self._loaded_rows.update(zip(filenames, rows, strict=True))
        self._unloaded.clear()
        return self._loaded_rows

    def find_unchanged(self, files: Mapping[str, File]) -> set[str]:
        """Return the filenames of the stored pictures whose files have not changed.

        A file is unchanged if its size and its modification time are, or its size and its content.
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
            if status.st_size not in (state.size, -1):  # -1 if a server does not report it
                continue
            # On disk 0 is a valid time; from a server it means that the time is unknown.
            if status.st_mtime_ns == state.modified and (threads is None or state.modified):
                unchanged.add(filename)
            else:
                same_size.append(filename)

        # A copied or checked-out file has another time but the same content.
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
        """Read the vectors (n, d) of pictures that have one, in any order and possibly repeated.

        The array is mapped from a temporary file, so only the parts in use take memory.
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
                # Copy on write: assigning to the array does not change the file.
                return np.asarray(np.memmap(file, np.float32, "c", shape=shape))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self.folder}: cannot be written ({reason})") from error

    def read_outcomes(self, filenames: Container[str]) -> Iterator[tuple[str, Outcome]]:
        """Yield the filename and the outcome of stored pictures, in any order."""
        for number in self._shards.row_counts:
            for batch in self._newest_batches(number, filenames):
                yield from zip(batch["filename"].to_pylist(), batch_outcomes(batch), strict=True)

    def add(self, outcomes: Iterable[StoredOutcome]) -> None:
        """Add outcomes, except those without a state, and write them to disk from time to time."""
        self._pending.update(
            (outcome.filename, outcome) for outcome in outcomes if outcome.state is not None
        )
        waited = monotonic() - self._last_write
        if len(self._pending) >= SHARD_PICTURES or waited >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the added outcomes to disk now."""
        if self._pending:
            number = self._shards.write([outcomes_to_batch(self._pending.values())])
            self._unloaded[number] = list(self._pending)
            self._pending = {}
        self._last_write = monotonic()

    def merge(self, filenames: Container[str] | None = None) -> None:
        """Merge small shards into large ones, and drop all pictures but `filenames`, if given.

        Large shards with nothing to drop are left alone, so that adding a few pictures to many is
        quick. If the process is stopped, some rows may be in two shards, which does no harm.
        """
        self.flush()
        if filenames is None:
            filenames = dict.fromkeys(self.rows)  # a copy: the rows change below
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
        for batch in batches:  # each round takes as many as a shard holds
            new = self._shards.write(chain([batch], batches), MERGED_PICTURES)
            for name, row in self._shards.read_rows(new):  # before any shard is removed
                self.rows[name] = self.rows[name]._replace(shard=row.shard)
        for name in [name for name in self.rows if name not in filenames]:
            del self.rows[name]
        for number in to_merge:
            self._shards.remove(number)
        self._outdated_shards.clear()

    def _newest_batches(
        self, number: int, filenames: Container[str]
    ) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows of a shard that no later shard supersedes, of some filenames only."""
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
