"""Registry of backends, with functions that choose one by name, place or suffix."""

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
"""All backends, by name."""


def recognise_backend(place: Place) -> Backend | None:
    """Return the backend that recognises a place, if any, without asking a server."""
    return next((backend for backend in BACKENDS.values() if backend.recognises(place)), None)


def find_backend(place: Place, collection: str = COLLECTION) -> Backend | None:
    """Return the backend of the index at a place, or None if there is no index there."""
    backend = recognise_backend(place)
    return backend if backend is not None and backend.exists(place, collection) else None


def open_index(place: Place, collection: str = COLLECTION) -> Index:
    """Open an index of any backend.

    Parameters
    ----------
    place : path or address
        A balltree file, the folder of a FAISS or Milvus Lite index, or the address of a Milvus
        server.
    collection : str, default "pictures"
        Name of the Milvus collection.

    Returns
    -------
    Index

    Raises
    ------
    InputError
        If the index is missing or damaged, or the place holds something else.
    """
    backend = recognise_backend(place)
    if backend is None:
        if Path(place).is_dir():
            require_artefact(place, "an index", *INDEXES)
            raise InputError(
                f"{place}: this folder is not an index; give the file of a balltree "
                "(search_index.pkl), or a folder that --backend faiss or milvus wrote"
            )
        backend = DEFAULT  # opening it raises an error that says what is wrong
    return backend.open(place, collection)


def choose_backend(place: Place | None, name: str | None) -> Backend:
    """Choose the backend of a new index.

    Without a name, this is the backend of the FAISS or Milvus index at the place, else the one
    whose `default_place` has the suffix of the place, else balltree.
    """
    if name is not None and name not in BACKENDS:
        raise InputError(f"--backend {name}: unknown; choose one of {', '.join(BACKENDS)}")
    named = None if name is None else BACKENDS[name]
    if place is None:
        return named or DEFAULT
    found = recognise_backend(place)
    if is_address(place) and found is not None and named not in (None, found):
        raise InputError(
            f"{place}: an address is for --backend {found.name}, not {name}; leave out --backend, "
            "or give a path"
        )
    if named is not None:
        return named
    if found not in (None, DEFAULT):
        return found
    by_suffix = {Path(backend.default_place).suffix: backend for backend in BACKENDS.values()}
    return by_suffix.get(Path(place).suffix, DEFAULT)
