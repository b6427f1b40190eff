"""Read and write the Parquet files (shards) of an embedding store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.embedding.store_rows import FileState, Row, arrow_schema
from siamese.errors import InputError
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    import pyarrow

READ_ROWS = 256
"""Number of rows to read at a time, and the maximum per row group in merged shards."""


class DamagedShardError(InputError):
    """Error raised if a shard is damaged or does not have the expected columns."""


class Shards:
    """Parquet files of an embedding store, named `part-00000.parquet` and so on.

    `row_counts` maps the number of each valid shard to its row count.
    """

    def __init__(self, folder: Path, embedding_size: int) -> None:
        self.folder = folder
        self.embedding_size = embedding_size
        self.row_counts: dict[int, int] = {}

    def path(self, number: int) -> Path:
        """Return the path of the shard with the given number."""
        return self.folder / f"part-{number:05}.parquet"

    def write(self, batches: Iterable[pyarrow.RecordBatch], min_rows: float = float("inf")) -> int:
        """Write batches to a new shard until it has `min_rows` or more rows; return its number."""
        from pyarrow import parquet

        number = max(self.row_counts, default=-1) + 1
        rows = 0
        with (
            atomic_path(self.path(number)) as temporary,
            temporary.open("wb") as file,  # Python's errors are clearer than Arrow's
            parquet.ParquetWriter(
                file, arrow_schema(), use_dictionary=False, write_page_checksum=True
            ) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
                if rows >= min_rows:
                    break
        self.row_counts[number] = rows
        return number

    def remove(self, number: int) -> None:
        """Delete a shard."""
        self.path(number).unlink()
        self.row_counts.pop(number, None)

    def read_rows(self, number: int) -> Iterator[tuple[str, Row]]:
        """Yield the filename and `Row` of each picture in a shard."""
        for batch in self.read_batches(number):
            states = map(FileState, *(batch[name].to_pylist() for name in FileState._fields))
            filenames, errors = batch["filename"].to_pylist(), batch["error"].to_pylist()
            for filename, state, error in zip(filenames, states, errors, strict=True):
                yield filename, Row(state, number, error)

    def read_batches(self, number: int) -> Iterator[pyarrow.RecordBatch]:
        """Yield a shard's rows in batches, verifying the checksums of its pages."""
        import pyarrow as pa
        from pyarrow import parquet

        path, schema = self.path(number), arrow_schema()
        try:
            with parquet.ParquetFile(
                path,
                page_checksum_verification=True,
                pre_buffer=False,  # True would keep the whole file in memory
                buffer_size=1 << 16,  # bytes per column; by default, whole columns are read
            ) as file:
                if not file.schema_arrow.equals(schema):
                    raise DamagedShardError(f"{path}: damaged")
                # Arrow's threads would not release the memory that they have used.
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
    """Return the shards in a folder as a mapping from number to path, lowest number first."""
    matches = (re.fullmatch(r"part-(\d{5,})\.parquet", path.name) for path in folder.iterdir())
    found = sorted((int(match[1]), match.string) for match in matches if match)
    return {number: folder / name for number, name in found}
