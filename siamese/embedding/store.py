"""Vectors of pictures on disk, written as they are made, so that a stop costs seconds of work.

A store is a folder: `manifest.json` says which model made the vectors, and Parquet files
`part-00000.parquet`, … hold them, a row a picture. Each file is written whole or not at all; where
a picture stands in several, the one with the highest number holds.
"""

from __future__ import annotations

import json
import os
import re
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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from siamese.data.remote_cache import cache_file
from siamese.data.remote_files import File, count_reader_threads, stat_files
from siamese.embedding.store_rows import FileState, Row, Rows
from siamese.errors import InputError
from siamese.utils.artefacts import MANIFEST, Artefact, require_artefact
from siamese.utils.files import atomic_path, lock_folder, require_writable
from siamese.utils.progress import progress_bar
from siamese.utils.threads import map_in_threads

if TYPE_CHECKING:
    import pyarrow

    from siamese.models.facts import ModelFacts

FORMAT = 1
"""Of the folder, in its manifest; a newer one is refused."""

SHARD_PICTURES = 1024
"""So many new pictures are written as a file …"""

SHARD_SECONDS = 3.0
"""… or fewer, where that takes longer than this."""

Outcome: TypeAlias = np.ndarray | str
"""A picture's vector, float32 (d,), or the reason why it has none."""

READ_PICTURES = 256
"""So many are read at a time, and are a row group of the files that remain at the end."""

MERGED_PICTURES = 65_536
"""About so many pictures at most in a file of those that remain at the end."""


class StoredOutcome(NamedTuple):
    """What became of a picture.

    Attributes
    ----------
    filename : as in the catalogue
    state : of the file, taken before it was decoded; None where it is to be tried again
    outcome : see `Outcome`
    """

    filename: str
    state: FileState | None
    outcome: Outcome


