"""Pictures behind a URL, by fsspec: `s3://`, `gs://`, `https://` and whatever else it knows.

A `RemoteFolder` stands where the folder of a catalogue's pictures is a `Path` otherwise, and a
`RemoteFile` where a picture's file is one. A file is read whole: a picture is small, and a request
is slow.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import re
import stat
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from functools import cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from siamese.errors import AwayError, InputError
from siamese.utils.threads import in_threads

T = TypeVar("T")

Folder: TypeAlias = "Path | RemoteFolder"
File: TypeAlias = "Path | RemoteFile"
Place: TypeAlias = "str | os.PathLike[str] | RemoteFolder"
"""What `folder_of` takes."""

READERS = 32
"""Threads that wait for a server at once: of 50 ms a request, that is 640 pictures a second."""

PATIENCE = (0.5, 2.0)
"""Seconds before a request is tried once more, and again."""

MOST_UNANSWERED = 50
"""So many pictures one after the other without an answer, and a run ends."""

LARGEST = 2**30
"""Bytes of a file that is read, at most."""

_DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_TIMEOUTS = {"sock_connect": 10.0, "sock_read": 60.0}
_VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "generation",
    "Content-MD5",
    "content_md5",
    "LastModified",
    "Last-Modified",
    "last_modified",
    "updated",
    "mtime",
    "modified",
    "created",
)
"""What stores call that which changes when a file does, the surest first."""


class Stat(NamedTuple):
    """What `os.stat` tells of a file.

    Attributes
    ----------
    st_size : bytes; -1 where the server does not say
    st_mtime_ns : no time, but a number that changes when the file does; 0 where the server tells
        nothing of the kind
    st_mode : of a regular file
    """

    st_size: int
    st_mtime_ns: int
    st_mode: int = stat.S_IFREG


class RemoteFolder:
    """A folder behind a URL; made by `folder_at`, one a URL.

    Raises
    ------
    InputError
        Of a kind that fsspec does not know or has no driver for.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(self._url)
        if parts.query or parts.fragment:
            raise InputError(f"{self}: a URL with ? or # names no folder; leave that out")
        self.is_http = parts.scheme in ("http", "https")
        self.filesystem, self._root = _opened(self._url, str(self))
        self._unanswered = 0
        self._counting = Lock()
        self._listed: dict[str, Stat] | None = None
        self._used = False
        self._listing = Lock()

    def __str__(self) -> str:
        parts = urlsplit(self._url)  # a password or a token is nobody's business
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    def __repr__(self) -> str:
        return f"RemoteFolder({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return folder_at, (self._url,)

    def __truediv__(self, filename: str) -> RemoteFile:
        """A file in it.

        Raises
        ------
        InputError
            The name, of an index for one, leads out of the folder.
        """
        name = posixpath.normpath(filename)
        if name.startswith("/") or name.split("/")[0] == "..":
            raise InputError(f"{filename}: leaves {self}")
        return RemoteFile(self, name)

    def path_of(self, filename: str) -> str:
        """What fsspec calls a file."""
        return f"{self._root}/{quote(filename) if self.is_http else filename}"

    @property
    def listing(self) -> Mapping[str, Stat] | None:
        """Every file below, by its name in this folder; None where a server lists nothing (HTTP).

        Read once, when it is first needed.

        Raises
        ------
        InputError
            There is no such folder, no permission or no answer.
        """
        if self.is_http:
            return None
        with self._listing:
            if self._listed is None:
                self._listed = self._find()
            return self._listed

    def look_again(self, *, unless_new: bool = False) -> None:
        """Forget the listing, so that a run sees the folder as it is when the run begins.

        Parameters
        ----------
        unless_new : keep one that no run before this has used
        """
        with self._listing:
            if not unless_new or self._used:
                self._listed = None
            self._used = unless_new

    def _find(self) -> dict[str, Stat]:
        try:
            self.filesystem.invalidate_cache()  # of what it was before
            found = self.filesystem.find(self._root, detail=True)
            self.filesystem.invalidate_cache()  # or it would hold all of it, as we do
        except Exception as error:  # of each driver its own
            raise InputError(f"{self}: {_why(error)}") from error
        return {
            name.removeprefix(self._root).lstrip("/"): _stat(info) for name, info in found.items()
        }

    def asked(self, request: Callable[[], Any], file: RemoteFile) -> Any:
        """The answer to a request, which is tried again where the server may have been busy.

        Raises
        ------
        OSError
            There is none, as of `open`.
        AwayError
            Nor was there one to those before.
        """
        pauses = iter(PATIENCE)
        while True:
            try:
                answer = request()
            except Exception as error:
                refused = _refused(error, file)
                if refused is not None:  # which is an answer too
                    self._count(answered=True)
                    raise refused from error
                pause = next(pauses, None)
                if pause is None:
                    self._count(answered=False)
                    behind = error.__cause__ if self.is_http else None
                    why = _why(behind or error)
                    raise OSError(errno.EIO, why, str(file)) from error
                time.sleep(pause)
            else:
                self._count(answered=True)
                return answer

    def _count(self, *, answered: bool) -> None:
        with self._counting:
            self._unanswered = 0 if answered else self._unanswered + 1
            if self._unanswered >= MOST_UNANSWERED:
                raise AwayError(
                    f"{self}: no answer to {self._unanswered} requests one after the other; what "
                    "is done is kept, and the same command goes on"
                )


