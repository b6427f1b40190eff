"""The place of an index, and of the files that belong to it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from siamese.models.facts import ModelFacts

Place: TypeAlias = str | os.PathLike[str]
"""The path of an index, or the address of a server that holds it."""

COLLECTION = "pictures"
"""The default name of a collection on a server."""


def is_address(place: Place) -> bool:
    """Check whether a place is the address of a server, not a path."""
    return re.match(r"(https?|tcp)://|unix:", os.fspath(place), re.IGNORECASE) is not None


def embeddings_folder(place: Place, collection: str = COLLECTION) -> Path:
    """Return the folder of the embeddings that an index is built from."""
    return _path_beside(place, collection, ".embeddings")


def skipped_list(place: Place, collection: str = COLLECTION) -> Path:
    """Return the path of the JSON file that lists the pictures an index lacks."""
    return _path_beside(place, collection, ".skipped.json")


def find_moved_checkpoint(model: ModelFacts | None, place: Place) -> ModelFacts | None:
    """Replace the path of a model by the present path of its checkpoint, if that is found.

    An index that was built in ``/home/me/project`` records ``/home/me/project/checkpoints/a.hdf5``.
    If this file is missing, ever shorter ends of the path are tried, ``checkpoints/a.hdf5`` before
    ``a.hdf5``, first next to the index, then in the working folder. `siamese.Searcher` checks the
    fingerprint of what is found.
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
    """Return a path next to the index, or in the working folder for an index on a server."""
    if is_address(place):
        return Path(f"{collection}{suffix}")
    place = Path(place)
    infix = "" if collection == COLLECTION else f".{collection}"
    return place.with_name(f"{place.stem}{infix}{suffix}")
