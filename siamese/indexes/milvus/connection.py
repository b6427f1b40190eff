"""Reaching a Milvus, wherever it is: a server, a cluster, or Milvus Lite on a folder."""

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
from siamese.indexes.milvus.lite_folder import MilvusFolder, printable
from siamese.indexes.place import is_address
from siamese.utils.artefacts import INDEXES, is_milvus_folder, require_artefact

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONNECT_SECONDS = 10.0
"""How long a server may take to answer at all."""

CALL_SECONDS = 120.0
"""How long one request may take."""

LOAD_SECONDS = 1800.0
"""How long loading a collection, or writing it to disk, may take: it may be of any size."""

_NO_COLLECTION = 100
"""The code of Milvus for a collection that is not there."""

RETRY_SECONDS = 60.0
"""How long a request is repeated while the server is away."""

_NOT_LOADED = 101


def is_milvus(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a Milvus: the address of a server, or a folder of Milvus Lite."""
    return is_address(path) or is_milvus_folder(Path(path))


class Connection:
    """A client of one Milvus; every request is repeated where the server is away for a moment.

    Parameters
    ----------
    uri : ``http://host:19530``, also with https, tcp or unix; or a folder of Milvus Lite, which
        is made where none is, unless it `must_exist`. The token is taken from the environment,
        MILVUS_TOKEN.

    Attributes
    ----------
    uri : as given
    name : the same for a message, without the password
    is_lite : whether Milvus Lite answers, embedded or as a server

    Raises
    ------
    InputError
        One line: no server there, wrong token, folder in use or damaged.
    """

    def __init__(self, uri: str | os.PathLike[str], *, must_exist: bool = False) -> None:
        self.uri = os.fspath(uri)
        self.name = _without_password(self.uri)
        if must_exist and not is_milvus(uri):
            require_artefact(uri, "an index", *INDEXES)
            raise InputError(f"{uri}: no folder of Milvus Lite and no address of a server")
        _import_quietly()
        # Held, because a folder that nobody holds any more is given free.
        self._folder = None if is_address(uri) else MilvusFolder.from_path(Path(uri))
        address = self.uri if self._folder is None else self._folder.address
        with self._one_line():
            from pymilvus import MilvusClient

            self._client: MilvusClient = MilvusClient(
                address,
                token=os.environ.get("MILVUS_TOKEN", ""),
                timeout=CONNECT_SECONDS,
                dedicated=True,
                # Or a server that has just been started counts as away for a while longer.
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
        patient: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Call a method of `MilvusClient`, again and again while the server is away.

        Only for what may be done twice, as all that an index asks for. The first of `args` is a
        collection. Without being `patient` it is called once.

        Raises
        ------
        InputError
            One line with what Milvus says.
        """
        from grpc import RpcError
        from pymilvus import MilvusException

        until = time.monotonic() + (RETRY_SECONDS if patient else 0)
        wait = 0.25
        loaded = False
        with self._one_line():
            while True:
                try:
                    return getattr(self._client, method)(*args, timeout=timeout, **kwargs)
                except (MilvusException, RpcError) as error:
                    if _code(error) == _NOT_LOADED and not loaded:
                        # Milvus Lite forgets it when it is started again.
                        self._client.load_collection(args[0], timeout=LOAD_SECONDS)
                        loaded = True
                        continue
                    if not _is_away(error) or time.monotonic() + wait > until:
                        raise
                time.sleep(wait)
                wait = min(2 * wait, 8)

    def walk(
        self, collection: str, fields: list[str], expression: str, batch: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Walk over what a filter keeps, in batches; see `MilvusClient.query_iterator`."""
        rows = self.call(
            "query_iterator",
            collection,
            filter=expression,
            output_fields=fields,
            batch_size=batch,
            consistency_level="Strong",
        )
        while True:
            with self._one_line():
                some = rows.next()
            if not some:
                return
            yield some

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        from grpc import FutureTimeoutError, RpcError
        from pymilvus import MilvusException

        try:
            yield
        except (MilvusException, RpcError, FutureTimeoutError) as error:
            line = f"{self.name}: {_reason(error)}"
            if _code(error) == _NO_COLLECTION:
                raise GoneError(line) from None
            if _is_away(error) or _is_late(error):
                raise UnavailableError(line) from None
            raise InputError(line) from None


def _without_password(uri: str) -> str:
    if "://" not in uri or "@" not in uri:
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _import_quietly() -> None:
    """Import pymilvus, keeping back the tracebacks that it logs beside raising them."""
    # Read once, by the first import of grpc: its C++ part writes to the terminal.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import_module("pymilvus")
    for logger in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)


def _is_away(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    from grpc import StatusCode
    from pymilvus.client.types import Status

    return _code(error) in (StatusCode.UNAVAILABLE, Status.CONNECT_FAILED) or bool(
        getattr(error, "retriable", False)
    )


def _is_late(error: Exception) -> bool:
    from grpc import StatusCode

    return bool(_code(error) == StatusCode.DEADLINE_EXCEEDED)


def _code(error: BaseException) -> Any:
    """The code of Milvus or of gRPC; where a wrong token lets no connection come about, of that."""
    from grpc import RpcError, StatusCode
    from pymilvus.client.types import Status

    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    cause = error.__context__
    if code == Status.CONNECT_FAILED and isinstance(cause, RpcError):
        return StatusCode.UNAUTHENTICATED if _code(cause) == StatusCode.UNAUTHENTICATED else code
    return code


def _reason(error: Exception) -> str:
    """What went wrong and what to do about it, in one line."""
    from grpc import StatusCode

    code = _code(error)
    said = printable(getattr(error, "message", None) or _details(error))
    if _is_away(error):
        return "no Milvus answers there; start it, or correct the address"
    if code == StatusCode.UNAUTHENTICATED or "auth check failure" in said:
        return "Milvus does not accept the token; set MILVUS_TOKEN to user:password or an API key"
    if code == _NO_COLLECTION:
        return "the collection was made anew or dropped meanwhile; open it again"
    if _is_late(error):
        return "Milvus did not answer in time; look at its log"
    if "No space left on device" in said:
        return "the disk is full; make room and repeat, which goes on where it was"
    return f"Milvus says: {said}"


def _details(error: Exception) -> str:
    details = getattr(error, "details", None)
    return details() if callable(details) else str(error)
