"""Where vectors are searched: one file an engine, all behind one small protocol."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.indexes.balltree import BallTreeIndex, Metadata, ModelFacts


class Index(Protocol):
    """What every engine offers; see `BallTreeIndex` for the meaning of each part."""

    @property
    def name(self) -> str: ...

    @property
    def metadata(self) -> list[Metadata]: ...

    @property
    def model(self) -> ModelFacts | None: ...

    @property
    def embedding_size(self) -> int: ...

    def __len__(self) -> int: ...

    def query(self, X: ArrayLike, k: int = 10) -> tuple[NDArray[np.float64], NDArray[np.intp]]: ...

    def vectors(self, rows: ArrayLike) -> NDArray[np.float64]: ...


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


__all__ = ["BallTreeIndex", "Index", "Metadata", "ModelFacts", "open_index"]
