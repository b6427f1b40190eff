"""The place of an index, and of the files that belong to it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeAlias

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


def _path_beside(place: Place, collection: str, suffix: str) -> Path:
    """Return a path next to the index, or in the working folder for an index on a server."""
    if is_address(place):
        return Path(f"{collection}{suffix}")
    place = Path(place)
    infix = "" if collection == COLLECTION else f".{collection}"
    return place.with_name(f"{place.stem}{infix}{suffix}")
