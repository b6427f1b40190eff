"""Connections to Milvus, which may be a server, a cluster, or Milvus Lite in a folder."""

from __future__ import annotations

import logging
import os
import re
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from siamese.errors import GoneError, InputError, UnavailableError
from siamese.indexes.milvus.lite_folder import MilvusFolder, to_printable
from siamese.indexes.place import Place, is_address
from siamese.utils.artefacts import INDEXES, is_milvus_folder, require_artefact

CONNECT_SECONDS = 10.0  # timeout for connecting
CALL_SECONDS = 120.0  # default timeout for other requests
LOAD_SECONDS = 1800.0  # timeout for loading or flushing a collection of any size
RETRY_SECONDS = 60.0  # how long to retry a request while the server is unavailable

# Milvus error codes.
_COLLECTION_NOT_FOUND = 100
_COLLECTION_NOT_LOADED = 101


def is_milvus(place: Place) -> bool:
    """Return whether a place is a server address or a Milvus Lite folder."""
    return is_address(place) or is_milvus_folder(Path(place))


class Connection:
    """Client of a Milvus server; it retries requests while the server is unavailable.

    `uri` is the path of a Milvus Lite folder or the address of a server, such as
    ``http://host:19530`` (or https, tcp or unix). A missing folder is created, unless `must_exist`
    is true: then it is an error. The environment variable MILVUS_TOKEN may hold the token.

    Attributes
    ----------
    uri : str
        Path or address, as given.
    name : str
        The path or address without user name and password, for messages.
    is_lite : bool
        Whether the server is Milvus Lite, in this process or another.
    """

    def __init__(self, uri: Place, *, must_exist: bool = False) -> None:
        self.uri = os.fspath(uri)
        self.name = re.sub(r"://[^/?#]*@", "://", self.uri)
        if must_exist and not is_milvus(uri):
            require_artefact(uri, "an index", *INDEXES)
            raise InputError(
                f"{uri}: neither a Milvus Lite folder nor the address of a Milvus server"
            )
        _import_quietly()
        # The folder stays open as long as this attribute refers to it.
        self._folder = None if is_address(uri) else MilvusFolder.from_path(Path(uri))
        with self.input_errors():
            from pymilvus import MilvusClient

            self._client = MilvusClient(
                self._folder.address if self._folder else self.uri,
                token=os.environ.get("MILVUS_TOKEN", ""),
                timeout=CONNECT_SECONDS,
                dedicated=True,
                # gRPC's shared pool may treat a server that has just started as unavailable.
                grpc_options={"grpc.use_local_subchannel_pool": 1},
            )
            weakref.finalize(self, self._client.close)
            version = self._client.get_server_version(timeout=CONNECT_SECONDS)
        self.is_lite = version.startswith("milvus_lite")

    def call(
        self,
        method: str,
        *args: Any,
        timeout: float = CALL_SECONDS,
        retry: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Call a method of `MilvusClient`, retrying while the server is unavailable.

        The method must be idempotent. The timeout, in seconds, applies to each attempt.
        """
        from grpc import RpcError
        from pymilvus import MilvusException

        until = time.monotonic() + (RETRY_SECONDS if retry else 0)
        wait = 0.25
        is_loaded = False
        with self.input_errors():
            while True:
                try:
                    return getattr(self._client, method)(*args, timeout=timeout, **kwargs)
                except (MilvusException, RpcError) as error:
                    if _error_code(error) == _COLLECTION_NOT_LOADED and not is_loaded:
                        # Collections are not loaded after Milvus Lite restarts.
                        self._client.load_collection(args[0], timeout=LOAD_SECONDS)
                        is_loaded = True
                        continue
                    if not _is_unavailable(error) or time.monotonic() + wait > until:
                        raise
                time.sleep(wait)
                wait = min(2 * wait, 8)

    def describe(self, collection: str, **options: Any) -> dict[str, Any] | None:
        """Return the description of the collection with this name or alias, or None if missing."""
        if not self.call("has_collection", collection, **options):
            return None
        return dict(self.call("describe_collection", collection, **options))

    @contextmanager
    def input_errors(self) -> Iterator[None]:
        """Convert Milvus and gRPC errors raised in the block to `InputError`."""
        from grpc import FutureTimeoutError, RpcError
        from pymilvus import MilvusException

        try:
            yield
        except (MilvusException, RpcError, FutureTimeoutError) as error:
            kind, text = _explain(error)
            raise kind(f"{self.name}: {text}") from None


def _import_quietly() -> None:
    """Import pymilvus, and suppress the tracebacks that it logs besides raising errors."""
    # Silences gRPC's C++ code, which reads this variable when grpc is first imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import_module("pymilvus")
    for logger in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)


def _is_unavailable(error: Exception) -> bool:
    """Return whether a request that failed with this error may succeed if it is retried."""
    from grpc import StatusCode
    from pymilvus.client.types import Status

    return _error_code(error) in (StatusCode.UNAVAILABLE, Status.CONNECT_FAILED) or bool(
        getattr(error, "retriable", False)
    )


def _error_code(error: BaseException | None) -> Any:
    """Return the Milvus or gRPC code of an error, or None if it has no code."""
    from grpc import StatusCode
    from pymilvus.client.types import Status

    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    if error and code == Status.CONNECT_FAILED:
        # pymilvus reports a wrong token as a failed connection.
        cause = _error_code(error.__context__)
        return cause if cause == StatusCode.UNAUTHENTICATED else code
    return code


def _explain(error: Exception) -> tuple[type[InputError], str]:
    """Return the type and message of the error to raise in place of a Milvus or gRPC error."""
    from grpc import StatusCode

    code = _error_code(error)
    details = getattr(error, "details", None)  # a method of gRPC errors
    message = to_printable(
        getattr(error, "message", None) or (details() if callable(details) else error)
    )
    if code == _COLLECTION_NOT_FOUND:
        return GoneError, "the collection has been replaced or dropped; open the index again"
    if _is_unavailable(error):
        return UnavailableError, "no Milvus server answers; start it, or correct the address"
    if code == StatusCode.UNAUTHENTICATED or "auth check failure" in message:
        return InputError, (
            "Milvus does not accept the token; set MILVUS_TOKEN to user:password or an API key"
        )
    if code == StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError, "Milvus did not answer in time; check its log"
    if "No space left on device" in message:
        return InputError, "the disk is full; free some space and run the command again to continue"
    return InputError, f"Milvus reports: {message}"
