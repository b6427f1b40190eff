"""Read and write the Parquet files of an embedding store, `part-00000.parquet` and so on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.embedding.store_rows import FileState, Row, StoredOutcome
from siamese.errors import InputError
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    import pyarrow

READ_ROWS = 256
"""Rows that are read at a time; also the size of a row group in merged shards."""


class DamagedShardError(InputError):
    """A shard is not a Parquet file of the expected form."""


class Shards:
    """The Parquet files of an embedding store, one row per picture.

    Parameters
    ----------
    folder : Path
        Folder of the store.
    embedding_size : int
        Length d of each vector.

    Attributes
    ----------
    row_counts : dict of int to int
        The number of rows of each shard in use, by its number.
    """

    def __init__(self, folder: Path, embedding_size: int) -> None:
        self.folder = folder
        self.embedding_size = embedding_size
        self.row_counts: dict[int, int] = {}

    def path(self, number: int) -> Path:
        """Return the path of a shard."""
        return self.folder / f"part-{number:05}.parquet"

    def write(self, batches: Iterable[pyarrow.RecordBatch], min_rows: float = float("inf")) -> int:
        """Write a new shard from the next of `batches`, and return its number.

        Parameters
        ----------
        batches : iterable of pyarrow.RecordBatch
            Rows as `read_batches` yields them.
        min_rows : int, optional
            Stop after the batch that reaches this number of rows; by default at the end.
        """
        from pyarrow import parquet

        number = max(self.row_counts, default=-1) + 1
        rows = 0
        with (
            atomic_path(self.path(number)) as temporary,
            temporary.open("wb") as file,  # a Python file, for its clear error messages
            parquet.ParquetWriter(
                file, _schema(), use_dictionary=False, write_page_checksum=True
            ) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
                if rows >= min_rows:
                    break
        self.row_counts[number] = rows
        return number

    def write_outcomes(self, outcomes: Collection[StoredOutcome]) -> int:
        """Write a new shard of outcomes that all have a state, and return its number."""
        import pyarrow as pa

        filenames, states, results = zip(*outcomes, strict=True)
        sizes, times, contents = zip(*states, strict=True)
        vectors = [None if isinstance(result, str) else result for result in results]
        errors = [result if isinstance(result, str) else None for result in results]
        columns = [filenames, sizes, times, contents, vectors, errors]
        schema = _schema()
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
        ]
        return self.write([pa.RecordBatch.from_arrays(arrays, schema=schema)])

    def remove(self, number: int) -> None:
        """Delete a shard."""
        self.path(number).unlink()
        self.row_counts.pop(number, None)

    def read_rows(self, number: int) -> Iterator[tuple[str, Row]]:
        """Yield the filename and the row of each picture of a shard."""
        for batch in self.read_batches(number):
            columns = (batch[name].to_pylist() for name in ("size", "modified", "content"))
            states = map(FileState, *columns)
            filenames, errors = batch["filename"].to_pylist(), batch["error"].to_pylist()
            for filename, state, error in zip(filenames, states, errors, strict=True):
                yield filename, Row(state, number, error)

    def read_batches(self, number: int) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows of a shard in batches, after verifying their checksums.

        Raises
        ------
        DamagedShardError
            If the file is damaged or has other columns.
        InputError
            If the system cannot read it.
        """
        import pyarrow as pa
        from pyarrow import parquet

        path, schema = self.path(number), _schema()
        try:
            with parquet.ParquetFile(
                path,
                page_checksum_verification=True,
                pre_buffer=False,  # otherwise the whole file is held in memory
                buffer_size=1 << 16,  # bytes per column, for the same reason
            ) as file:
                if not file.schema_arrow.equals(schema):
                    raise DamagedShardError(f"{path}: damaged")
                # Every thread of Arrow's would keep the memory that it once needed.
                for batch in file.iter_batches(READ_ROWS, use_threads=False):
                    vectors = batch.num_rows - batch["vector"].null_count
                    if (
                        any(batch[name].null_count for name in schema.names[:4])
                        or len(batch["vector"].flatten()) != vectors * self.embedding_size
                    ):
                        raise DamagedShardError(f"{path}: damaged")
                    yield batch
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise InputError(f"{path}: unreadable ({error.strerror})") from error
            raise DamagedShardError(f"{path}: damaged") from error


def find_shards(folder: Path) -> dict[int, Path]:
    """Return the Parquet files of a folder by their numbers, lowest first."""
    matches = (re.fullmatch(r"part-(\d{5,})\.parquet", path.name) for path in folder.iterdir())
    found = sorted((int(match[1]), match.string) for match in matches if match)
    return {number: folder / name for number, name in found}


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("filename", pa.string()),
            ("size", pa.int64()),
            ("modified", pa.int64()),
            ("content", pa.binary(16)),
            # Many versions of Arrow cannot write a null into a list of fixed size.
            ("vector", pa.list_(pa.float32())),
            ("error", pa.string()),
        ]
    )