class RemoteFile:
    """A picture in a `RemoteFolder`, with those methods of a `Path` that a picture needs.

    Parameters
    ----------
    folder, filename : where it is
    known : what the folder's listing says of it, where another process has read that
    """

    def __init__(self, folder: RemoteFolder, filename: str, known: Stat | None = None) -> None:
        self.folder = folder
        self.filename = filename
        self._known = known

    @property
    def name(self) -> str:
        """The last part."""
        return self.filename.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.folder}/{self.filename}"

    def __repr__(self) -> str:
        return f"RemoteFile({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # With what is known of it, so that who gets it need not list the folder.
        listing = self.folder.listing
        known = self._known if listing is None else listing.get(self.filename)
        return RemoteFile, (self.folder, self.filename, known)

    def stat(self) -> Stat:
        """Its size and what tells its versions apart; without a request where it was listed.

        Raises
        ------
        OSError
            It is missing, not to be read, or the server does not answer.
        """
        if self._known is not None:
            return self._known
        if (listing := self.folder.listing) is None:
            path = self.folder.path_of(self.filename)
            info = self.folder.asked(lambda: self.folder.filesystem.info(path), self)
            self._known = _stat(info)
            return self._known
        if self.filename not in listing:
            raise _os_error(errno.ENOENT, self)
        return listing[self.filename]

    def resolve(self) -> RemoteFile:
        """Itself: what leads where is the server's business."""
        return self

    def is_file(self) -> bool:
        """Whether it is there."""
        return is_there(self)

    def read_bytes(self) -> bytes:
        """Its content.

        Raises
        ------
        OSError
            As `stat`.
        """
        told = self._known is not None or self.folder.listing is not None
        if told and self.stat().st_size > LARGEST:  # before it fills the memory
            raise _os_error(errno.EFBIG, self)
        path = self.folder.path_of(self.filename)
        data = self.folder.asked(lambda: self.folder.filesystem.cat_file(path), self)
        return bytes(data)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Its content as a file; `mode` is there because `Path.open` has it."""
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())


class FetchedFile(RemoteFile):
    """A `RemoteFile` that is read once, and keeps its bytes for what else reads it."""

    _bytes: bytes | None = None
    _failure: OSError | None = None

    def stat(self) -> Stat:
        return self._once(super().stat)

    def read_bytes(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._once(super().read_bytes)
        return self._bytes

    def _once(self, request: Callable[[], T]) -> T:
        """Ask, but not again what has failed: each failure has had its tries."""
        if self._failure is not None:
            raise self._failure
        try:
            return request()
        except OSError as error:
            self._failure = error
            raise


def folder_of(place: Place) -> Folder:
    """The folder that a path or a URL names.

    Raises
    ------
    InputError
        A URL of a kind that cannot be read.
    """
    if isinstance(place, RemoteFolder):
        return place
    text = os.fspath(place)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text) is None:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != "file":
        return folder_at(text)
    return Path(unquote(parts.netloc.removeprefix("localhost") + parts.path))


@cache
def folder_at(url: str) -> RemoteFolder:
    """The folder behind a URL; the same one each time, with its listing."""
    return RemoteFolder(url)


def cached_file(file: File) -> File:
    """A file for work that reads it more than once."""
    if not isinstance(file, RemoteFile):
        return file
    return FetchedFile(file.folder, file.filename, file._known)


def reader_threads(files: Iterable[File]) -> int | None:
    """How many threads are to read files, by the first; None for as many as there are cores."""
    return READERS if isinstance(next(iter(files), None), RemoteFile) else None


def stats(files: Iterable[File], threads: int | None) -> Generator[os.stat_result | Stat | None]:
    """What `stat` says of each file, in order; None where there is none to be had."""
    if threads is None:
        yield from map(_stat_or_none, files)
    else:
        with closing(in_threads(_stat_or_none, files, 2 * threads, threads)) as found:
            yield from found


def is_there(file: File) -> bool:
    """Whether a file is there, seen from here."""
    return _stat_or_none(file) is not None


def _stat_or_none(file: File) -> os.stat_result | Stat | None:
    try:
        return file.stat()
    except OSError:
        return None


def _opened(url: str, shown: str) -> tuple[Any, str]:
    import fsspec

    scheme = url.partition("://")[0].lower()
    options: dict[str, Any] = {}
    try:
        if scheme in ("http", "https"):
            import aiohttp

            # With the proxies of the environment and ~/.netrc, as other programs have them.
            timeout = aiohttp.ClientTimeout(**_TIMEOUTS)
            options["client_kwargs"] = {"timeout": timeout, "trust_env": True}
        elif scheme in ("s3", "s3a"):
            # Of 10, which is usual, two of three readers would wait for the third.
            own = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
            options["config_kwargs"] = {"max_pool_connections": READERS, **own}
        return fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        driver = _DRIVERS.get(scheme, error.name or scheme)
        raise InputError(
            f"{shown}: {driver} is not installed, which reads it; pip install "
            "'keras-image-similarity-training[remote]'"
            + ("" if scheme in (*_DRIVERS, "http", "https") else f" {driver}")
        ) from error
    except Exception as error:  # of each driver its own
        raise InputError(f"{shown}: {_why(error)}") from error


def _stat(info: Mapping[str, Any]) -> Stat:
    size = info.get("size")
    version = next((info[name] for name in _VERSIONS if info.get(name)), None)
    number = 0
    if version is not None:
        digest = blake2b(str(version).encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "big") >> 1 or 1  # as an int64
    return Stat(-1 if size is None else int(size), number)


def _refused(error: Exception, file: RemoteFile) -> OSError | None:
    """What the system would raise, where the server has answered; None where it has not."""
    status = _status(error)
    # By HTTP, fsspec calls a file missing too where nothing has answered: that is then the cause.
    unsure = file.folder.is_http and error.__cause__ is not None
    missing = isinstance(error, FileNotFoundError) and not unsure
    if missing or status in (404, 410):
        return _os_error(errno.ENOENT, file)
    if isinstance(error, PermissionError) or status in (401, 403):
        return _os_error(errno.EACCES, file)
    if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
        return OSError(errno.EIO, _why(error), str(file))
    return None


def _status(error: BaseException) -> int | None:
    """Of an HTTP answer, wherever in its causes an error has it."""
    at: BaseException | None = error
    while at is not None:
        # gcsfs has its own name for it; aiohttp's `code` is another thing.
        status = getattr(at, "code" if type(at).__name__ == "HttpError" else "status", None)
        if isinstance(status, int):
            return status
        at = at.__cause__
    return None


def _os_error(number: int, file: RemoteFile) -> OSError:
    return OSError(number, os.strerror(number), str(file))  # of the class that suits


def _why(error: BaseException) -> str:
    """One line for what an fsspec driver raised."""
    status, kind = _status(error), type(error).__name__
    if "Credential" in kind or "Auth" in kind:
        return f"no credentials ({error}); see docs/remote-pictures.md"
    if isinstance(error, PermissionError) or status in (401, 403):
        return "no permission; see docs/remote-pictures.md for where credentials come from"
    if isinstance(error, FileNotFoundError):
        return "no such bucket or folder"
    if status is not None:
        return f"the server answers {status}"
    text = " ".join(str(error).split())[:200]
    return f"no answer ({text or kind})"
