"""The registry of backends: choose one by name, by place or by suffix."""

from __future__ import annotations

from pathlib import Path

from siamese.errors import InputError
from siamese.indexes.backend import Backend
from siamese.indexes.balltree.backend import BallTreeBackend
from siamese.indexes.faiss.backend import FaissBackend
from siamese.indexes.index import Index
from siamese.indexes.milvus.backend import MilvusBackend
from siamese.indexes.place import COLLECTION, Place, is_address
from siamese.utils.artefacts import INDEXES, require_artefact

DEFAULT = BallTreeBackend()

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (DEFAULT, FaissBackend(), MilvusBackend())
}
"""All backends by name."""


def recognise_backend(place: Place) -> Backend | None:
    """Return the backend whose form a place has, or None; a server is not contacted."""
    return next((backend for backend in BACKENDS.values() if backend.recognises(place)), None)


def find_backend(place: Place, collection: str = COLLECTION) -> Backend | None:
    """Return the backend of the index at a place, or None if there is no index.

    Raises
    ------
    InputError
        If the place is a server that cannot be reached.
    """
    backend = recognise_backend(place)
    return backend if backend is not None and backend.exists(place, collection) else None


def open_index(place: Place, collection: str = COLLECTION) -> Index:
    """Open an index of any backend.

    Parameters
    ----------
    place : path or address
        The file of a balltree, the folder of a FAISS or Milvus Lite index, or the address of a
        Milvus server.
    collection : str, default "pictures"
        Name of the Milvus collection.

    Returns
    -------
    Index

    Raises
    ------
    InputError
        If it is missing, damaged or not an index.
    """
    backend = recognise_backend(place)
    if backend is None:
        if Path(place).is_dir():
            require_artefact(place, "an index", *INDEXES)
            raise InputError(
                f"{place}: this folder is not an index; give the file of a balltree "
                "(search_index.pkl), or a folder that --backend faiss or milvus wrote"
            )
        backend = DEFAULT  # its error explains what is wrong with the file
    return backend.open(place, collection)


def choose_backend(place: Place | None, name: str | None) -> Backend:
    """Choose the backend of an index that is to be written.

    Without a name it is the backend of the index at the place, or of the place's suffix, or
    balltree.

    Parameters
    ----------
    place : path or address, optional
    name : str, optional
        A key of `BACKENDS`.

    Raises
    ------
    InputError
        If there is no backend of that name, or it cannot write to that place.
    """
    if name is not None and name not in BACKENDS:
        raise InputError(f"--backend {name}: unknown; choose one of {', '.join(BACKENDS)}")
    found = None if place is None else recognise_backend(place)
    if place is not None and found is not None and is_address(place):
        if name not in (None, found.name):
            raise InputError(
                f"{place}: an address is for --backend {found.name}, not {name}; "
                "leave out --backend, or give a path"
            )
        return found
    if name is not None or place is None:
        return DEFAULT if name is None else BACKENDS[name]
    if found not in (None, DEFAULT):
        return found
    suffix = Path(place).suffix
    return next(
        (other for other in BACKENDS.values() if Path(other.default_place).suffix == suffix),
        DEFAULT,
    )
