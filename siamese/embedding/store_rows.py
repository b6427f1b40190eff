"""What an embedding store remembers of each picture while it is open: few bytes, as many are."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, MutableMapping
from struct import Struct
from typing import NamedTuple

from siamese.data.remote_files import File


class FileState(NamedTuple):
    """What tells whether a picture's file is still the same.

    Attributes
    ----------
    size : bytes
    modified : when, in nanoseconds; or another number that changes with it, see `siamese.data.remote_files`
    content : BLAKE2b of its bytes, 16 bytes
    """

    size: int
    modified: int
    content: bytes

    @classmethod
    def from_path(cls, path: File) -> FileState | None:
        """Read a file; None where it is missing, unreadable or no regular file."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
                return None
            with path.open("rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
                size = file.seek(0, os.SEEK_END)
        except OSError:
            return None
        return cls(size, found.st_mtime_ns, content.digest())


class Row(NamedTuple):
    """What is remembered of a picture.

    Attributes
    ----------
    state : of its file, before it was embedded
    shard : number of the Parquet file that holds its outcome
    error : the reason, if the outcome is no vector
    """

    state: FileState
    shard: int
    error: str | None


class Rows(MutableMapping[str, Row]):
    """The row of each filename, packed: objects would take three times the memory, and this is what
    grows with a catalogue.
    """

    _form = Struct("<qq16sq")

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._errors: dict[str, str] = {}

    def __getitem__(self, filename: str) -> Row:
        *state, shard = self._form.unpack(self._packed[filename])
        return Row(FileState(*state), shard, self._errors.get(filename))

    def __setitem__(self, filename: str, row: Row) -> None:
        self._packed[filename] = self._form.pack(*row.state, row.shard)
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
