"""Milvus Lite: a small Milvus server in this process, with its collections in a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from siamese.errors import InputError

if TYPE_CHECKING:
    import grpc
    from milvus_lite.db import MilvusLite


class MilvusFolder:
    """Milvus Lite folder, served by a thread of this process while this object exists.

    The server listens on a Unix socket in a private folder, because any user of the machine could
    connect to a port. `address` is the socket's address, for `pymilvus.MilvusClient`.
    """

    _running: ClassVar = weakref.WeakValueDictionary[Path, "MilvusFolder"]()
    _starting: ClassVar = threading.Lock()

    @classmethod
    def from_path(cls, path: Path) -> MilvusFolder:
        """Return the existing object for a folder, or create one and start its server."""
        path = path.absolute()
        with cls._starting:
            running = cls._running.get(path)
            if running is None:
                running = cls._running[path] = cls(path)
            return running

    def __init__(self, path: Path) -> None:
        try:
            from milvus_lite.adapter.grpc.server import start_server_in_thread
            from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError
        except ImportError:
            raise InputError(
                f"{path}: Milvus Lite is not installed, and is not available for Windows; "
                "give the address of a Milvus server"
            ) from None
        _check_manifests(path)
        sockets = tempfile.mkdtemp(prefix="siamese-")
        host = f"unix:{sockets}/milvus"
        self.address = f"{host}:0"  # the server appends the port
        try:
            server, database, _ = start_server_in_thread(str(path), host=host, port=0)
        except (OSError, RuntimeError, ValueError, MilvusLiteError) as error:
            shutil.rmtree(sockets, ignore_errors=True)
            if isinstance(error, DataDirLockedError):
                raise InputError(
                    f"{path}: another process has it open; stop that process, or let both connect "
                    "to a server (milvus-lite server)"
                ) from None
            raise InputError(
                f"{path}: cannot be opened ({to_printable(error)}); restore a copy, or index again"
            ) from None
        weakref.finalize(self, _stop, server, database, sockets)


def _stop(server: grpc.Server, database: MilvusLite, sockets: str) -> None:
    server.stop(grace=2).wait()
    database.close()
    shutil.rmtree(sockets, ignore_errors=True)


def _check_manifests(folder: Path) -> None:
    """Raise an `InputError` if a collection's manifest is damaged or lists a missing file.

    Milvus Lite would fall back to an older manifest and delete the files that are not in that one.
    """
    for collection in sorted((folder / "collections").glob("*")):
        path = collection / "manifest.json"
        if not path.exists() and not path.with_suffix(".json.prev").exists():
            continue  # nothing has been written to the collection yet
        try:
            partitions = json.loads(path.read_bytes())["partitions"]
            for name, partition in partitions.items():
                for file in (*partition["data_files"], *partition["delta_files"]):
                    (collection / "partitions" / name / file).stat()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: damaged ({to_printable(error)}); restore a copy, or index again"
            ) from None


def to_printable(message: object) -> str:
    """Shorten a library's message, which may quote a damaged file, to one printable line."""
    line = " ".join(str(message).split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:300]
