"""Vectors that are L2-normalised when they are read, and reproducible cosines."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError

Floats = NDArray[np.float32]
Ints = NDArray[np.integer]

CHUNK_ROWS = 4096
"""Number of rows that are processed at once."""


class UnitVectors:
    """Vectors (n, d) that `take` L2-normalises; error messages call them `name`."""

    def __init__(self, vectors: ArrayLike, name: str) -> None:
        self.vectors: Floats = np.asarray(vectors, np.float32)
        shape = self.vectors.shape
        if len(shape) != 2 or 0 in shape:
            raise InputError(f"{name}: the shape is {shape}, not (pictures, dimensions)")
        self.size = shape[1]
        self.lengths = np.empty((len(self.vectors), 1), np.float32)
        for start in range(0, len(self.vectors), CHUNK_ROWS):
            chunk = self.vectors[start : start + CHUNK_ROWS].astype(np.float64)
            with np.errstate(over="ignore"):  # infinite lengths are reported below
                self.lengths[start : start + len(chunk), 0] = np.linalg.norm(chunk, axis=1)
        if len(bad := np.flatnonzero(~np.isfinite(self.lengths) | (self.lengths == 0))):
            raise InputError(
                f"{name}: {len(bad)} of {len(self)} have no direction (NaN, infinite or all 0), "
                f"the first is in row {bad[0]}; check the model that computed them"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Ints | slice) -> Floats:
        """Return the given rows, L2-normalised."""
        # Adding 0 turns -0.0 into 0.0, so that equal vectors have equal bytes.
        return self.vectors[rows] / self.lengths[rows] + np.float32(0)

    def first_equal(self) -> NDArray[np.intp]:
        """Return, for each row, the first row whose L2-normalised vector is exactly the same."""
        starts = range(0, len(self), CHUNK_ROWS)
        chunks = (self.take(slice(start, start + CHUNK_ROWS)) for start in starts)
        # These are 64-bit hashes, so collisions are extremely unlikely.
        hashes = [hash(row.tobytes()) for chunk in chunks for row in chunk]
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        return first[inverse]


def reproducible_cosines(X: Floats, vectors: Floats) -> Floats:
    """Compute the cosines (n, m) of unit vectors X (n, d) and `vectors` (m, d) reproducibly.

    A matrix product is much faster, but may round equal vectors' cosines differently.
    """
    return np.vecdot(X[:, None], vectors[None])


def recompute_exactly(cosines: Floats, queries: Floats, gallery: UnitVectors, twin: Ints) -> None:
    """Replace some columns of the matrix `cosines` by `reproducible_cosines`, in place.

    Column j is recomputed with gallery row ``twin[j]``, or left unchanged if ``twin[j]`` is -1.
    """
    (columns,) = np.nonzero(twin >= 0)
    if len(columns):
        rows, inverse = np.unique(twin[columns], return_inverse=True)
        cosines[:, columns] = reproducible_cosines(queries, gallery.take(rows))[:, inverse]
