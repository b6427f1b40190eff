"""Rows of an embedding store, as Python objects and as Arrow record batches."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import UserDict
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from siamese.data.remote_files import File

if TYPE_CHECKING:
    import pyarrow

Outcome: TypeAlias = np.ndarray | str
"""A picture's vector, float32 (d,), or the reason why the picture has no vector."""


class FileState(NamedTuple):
    """Size, modification time and digest of a picture's file, to detect changes."""

    size: int  # in bytes
    modified: int  # time in nanoseconds; for a remote file, a number that changes with the file
    content: bytes  # 16-byte BLAKE2b digest

    @classmethod
    def from_path(cls, path: File) -> FileState | None:
        """Read a file's state; return None unless the file is regular and readable."""
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a pipe could block
                return None
            with path.open("rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
                size = file.seek(0, os.SEEK_END)
        except OSError:
            return None
        return cls(size, status.st_mtime_ns, content.digest())


class StoredOutcome(NamedTuple):
    """Outcome of embedding a picture, and the state of the picture's file before decoding.

    If `state` is None, the outcome is not stored, so the next run embeds the picture again.
    """

    filename: str
    state: FileState | None
    outcome: Outcome


class Row(NamedTuple):
    """Fields of a stored row that are kept in memory; the vector stays on disk."""

    state: FileState
    shard: int  # number of the Parquet file that holds the row
    error: str | None  # reason why there is no vector; None if there is one


class PackedRows(UserDict[str, Any]):
    """Mapping from filename to row, stored as bytes that take a third of the memory of `Row`s."""

    _STRUCT = Struct("<qq16sq")

    def __init__(self) -> None:
        super().__init__()
        self._errors: dict[str, str] = {}

    def __getitem__(self, filename: str) -> Row:
        *state, shard = self._STRUCT.unpack(self.data[filename])
        return Row(FileState(*state), shard, self._errors.get(filename))

    def __setitem__(self, filename: str, row: Row) -> None:
        self.data[filename] = self._STRUCT.pack(*row.state, row.shard)
        if row.error is None:
            self._errors.pop(filename, None)
        else:
            self._errors[filename] = row.error

    def __delitem__(self, filename: str) -> None:
        del self.data[filename]
        self._errors.pop(filename, None)


def arrow_schema() -> pyarrow.Schema:
    """Return the Arrow schema of a shard."""
    import pyarrow as pa

    return pa.schema(
        [
            ("filename", pa.string()),
            ("size", pa.int64()),
            ("modified", pa.int64()),
            ("content", pa.binary(16)),
            # Not a fixed-size list: many versions of Arrow cannot write a null into one.
            ("vector", pa.list_(pa.float32())),
            ("error", pa.string()),
        ]
    )


def outcomes_to_batch(outcomes: Iterable[StoredOutcome]) -> pyarrow.RecordBatch:
    """Convert outcomes to an Arrow record batch; a `state` of None becomes nulls."""
    import pyarrow as pa

    rows = [
        {
            "filename": filename,
            **({} if state is None else state._asdict()),
            "error" if isinstance(outcome, str) else "vector": outcome,
        }
        for filename, state, outcome in outcomes
    ]
    return pa.RecordBatch.from_pylist(rows, arrow_schema())


def batch_outcomes(batch: pyarrow.RecordBatch) -> list[Outcome]:
    """Return the vector or error in each row of an Arrow record batch."""
    errors = batch["error"].to_pylist()
    count = errors.count(None)
    values = batch["vector"].flatten().to_numpy()  # only rows without an error have a vector
    vectors = iter(values.reshape(count, -1) if count else ())
    return [next(vectors) if error is None else error for error in errors]
