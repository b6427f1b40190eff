"""The records of an embedding store: file states, outcomes and rows."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, MutableMapping
from struct import Struct
from typing import NamedTuple, TypeAlias

import numpy as np

from siamese.data.remote_files import File

Outcome: TypeAlias = np.ndarray | str
"""The vector of a picture, float32 (d,), or the reason why it has none."""


class FileState(NamedTuple):
    """State of a picture's file, to notice when it changes.

    Attributes
    ----------
    size : int
        Bytes; -1 if a server does not report it.
    modified : int
        Time of the last change in nanoseconds, or another number that changes with it; see
        `siamese.data.remote_files`.
    content : bytes
        BLAKE2b digest of the file, 16 bytes.
    """

    size: int
    modified: int
    content: bytes

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
    """The outcome of embedding a picture.

    Attributes
    ----------
    filename : str
        As in the catalogue.
    state : FileState or None
        State of the file before it was decoded. None if the next run must try again: the outcome
        is then not stored.
    outcome : ndarray of float32, shape (d,), or str
        The vector, or the reason why there is none.
    """

    filename: str
    state: FileState | None
    outcome: Outcome


class Row(NamedTuple):
    """The part of a stored row that is kept in memory.

    Attributes
    ----------
    state : FileState
        State of the file before it was decoded.
    shard : int
        Number of the Parquet file that holds the outcome.
    error : str or None
        The reason why the picture has no vector, or None if it has one.
    """

    state: FileState
    shard: int
    error: str | None


class PackedRows(MutableMapping[str, Row]):
    """Map filenames to rows, packed as bytes.

    `Row` objects would take three times the memory, and these rows are what grows with a catalogue.
    """

    _STRUCT = Struct("<qq16sq")

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._errors: dict[str, str] = {}

    def __getitem__(self, filename: str) -> Row:
        *state, shard = self._STRUCT.unpack(self._packed[filename])
        return Row(FileState(*state), shard, self._errors.get(filename))

    def __setitem__(self, filename: str, row: Row) -> None:
        self._packed[filename] = self._STRUCT.pack(*row.state, row.shard)
        if row.error is None:
            self._errors.pop(filename, None)
        else:
            self._errors[filename] = row.error

    def __delitem__(self, filename: str) -> None:
        del self._packed[filename]
        self._errors.pop(filename, None)

    def __contains__(self, filename: object) -> bool:
        return filename in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)
