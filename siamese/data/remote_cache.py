"""Cache a remote file that is read more than once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from siamese.data.remote_files import File, RemoteFile
from siamese.data.remote_requests import RemoteStat

T = TypeVar("T")


class CachedFile(RemoteFile):
    """`RemoteFile` that is downloaded once; its bytes, or its error, stay in memory."""

    _bytes: bytes | None = None
    _error: OSError | None = None

    def stat(self) -> RemoteStat:
        """See `RemoteFile.stat`."""
        return self._request_once(super().stat)

    def read_bytes(self) -> bytes:
        """See `RemoteFile.read_bytes`."""
        if self._bytes is None:
            self._bytes = self._request_once(super().read_bytes)
        return self._bytes

    def _request_once(self, request: Callable[[], T]) -> T:
        """Send a request, unless one has failed: each is retried before it fails."""
        if self._error is not None:
            raise self._error
        try:
            return request()
        except OSError as error:
            self._error = error
            raise


def cache_file(file: File) -> File:
    """Return a `CachedFile` for a remote file, and a local file itself."""
    if isinstance(file, RemoteFile):
        return CachedFile(file.folder, file.filename, file.cached_stat)
    return file
