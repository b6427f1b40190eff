"""Requests to the servers of remote pictures: retries, file status, and error messages."""

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
"""Number of threads that read remote files: 640 files per second at 50 ms per request."""

RETRY_DELAYS = (0.5, 2.0)
"""Seconds to wait before the second and the third attempt at a request."""

MAX_UNANSWERED = 50
"""Number of consecutive unanswered requests after which `UnavailableError` is raised."""

_DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_VERSION_KEYS = (
    "ETag", "etag", "md5Hash", "generation", "Content-MD5", "content_md5", "LastModified",
    "Last-Modified", "last_modified", "updated", "mtime", "modified", "created",
)  # fmt: skip
"""fsspec's keys for a file's checksum, version or time, the most reliable first."""


class RemoteStat(NamedTuple):
    """Status of a remote file, with the field names of `os.stat_result`.

    `st_size` is -1 if the server does not report the size. `st_mtime_ns` is not a time, but a hash
    of the file's checksum, version or time, or 0 if the server does not report any of them.
    """

    st_size: int
    st_mtime_ns: int
    st_mode: int = stat.S_IFREG

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> RemoteStat:
        """Create a status from the `info` dict that fsspec returns for a file."""
        size = info.get("size")
        version = next(filter(None, map(info.get, _VERSION_KEYS)), None)
        number = 0
        if version is not None:
            digest = blake2b(str(version).encode(), digest_size=8).digest()
            number = int.from_bytes(digest, "big") >> 1 or 1  # fits an int64; 0 means unknown
        return cls(-1 if size is None else int(size), number)


class RequestSender:
    """Sender of requests to a remote folder, with retries and a limit on unanswered requests."""

    def __init__(self, name: str, *, is_http: bool) -> None:
        self._name = name
        self._is_http = is_http
        self._unanswered = 0
        self._lock = Lock()

    def send(self, request: Callable[[], Any], file: str) -> Any:
        """Send a request about a file, retrying after `RETRY_DELAYS` if the server does not answer.

        Raises
        ------
        OSError
            If the server refuses the request, or answers none of the attempts.
        UnavailableError
            If the server has not answered `MAX_UNANSWERED` requests in a row.
        """
        delays = iter(RETRY_DELAYS)
        while True:
            try:
                answer = request()
            except Exception as error:  # each fsspec driver raises its own exceptions
                refusal = self._to_refusal(error, file)
                if refusal is not None:  # a refusal is an answer too
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
        """Return an `OSError` if the refusal is final, or None if the request is worth retrying."""
        status = _http_status(error)
        # For HTTP, fsspec also raises FileNotFoundError, with a cause, if a connection fails.
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
    """Return the fsspec filesystem of a folder's URL, and the folder's path in that filesystem.

    `name` is the URL without user name and password, for error messages.
    """
    import fsspec

    scheme = url.partition("://")[0].lower()
    options: dict[str, Any] = {}
    try:
        if scheme in ("http", "https"):
            import aiohttp

            # `trust_env` uses the proxies set in the environment and the logins in ~/.netrc.
            timeout = aiohttp.ClientTimeout(sock_connect=10, sock_read=60)
            options["client_kwargs"] = {"timeout": timeout, "trust_env": True}
        elif scheme in ("s3", "s3a"):
            # With the default of 10 connections, most reader threads would be idle.
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
    except Exception as error:  # each fsspec driver raises its own exceptions
        raise InputError(f"{name}: {explain_error(error)}") from error


def make_os_error(number: int, file: str) -> OSError:
    """Create the `OSError` for an `errno` code, such as a `FileNotFoundError` for ``ENOENT``."""
    return OSError(number, os.strerror(number), file)


def explain_error(error: BaseException) -> str:
    """Explain an fsspec driver's error in one line."""
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
    """Return the HTTP status of an error or one of its causes, or None if there is no status."""
    cause: BaseException | None = error
    while cause is not None:
        # Only gcsfs needs `code`; in aiohttp's errors, it is a deprecated alias of `status`.
        status = getattr(cause, "code" if type(cause).__name__ == "HttpError" else "status", None)
        if isinstance(status, int):
            return status
        cause = cause.__cause__
    return None
