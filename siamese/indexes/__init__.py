"""Where vectors are searched: one file an engine, all behind one small protocol, `Index`."""

from __future__ import annotations

import os
from pathlib import Path

from siamese.errors import InputError
from siamese.indexes.balltree import BallTreeIndex
from siamese.indexes.folder import is_index_folder
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.protocol import Entry, Index, Metadata, ModelFacts


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open an index, whatever engine made it.

    Parameters
    ----------
    path : the file of a balltree, or the folder of a faiss index

    Raises
    ------
    InputError
        One line: the file is missing, damaged, or no index.
    """
    folder = Path(path)
    if is_index_folder(folder):
        from siamese.indexes.faiss import FaissIndex

        return FaissIndex.open(folder)
    if folder.is_dir():
        raise InputError(
            f"{path}: a folder that is no index; give the file of a balltree (search_index.pkl) or "
            "the folder that a faiss index was written to"
        )
    return BallTreeIndex.open(folder)


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
