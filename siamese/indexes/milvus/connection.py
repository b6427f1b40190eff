"""Connect to Milvus: a server, a cluster, or Milvus Lite in a folder."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from siamese.errors import GoneError, InputError, UnavailableError
from siamese.indexes.milvus.lite_folder import MilvusFolder, to_printable
from siamese.indexes.place import Place, is_address
from siamese.utils.artefacts import INDEXES, is_milvus_folder, require_artefact

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONNECT_SECONDS = 10.0
"""Timeout of the first answer of a server."""

CALL_SECONDS = 120.0
"""Timeout of a request."""

LOAD_SECONDS = 1800.0
"""Timeout of loading or flushing a collection, which may be of any size."""

RETRY_SECONDS = 60.0
"""How long a request is repeated while the server is unavailable."""

# Error codes of Milvus.
_COLLECTION_NOT_FOUND = 100
_COLLECTION_NOT_LOADED = 101


def is_milvus(place: Place) -> bool:
    """Check whether a place is the address of a server or a folder of Milvus Lite."""
    return is_address(place) or is_milvus_folder(Path(place))


class Connection:
    """A client of one Milvus that repeats requests while the server is unavailable.

    Parameters
    ----------
    uri : path or address
        ``http://host:19530``, or the same with https, tcp or unix; or a Milvus Lite folder, which
        is created if it is missing. The token is read from the environment variable MILVUS_TOKEN.
    must_exist : bool, default False
        Whether to refuse to create a folder.

    Attributes
    ----------
    uri : str
        The address as given.
    name : str
        The address without its password, for messages.
    is_lite : bool
        Whether Milvus Lite answers, either embedded or as a server.

    Raises
    ------
    InputError
        If no server answers, the token is wrong, or the folder is in use or damaged.
    """

    def __init__(self, uri: Place, *, must_exist: bool = False) -> None:
        self.uri = os.fspath(uri)
        self.name = _without_password(self.uri)
        if must_exist and not is_milvus(uri):
            require_artefact(uri, "an index", *INDEXES)
            raise InputError(
                f"{uri}: neither a Milvus Lite folder nor the address of a Milvus server"
            )
        _import_quietly()
        # Keeps the folder open.
        self._folder = None if is_address(uri) else MilvusFolder.from_path(Path(uri))
        address = self.uri if self._folder is None else self._folder.address
        with self._input_errors():
            from pymilvus import MilvusClient

            self._client: MilvusClient = MilvusClient(
                address,
                token=os.environ.get("MILVUS_TOKEN", ""),
                timeout=CONNECT_SECONDS,
                dedicated=True,
                # A shared pool would consider a server unavailable for a while after its start.
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
        """Call a method of `MilvusClient`, and repeat it while the server is unavailable.

        Parameters
        ----------
        method : str
            Name of an idempotent method.
        *args, **kwargs
            Its arguments; the first one is the name of a collection.
        timeout : float, default `CALL_SECONDS`
            Timeout of each attempt, in seconds.
        retry : bool, default True
            Whether to repeat the call.

        Raises
        ------
        InputError
            With the message of Milvus.
        """
        from grpc import RpcError
        from pymilvus import MilvusException

        until = time.monotonic() + (RETRY_SECONDS if retry else 0)
        wait = 0.25
        is_loaded = False
        with self._input_errors():
            while True:
                try:
                    return getattr(self._client, method)(*args, timeout=timeout, **kwargs)
                except (MilvusException, RpcError) as error:
                    if _error_code(error) == _COLLECTION_NOT_LOADED and not is_loaded:
                        # Milvus Lite unloads its collections when it restarts.
                        self._client.load_collection(args[0], timeout=LOAD_SECONDS)
                        is_loaded = True
                        continue
                    if not _is_unavailable(error) or time.monotonic() + wait > until:
                        raise
                time.sleep(wait)
                wait = min(2 * wait, 8)

    def walk(
        self, collection: str, fields: list[str], expression: str, batch_size: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Iterate over the rows that a filter keeps, in batches."""
        rows = self.call(
            "query_iterator",
            collection,
            filter=expression,
            output_fields=fields,
            batch_size=batch_size,
            consistency_level="Strong",
        )
        while True:
            with self._input_errors():
                batch = rows.next()
            if not batch:
                return
            yield batch

    @contextmanager
    def _input_errors(self) -> Iterator[None]:
        """Turn errors of Milvus into an `InputError`."""
        from grpc import FutureTimeoutError, RpcError
        from pymilvus import MilvusException

        try:
            yield
        except (MilvusException, RpcError, FutureTimeoutError) as error:
            line = f"{self.name}: {_explain(error)}"
            if _error_code(error) == _COLLECTION_NOT_FOUND:
                raise GoneError(line) from None
            if _is_unavailable(error) or _is_timeout(error):
                raise UnavailableError(line) from None
            raise InputError(line) from None


def _without_password(uri: str) -> str:
    if "://" not in uri or "@" not in uri:
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _import_quietly() -> None:
    """Import pymilvus without the tracebacks that it logs in addition to raising errors."""
    # The first import of grpc reads this; its C++ part writes to the terminal.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import_module("pymilvus")
    for logger in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)


def _is_unavailable(error: Exception) -> bool:
    """Check whether the same request may succeed a little later."""
    from grpc import StatusCode
    from pymilvus.client.types import Status

    return _error_code(error) in (StatusCode.UNAVAILABLE, Status.CONNECT_FAILED) or bool(
        getattr(error, "retriable", False)
    )


def _is_timeout(error: Exception) -> bool:
    from grpc import StatusCode

    return bool(_error_code(error) == StatusCode.DEADLINE_EXCEEDED)


def _error_code(error: BaseException) -> Any:
    """Return the error code of Milvus or gRPC.

    A wrong token fails the connection; its code is in the context of that error.
    """
    from grpc import RpcError, StatusCode
    from pymilvus.client.types import Status

    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    context = error.__context__
    if code == Status.CONNECT_FAILED and isinstance(context, RpcError):
        is_token = _error_code(context) == StatusCode.UNAUTHENTICATED
        return StatusCode.UNAUTHENTICATED if is_token else code
    return code


def _explain(error: Exception) -> str:
    """Say in one line what went wrong and what to do about it."""
    from grpc import StatusCode

    code = _error_code(error)
    message = to_printable(getattr(error, "message", None) or _details(error))
    if _is_unavailable(error):
        return "no Milvus server answers; start it, or correct the address"
    if code == StatusCode.UNAUTHENTICATED or "auth check failure" in message:
        return "Milvus does not accept the token; set MILVUS_TOKEN to user:password or an API key"
    if code == _COLLECTION_NOT_FOUND:
        return "the collection has been replaced or dropped; open the index again"
    if _is_timeout(error):
        return "Milvus did not answer in time; check its log"
    if "No space left on device" in message:
        return "the disk is full; free some space and run the command again to continue"
    return f"Milvus reports: {message}"


def _details(error: Exception) -> str:
    details = getattr(error, "details", None)
    return details() if callable(details) else str(error)
