"""Remote folders and files, read with fsspec: `s3://`, `gs://`, `https://` and other URLs.

`RemoteFolder` and `RemoteFile` take the place of `Path` if a catalogue's `image_dir` is a URL. A
file is always read with one request, because pictures are small and requests are slow.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from siamese.data.remote_requests import (
    READER_THREADS,
    RemoteStat,
    RequestSender,
    explain_error,
    make_os_error,
    open_filesystem,
)
from siamese.errors import InputError
from siamese.utils.threads import map_in_threads

T = TypeVar("T")

Folder: TypeAlias = "Path | RemoteFolder"
File: TypeAlias = "Path | RemoteFile"
Place: TypeAlias = "str | os.PathLike[str] | RemoteFolder"

MAX_FILE_BYTES = 2**30
"""Maximum size of a file; reading a file whose known size is larger raises an error."""


class RemoteFolder:
    """Folder at a URL. Get one with `as_folder`, which returns the same object for the same URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(self._url)
        if parts.query or parts.fragment:
            raise InputError(f"{self}: the URL of a folder has no ? or #; leave that part out")
        self.is_http = parts.scheme in ("http", "https")
        self._filesystem, self._root = open_filesystem(self._url, str(self))
        self._requests = RequestSender(str(self), is_http=self.is_http)
        self._listing: dict[str, RemoteStat] | None = None
        self._is_used = False
        self._lock = Lock()

    def __str__(self) -> str:
        parts = urlsplit(self._url)
        host = parts.netloc.rpartition("@")[2]  # never show the user name and password
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    def __repr__(self) -> str:
        return f"RemoteFolder({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return get_remote_folder, (self._url,)

    def __truediv__(self, filename: str) -> RemoteFile:
        name = posixpath.normpath(filename)
        # Filenames from an index have not been checked, unlike those from a catalogue.
        if name.startswith("/") or name.split("/")[0] == "..":
            raise InputError(f"{filename}: leaves {self}")
        return RemoteFile(self, name)

    def send(self, method: str, file: RemoteFile) -> Any:
        """Call the named method of the fsspec filesystem on a file, with retries."""
        filename = quote(file.filename) if self.is_http else file.filename
        call = partial(getattr(self._filesystem, method), f"{self._root}/{filename}")
        return self._requests.send(call, str(file))

    @property
    def listing(self) -> Mapping[str, RemoteStat] | None:
        """Status of each file, by filename, requested on first use; None for HTTP servers."""
        if self.is_http:
            return None
        with self._lock:
            if self._listing is None:
                self._listing = self._request_listing()
            return self._listing

    def reset_listing(self, *, keep_unused: bool = False) -> None:
        """Discard the listing, so that the next use requests it again.

        With `keep_unused`, keep it once, so that embedding can reuse the check's listing.
        """
        with self._lock:
            if not keep_unused or self._is_used:
                self._listing = None
            self._is_used = keep_unused

    def _request_listing(self) -> dict[str, RemoteStat]:
        try:
            self._filesystem.invalidate_cache()  # fsspec's cached listing may be out of date
            found = self._filesystem.find(self._root, detail=True)
            self._filesystem.invalidate_cache()  # free fsspec's own copy of the listing
        except Exception as error:  # each fsspec driver raises its own exceptions
            raise InputError(f"{self}: {explain_error(error)}") from error
        return {
            name.removeprefix(self._root).lstrip("/"): RemoteStat.from_info(info)
            for name, info in found.items()
        }


@dataclass(eq=False)
class RemoteFile:
    """File in a `RemoteFolder`, with the methods of `Path` that are needed to read a picture."""

    folder: RemoteFolder
    filename: str
    cached_stat: RemoteStat | None = None

    def __str__(self) -> str:
        return f"{self.folder}/{self.filename}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle the status too, so that the receiving process need not list the folder.
        listing = self.folder.listing
        listed = self.cached_stat if listing is None else listing.get(self.filename)
        return RemoteFile, (self.folder, self.filename, listed)

    def stat(self) -> RemoteStat:
        """Return the file's size and version, from the folder's listing if it has one."""
        if self.cached_stat is not None:
            return self.cached_stat
        if (listing := self.folder.listing) is None:
            self.cached_stat = RemoteStat.from_info(self.folder.send("info", self))
            return self.cached_stat
        if self.filename not in listing:
            raise make_os_error(errno.ENOENT, str(self))
        return listing[self.filename]

    def resolve(self) -> RemoteFile:
        """Return this file unchanged, because links cannot be seen from the client."""
        return self

    def is_file(self) -> bool:
        """Return whether the file exists."""
        return file_exists(self)

    def read_bytes(self) -> bytes:
        """Download the file and return its contents."""
        is_listed = self.cached_stat is not None or self.folder.listing is not None
        if is_listed and self.stat().st_size > MAX_FILE_BYTES:  # it might not fit into memory
            raise make_os_error(errno.EFBIG, str(self))
        return bytes(self.folder.send("cat_file", self))

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Download the file and return it as a file object; `mode` must be ``"rb"``."""
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())


class CachedFile(RemoteFile):
    """`RemoteFile` that is downloaded at most once, and caches its contents or its error."""

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
        """Send a request, or raise the error of an earlier request that failed."""
        if self._error is not None:
            raise self._error
        try:
            return request()
        except OSError as error:
            self._error = error
            raise


def as_folder(place: Place) -> Folder:
    """Return a `Path` for a path or a ``file://`` URL, and a `RemoteFolder` for any other URL.

    Raises
    ------
    InputError
        If a URL has a query or fragment, or fsspec does not support it or its driver is missing.

    Examples
    --------
    >>> as_folder("file:///data/photos").as_posix()
    '/data/photos'
    """
    if isinstance(place, RemoteFolder):
        return place
    text = os.fspath(place)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text) is None:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != "file":
        return get_remote_folder(text)
    return Path(unquote(parts.netloc.removeprefix("localhost") + parts.path))


@cache
def get_remote_folder(url: str) -> RemoteFolder:
    """Return the folder at a URL; repeated calls return the same object, with its listing."""
    return RemoteFolder(url)


def cache_file(file: File) -> File:
    """Return a `CachedFile` for a remote file, and a local file unchanged."""
    if isinstance(file, RemoteFile):
        return CachedFile(file.folder, file.filename, file.cached_stat)
    return file


def count_reader_threads(files: Iterable[File]) -> int | None:
    """Return how many threads to use to read files of one folder; None means one per core."""
    return READER_THREADS if isinstance(next(iter(files), None), RemoteFile) else None


def stat_files(files: Sequence[File]) -> Generator[os.stat_result | RemoteStat | None]:
    """Yield the status of each file, in order, or None if a file is missing or unreadable."""
    threads = count_reader_threads(files)
    if threads is None:
        yield from map(_try_stat, files)
    else:
        with closing(map_in_threads(_try_stat, files, 2 * threads, threads)) as results:
            yield from results


def file_exists(file: File) -> bool:
    """Return whether a file exists and is accessible."""
    return _try_stat(file) is not None


def _try_stat(file: File) -> os.stat_result | RemoteStat | None:
    try:
        return file.stat()
    except OSError:
        return None
