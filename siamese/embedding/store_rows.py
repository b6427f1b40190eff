"""The rows of an embedding store, in memory and in Arrow's form."""

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
"""The vector of a picture, float32 (d,), or the reason why it has none."""


class FileState(NamedTuple):
    """State of a picture's file, to notice when it changes."""

    size: int  # -1 if a server does not report it
    modified: int  # time in nanoseconds, or another number that changes with the file
    content: bytes  # BLAKE2b digest, 16 bytes

    @classmethod
    def from_path(cls, path: File) -> FileState | None:
        """Read a file; return None if it is missing, unreadable or not a regular file."""
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
                return None
            with path.open("rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
                size = file.seek(0, os.SEEK_END)
        except OSError:
            return None
        return cls(size, status.st_mtime_ns, content.digest())


class StoredOutcome(NamedTuple):
    """The outcome of embedding a picture, and the state of its file before it was decoded.

    An outcome without a state is not stored, so that the next run tries again.
    """

    filename: str
    state: FileState | None
    outcome: Outcome


class Row(NamedTuple):
    """The part of a stored row that is kept in memory."""

    state: FileState
    shard: int  # number of the Parquet file that holds the row
    error: str | None  # the reason why there is no vector, if there is none


class PackedRows(UserDict[str, Any]):
    """Map filenames to rows, packed as bytes, which take a third of the memory of `Row` objects."""

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
    """Return the columns of stored rows."""
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


def outcomes_to_batch(outcomes: Iterable[StoredOutcome]) -> pyarrow.RecordBatch:
    """Convert outcomes to Arrow rows, with nulls in place of a missing state."""
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
    """Return the vector or the error of each Arrow row."""
    errors = batch["error"].to_pylist()
    count = errors.count(None)
    values = batch["vector"].flatten().to_numpy()  # of the rows without an error
    vectors = iter(values.reshape(count, -1) if count else ())
    return [next(vectors) if error is None else error for error in errors]
