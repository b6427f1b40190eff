"""Send requests to the servers of remote pictures: retry, and interpret answers and errors."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from threading import Lock
from typing import Any, NamedTuple

from siamese.errors import InputError, UnavailableError

READER_THREADS = 32
"""Threads that read remote files: at 50 ms per request, 640 pictures per second."""

RETRY_DELAYS = (0.5, 2.0)
"""Seconds to wait before the second and the third try of a request."""

MAX_UNANSWERED = 50
"""Number of requests without an answer, in a row, after which a run ends."""

_DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_VERSION_KEYS = (
    "ETag", "etag", "md5Hash", "generation", "Content-MD5", "content_md5", "LastModified",
    "Last-Modified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip
"""Keys under which servers report a file's checksum, version or time, the most reliable first."""


class RemoteStat(NamedTuple):
    """Status of a remote file, with the names of `os.stat_result`.

    `st_size` is -1 if the server does not report it. `st_mtime_ns` is not a time, but a number that
    changes whenever the file does; it is 0 if nothing that the server reports does.
    """

    st_size: int
    st_mtime_ns: int
    st_mode: int = stat.S_IFREG

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> RemoteStat:
        """Convert what fsspec reports about a file."""
        size = info.get("size")
        version = next(filter(None, map(info.get, _VERSION_KEYS)), None)
        number = 0
        if version is not None:
            digest = blake2b(str(version).encode(), digest_size=8).digest()
            number = int.from_bytes(digest, "big") >> 1 or 1  # fits into an int64
        return cls(-1 if size is None else int(size), number)


class RequestSender:
    """Sender of requests to one remote folder, which retries them and gives up on a dead server."""

    def __init__(self, name: str, *, is_http: bool) -> None:
        self._name = name
        self._is_http = is_http
        self._unanswered = 0
        self._lock = Lock()

    def send(self, request: Callable[[], Any], file: str) -> Any:
        """Send a request about a file, and send it again while the server does not answer.

        Raises
        ------
        OSError
            The server refuses the request or never answers it.
        UnavailableError
            The server has not answered `MAX_UNANSWERED` requests in a row.
        """
        delays = iter(RETRY_DELAYS)
        while True:
            try:
                answer = request()
            except Exception as error:  # each driver has its own
                refusal = self._to_refusal(error, file)
                if refusal is not None:  # an answer, too
                    self._count(answered=True)
                    raise refusal from error
                delay = next(delays, None)
                if delay is None:
                    self._count(answered=False)
                    cause = error.__cause__ if self._is_http else None
                    raise OSError(errno.EIO, explain_error(cause or error), file) from error
                time.sleep(delay)
            else:
                self._count(answered=True)
                return answer

    def _to_refusal(self, error: Exception, file: str) -> OSError | None:
        """Return the `OSError` for a server's refusal, or None if it did not answer."""
        status = _http_status(error)
        # By HTTP, fsspec also raises FileNotFoundError for a failed connection, which it chains.
        unsure = self._is_http and error.__cause__ is not None
        missing = isinstance(error, FileNotFoundError) and not unsure
        if missing or status in (404, 410):
            return make_os_error(errno.ENOENT, file)
        if isinstance(error, PermissionError) or status in (401, 403):
            return make_os_error(errno.EACCES, file)
        if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
            return OSError(errno.EIO, explain_error(error), file)
        return None

    def _count(self, *, answered: bool) -> None:
        with self._lock:
            self._unanswered = 0 if answered else self._unanswered + 1
            if self._unanswered >= MAX_UNANSWERED:
                raise UnavailableError(
                    f"{self._name}: no answer to {self._unanswered} consecutive requests; finished "
                    "work is kept, so run the same command again later"
                )


def open_filesystem(url: str, name: str) -> tuple[Any, str]:
    """Open the fsspec filesystem of a folder; return it and its own name for the folder.

    `name` is the URL without a password, for errors.
    """
    import fsspec

    scheme = url.partition("://")[0].lower()
    options: dict[str, Any] = {}
    try:
        if scheme in ("http", "https"):
            import aiohttp

            # Use the environment's proxies and ~/.netrc, as other programs do.
            timeout = aiohttp.ClientTimeout(sock_connect=10, sock_read=60)
            options["client_kwargs"] = {"timeout": timeout, "trust_env": True}
        elif scheme in ("s3", "s3a"):
            # With the default of 10 connections, most reader threads would only wait.
            config = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
            options["config_kwargs"] = {"max_pool_connections": READER_THREADS, **config}
        return fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        driver = _DRIVERS.get(scheme, error.name or scheme)
        extra = "" if scheme in (*_DRIVERS, "http", "https") else f" {driver}"
        raise InputError(
            f"{name}: needs {driver}, which is not installed; pip install "
            f"'keras-image-similarity-training[remote]'{extra}"
        ) from error
    except Exception as error:  # each driver has its own
        raise InputError(f"{name}: {explain_error(error)}") from error


def make_os_error(number: int, file: str) -> OSError:
    """Make an error from a number of `errno`, such as a `FileNotFoundError` from ``ENOENT``."""
    return OSError(number, os.strerror(number), file)


def explain_error(error: BaseException) -> str:
    """Explain in one line the error of an fsspec driver."""
    status, kind = _http_status(error), type(error).__name__
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


def _http_status(error: BaseException) -> int | None:
    """Return the HTTP status of an error or of one of its causes."""
    cause: BaseException | None = error
    while cause is not None:
        # gcsfs calls it `code`, which is something else in the errors of aiohttp.
        status = getattr(cause, "code" if type(cause).__name__ == "HttpError" else "status", None)
        if isinstance(status, int):
            return status
        cause = cause.__cause__
    return None