class EmbeddingStore:
    """A folder that keeps the vectors of one model.

    >>> embedder.embed_catalogue(catalogue, store=EmbeddingStore("search_index.embeddings"))
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @contextmanager
    def open(self, facts: ModelFacts) -> Iterator[OpenStore]:
        """Open the store for the vectors of a model, alone; write what was added at the end.

        The vectors of another model are dropped, and a damaged file is: both are said on standard
        error.

        Raises
        ------
        InputError
            The folder cannot be written to, is being written by another run, is no store, or is
            one of a newer version.
        """
        self.require_writable()
        with lock_folder(self.folder):
            for left_over in self.folder.glob(".*.tmp"):  # by a run that was killed
                shutil.rmtree(left_over, ignore_errors=True)
            self._require(facts)
            opened = OpenStore(self.folder, facts.embedding_size)
            try:
                yield opened
            finally:
                opened.write()

    def require_writable(self) -> None:
        """Prove that the folder can be written to, before long work.

        Raises
        ------
        InputError
            It cannot, or it holds something else than embeddings.
        """
        require_artefact(self.folder, "an embeddings folder", Artefact.EMBEDDINGS)
        require_writable(self.folder / MANIFEST)

    def _require(self, facts: ModelFacts) -> None:
        """Make the store one of this model, emptying it where it is another's."""
        recorded, now = self._recorded(), facts.as_dict()
        if recorded == now:
            return
        if recorded is not None and recorded.get("fingerprint") != facts.fingerprint:
            print(
                f"{self.folder}: holds embeddings of another model ({recorded.get('name')}); "
                f"begun anew for {facts.name}",
                file=sys.stderr,
            )
            # Before the new manifest: between the two there is no vector, rather than wrong ones.
            for path in _shards(self.folder).values():
                path.unlink()
        with atomic_path(self.folder / MANIFEST) as temporary:
            manifest = {"format": FORMAT, "model": now}
            temporary.write_text(json.dumps(manifest, indent=2) + "\n")

    def _recorded(self) -> dict[str, Any] | None:
        """The facts of the model in the manifest; None without one."""
        path = self.folder / MANIFEST
        remedy = f"remove {self.folder} to begin anew, or choose another place"
        try:
            manifest = json.loads(path.read_bytes())
            number, model = manifest["format"], manifest.get("model")
        except FileNotFoundError:
            if _shards(self.folder):
                line = f"{self.folder}: Parquet files without their {MANIFEST}; {remedy}"
                raise InputError(line) from None
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
    """An `EmbeddingStore` that this process alone writes; see `EmbeddingStore.open`."""

    def __init__(self, folder: Path, embedding_size: int) -> None:
        self.folder = folder
        self.embedding_size = embedding_size
        self._pending: dict[str, StoredOutcome] = {}
        self._written = monotonic()
        self._rows: dict[int, int] = {}
        self._remembered = Rows()
        self._unread: dict[int, tuple[str, ...]] = {}
        self._touched: set[int] = set()
        for number, path in _shards(folder).items():
            rows = Rows()
            try:
                rows.update(self._read_rows(number))
            except _DamagedError as damaged:
                print(f"{damaged}; its pictures are embedded again", file=sys.stderr)
                path.unlink()
            else:
                self._rows[number] = len(rows)
                self._remembered.update(rows)

    @property
    def _newest(self) -> Rows:
        """The newest row of each picture.

        What this run wrote is read when it is asked for: not while a model needs the memory.
        """
        for number, names in self._unread.items():
            rows = (row for _, row in self._read_rows(number))
            self._remembered.update(zip(names, rows, strict=True))  # the names that are here
        self._unread.clear()
        return self._remembered

    def known(self, paths: Mapping[str, File]) -> set[str]:
        """Find the pictures that have not changed: the same size, and the same time or bytes.

        Parameters
        ----------
        paths : the file of each filename
        """
        known: set[str] = set()
        same_size = []
        held = [filename for filename in paths if filename in self._newest]
        threads = count_reader_threads(paths.values())
        looked_up = stat_files((paths[filename] for filename in held), threads)
        for filename, found in zip(held, looked_up, strict=True):
            state = self._newest[filename].state
            if found is None or not stat.S_ISREG(found.st_mode):
                continue
            if found.st_size not in (state.size, -1):
                continue
            # On disk 0 is a time too; a server that says 0 has told nothing.
            if found.st_mtime_ns == state.modified and (threads is None or state.modified):
                known.add(filename)
            else:
                same_size.append(filename)
        # A copy, or a checkout, has another time and the same bytes.
        states = map_in_threads(
            lambda filename: FileState.from_path(cache_file(paths[filename])),
            same_size,
            64,
            threads,
        )
        with closing(states), progress_bar("comparing", len(same_size)) as bar:
            for filename, now in zip(same_size, states, strict=True):
                row = self._newest[filename]
                if now is not None and now.content == row.state.content:
                    known.add(filename)
                    self._newest[filename] = row._replace(state=now)
                    self._touched.add(row.shard)
                bar.update()
        return known

    def state_of(self, filename: str) -> FileState:
        """The file of a picture, as it was when the picture was embedded."""
        return self._newest[filename].state

    def error_of(self, filename: str) -> str | None:
        """The reason why a picture has no vector; None where it has one, or is not here."""
        row = self._newest.get(filename)
        return None if row is None else row.error

    def vectors(self, filenames: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of pictures that have one, float32 (n, d), in the order of their names.

        The array lies in a file without a name, which goes when the array does; memory holds only
        what is being looked at.

        Raises
        ------
        InputError
            A full disk.
        """
        places: dict[str, list[int]] = {}
        for place, filename in enumerate(filenames):
            places.setdefault(filename, []).append(place)
        shape = (len(filenames), self.embedding_size)
        if not places:
            return np.empty(shape, np.float32)
        try:
            with tempfile.TemporaryFile(dir=self.folder, buffering=0) as file:
                for filename, vector in self.read(places):
                    for place in places[filename]:
                        file.seek(place * 4 * self.embedding_size)
                        file.write(np.asarray(vector, np.float32).tobytes())
                # Writing to the array changes the array alone.
                return np.asarray(np.memmap(file, np.float32, "c", shape=shape))
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be written ({error.strerror or error})"
            ) from error

    def read(self, filenames: Container[str]) -> Iterator[tuple[str, Outcome]]:
        """Read what was written of some pictures, in no special order."""
        for number in self._rows:
            for batch in self._newest_rows(number, filenames):
                values = batch["vector"].flatten().to_numpy()  # of those that have one
                vectors = iter(values.reshape(-1, self.embedding_size))
                names, errors = batch["filename"].to_pylist(), batch["error"].to_pylist()
                for filename, error in zip(names, errors, strict=True):
                    yield filename, next(vectors) if error is None else error

    def add(self, entries: Iterable[StoredOutcome]) -> None:
        """Take pictures, and write them with those before as soon as that is worth a file."""
        self._pending.update(
            (entry.filename, entry) for entry in entries if entry.state is not None
        )
        waited = monotonic() - self._written
        if len(self._pending) >= SHARD_PICTURES or waited >= SHARD_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was added, now.

        Raises
        ------
        InputError
            Where it cannot be, on a full disk for one; what was written before stands.
        """
        import pyarrow as pa

        if self._pending:
            entries = self._pending.values()
            names, states, outcomes = zip(*entries, strict=True)
            sizes, times, contents = zip(*states, strict=True)
            vectors = [None if isinstance(one, str) else one for one in outcomes]
            errors = [one if isinstance(one, str) else None for one in outcomes]
            columns = [names, sizes, times, contents, vectors, errors]
            schema = self._schema()
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            number = self._next()
            self._write_shard(number, [pa.RecordBatch.from_arrays(arrays, schema=schema)])
            self._unread[number] = names
            self._pending = {}
        self._written = monotonic()

    def merge(self, filenames: Container[str] | None = None) -> None:
        """Turn many small files into few, with none but the newest rows of `filenames`, or of all.

        Files that are large and have nothing to lose stay, so that adding a few pictures to many
        is quick. Stopped in between, some rows stand in two files, which does no harm.
        """
        self.write()
        if filenames is None:
            filenames = dict.fromkeys(self._newest)  # not what it is written anew to
        live = Counter(row.shard for name, row in self._newest.items() if name in filenames)

        def fine(number: int) -> bool:
            return self._rows[number] == live[number] and number not in self._touched

        small = [
            number
            for number, rows in self._rows.items()
            if rows < MERGED_PICTURES // 2 or not fine(number)
        ]
        if len(small) == 1 and fine(small[0]):
            return
        batches = chain.from_iterable(self._newest_rows(number, filenames) for number in small)
        for batch in batches:
            number = self._next()
            self._write_shard(number, chain([batch], batches), MERGED_PICTURES)
            for name, row in self._read_rows(number):  # before anything is removed
                self._newest[name] = self._newest[name]._replace(shard=row.shard)
        for name in [name for name in self._newest if name not in filenames]:
            del self._newest[name]
        for number in small:
            self._path(number).unlink()
            del self._rows[number]
        self._touched.clear()

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.parquet"

    def _next(self) -> int:
        return max(self._rows, default=-1) + 1

    def _schema(self) -> pyarrow.Schema:
        import pyarrow as pa

        return pa.schema(
            [
                ("filename", pa.string()),
                ("size", pa.int64()),
                ("modified", pa.int64()),
                ("content", pa.binary(16)),
                ("vector", pa.list_(pa.float32())),  # of a fixed size, many versions write no null
                ("error", pa.string()),
            ]
        )

    def _write_shard(
        self, number: int, batches: Iterable[pyarrow.RecordBatch], most: float = float("inf")
    ) -> None:
        """Write a file of the next rows of `batches`, until there are at least `most`."""
        from pyarrow import parquet

        rows = 0
        with (
            atomic_path(self._path(number)) as temporary,
            temporary.open("wb") as file,  # Python's own, for its clear errors
            parquet.ParquetWriter(
                file, self._schema(), use_dictionary=False, write_page_checksum=True
            ) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
                if rows >= most:
                    break
        self._rows[number] = rows

    def _read_rows(self, number: int) -> Iterator[tuple[str, Row]]:
        for batch in self._batches(number):
            columns = (batch[name].to_pylist() for name in ("size", "modified", "content"))
            states = map(FileState, *columns)
            names, errors = batch["filename"].to_pylist(), batch["error"].to_pylist()
            for filename, state, error in zip(names, states, errors, strict=True):
                yield filename, Row(state, number, error)

    def _newest_rows(self, number: int, filenames: Container[str]) -> Iterator[pyarrow.RecordBatch]:
        """The rows of a file that no later one supersedes, of some filenames only."""
        import pyarrow as pa

        for batch in self._batches(number):
            names = batch["filename"].to_pylist()
            newest = [name in filenames and self._newest[name].shard == number for name in names]
            if not any(newest):
                continue
            rows = batch.filter(pa.array(newest, pa.bool_()))
            times = [self._newest[name].state.modified for name in rows["filename"].to_pylist()]
            place = rows.schema.get_field_index("modified")
            yield rows.set_column(place, "modified", pa.array(times, pa.int64()))

    def _batches(self, number: int) -> Iterator[pyarrow.RecordBatch]:
        """All rows of a file, a part at a time, checked against their sums."""
        import pyarrow as pa
        from pyarrow import parquet

        path, schema = self._path(number), self._schema()
        try:
            with parquet.ParquetFile(
                path,
                page_checksum_verification=True,
                pre_buffer=False,  # not the whole file in memory
                buffer_size=1 << 16,  # bytes of a column, for the same reason
            ) as file:
                if not file.schema_arrow.equals(schema):
                    raise _DamagedError(f"{path}: damaged")
                # Each thread would keep what it once needed.
                for batch in file.iter_batches(READ_PICTURES, use_threads=False):
                    vectors = batch.num_rows - batch["vector"].null_count
                    if (
                        any(batch[name].null_count for name in schema.names[:4])
                        or len(batch["vector"].flatten()) != vectors * self.embedding_size
                    ):
                        raise _DamagedError(f"{path}: damaged")
                    yield batch
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise InputError(f"{path}: unreadable ({error.strerror})") from error
            raise _DamagedError(f"{path}: damaged") from error


class _DamagedError(InputError):
    pass


def _shards(folder: Path) -> dict[int, Path]:
    """The Parquet files by number, lowest first."""
    matches = (re.fullmatch(r"part-(\d{5,})\.parquet", path.name) for path in folder.iterdir())
    found = sorted((int(match[1]), match.string) for match in matches if match)
    return {number: folder / name for number, name in found}
