"""Milvus Lite: a small Milvus inside this process, which keeps its collections in a folder."""

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
    """Milvus Lite on a folder, for as long as someone in this process holds this object.

    It is a server in a thread. Its address is a socket in a folder that no other user can enter;
    a port would let everyone on the machine in.

    Attributes
    ----------
    address : for `pymilvus.MilvusClient`

    Raises
    ------
    InputError
        One line: another process has the folder open, it is damaged or cannot be written to.
    """

    _running: ClassVar[weakref.WeakValueDictionary[Path, MilvusFolder]] = (
        weakref.WeakValueDictionary()
    )
    _starting: ClassVar = threading.Lock()

    @classmethod
    def from_path(cls, path: Path) -> MilvusFolder:
        """Return the one of a folder, started where none runs in this process."""
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
                f"{path}: Milvus Lite is not installed (there is none for Windows); "
                "give the address of a Milvus server"
            ) from None
        _check(path)
        sockets = tempfile.mkdtemp(prefix="siamese-")
        try:
            # It takes a host and a port, which together become the name of the socket.
            server, database, _ = start_server_in_thread(
                str(path), host=f"unix:{sockets}/milvus", port=0
            )
        except DataDirLockedError:
            shutil.rmtree(sockets, ignore_errors=True)
            raise InputError(
                f"{path}: another process has it open; end that one first, or let both ask "
                "a server (milvus-lite server)"
            ) from None
        except (OSError, RuntimeError, ValueError, MilvusLiteError) as error:
            shutil.rmtree(sockets, ignore_errors=True)
            raise InputError(f"{path}: cannot be opened ({printable(error)})") from None
        self.address = f"unix:{sockets}/milvus:0"
        weakref.finalize(self, _stop, server, database, sockets)


def _stop(server: grpc.Server, database: MilvusLite, sockets: str) -> None:
    server.stop(grace=2).wait()
    database.close()
    shutil.rmtree(sockets, ignore_errors=True)


def printable(message: object) -> str:
    """What a library says, on one line, without what it has read from a damaged file."""
    words = " ".join(str(message).split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:300]


def _check(folder: Path) -> None:
    """An `InputError` where the list of a collection's files is damaged, or one is missing.

    Milvus Lite itself takes an older list then, and deletes the files that are not in it.
    """
    for collection in sorted((folder / "collections").glob("*")):
        path = collection / "manifest.json"
        if not path.exists() and not path.with_suffix(".json.prev").exists():
            continue  # nothing was ever written
        try:
            partitions = json.loads(path.read_bytes())["partitions"]
            for name, partition in partitions.items():
                for file in (*partition["data_files"], *partition["delta_files"]):
                    (collection / "partitions" / name / file).stat()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: damaged ({printable(error)}); put a copy in its place, or index again"
            ) from None
