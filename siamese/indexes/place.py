"""Places of indexes (paths or server addresses), and of the files that accompany them."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from siamese.models.facts import ModelFacts

Place: TypeAlias = str | os.PathLike[str]
"""Path of an index, or address of the server that holds it."""

COLLECTION = "pictures"
"""Default name of a Milvus collection."""


def is_address(place: Place) -> bool:
    """Return whether a place is a server address rather than a path."""
    return re.match(r"(https?|tcp)://|unix:", os.fspath(place), re.IGNORECASE) is not None


def embeddings_folder(place: Place, collection: str = COLLECTION) -> Path:
    """Return the folder that stores the embeddings from which an index is built."""
    return _path_beside(place, collection, ".embeddings")


def skipped_list(place: Place, collection: str = COLLECTION) -> Path:
    """Return the path of the JSON file that lists the pictures skipped in indexing."""
    return _path_beside(place, collection, ".skipped.json")


def find_moved_checkpoint(model: ModelFacts | None, place: Place) -> ModelFacts | None:
    """Return the facts with the checkpoint's current path, or unchanged if no file is found.

    An index built in ``/home/me/project`` may record ``/home/me/project/checkpoints/a.hdf5``. If
    that file is missing, successively shorter ends of the path are tried (``checkpoints/a.hdf5``,
    then ``a.hdf5``), each next to the index first and then in the working folder.
    `siamese.Searcher` checks that the file has the recorded fingerprint.
    """
    if model is None or model.path is None or Path(model.path).is_file():
        return model
    folders = [Path.cwd()]
    if not is_address(place):
        folders.insert(0, Path(place).absolute().parent)
    parts = Path(model.path).parts
    for start in range(1, len(parts)):
        for folder in folders:
            path = folder.joinpath(*parts[start:])
            if path.is_file():
                return replace(model, path=str(path))
    return model


def _path_beside(place: Place, collection: str, suffix: str) -> Path:
    """Return a path next to the index, or in the working folder if the index is on a server."""
    if is_address(place):
        return Path(f"{collection}{suffix}")
    place = Path(place)
    infix = "" if collection == COLLECTION else f".{collection}"
    return place.with_name(f"{place.stem}{infix}{suffix}")
