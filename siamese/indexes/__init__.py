"""Where vectors are searched: one file an engine, all behind one small protocol, `Index`."""

from __future__ import annotations

import os
from pathlib import Path

from siamese.errors import InputError
from siamese.indexes.balltree import BallTreeIndex
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.protocol import Entry, Index, Metadata, ModelFacts


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open an index, whatever engine made it.

    Parameters
    ----------
    path : an index file, `search_index.pkl` by its usual name

    Raises
    ------
    InputError
        One line: the file is missing, damaged, or no index.
    """
    if Path(path).is_dir():
        raise InputError(f"{path}: a folder; give the index file in it (search_index.pkl)")
    return BallTreeIndex.open(path)


__all__ = [
    "EVERYTHING",
    "BallTreeIndex",
    "Entry",
    "Index",
    "LabelFilter",
    "Metadata",
    "ModelFacts",
    "open_index",
]
