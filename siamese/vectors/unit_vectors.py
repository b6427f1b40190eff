"""Vectors that are scaled to length 1 as they are read, without a second copy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError

Floats = NDArray[np.float32]
Ints = NDArray[np.integer]

CHUNK_ROWS = 4096
"""Number of rows that are read at once."""


class UnitVectors:
    """Vectors (n, d) of any length, compared by cosine; `name` is for error messages."""

    def __init__(self, vectors: ArrayLike, name: str) -> None:
        self.vectors: Floats = np.asarray(vectors, np.float32)
        shape = self.vectors.shape
        if len(shape) != 2 or 0 in shape:
            raise InputError(f"{name}: the shape is {shape}, not (pictures, dimensions)")
        self.size = shape[1]
        self.lengths = np.empty((len(self.vectors), 1), np.float32)
        for start in range(0, len(self.vectors), CHUNK_ROWS):
            chunk = self.vectors[start : start + CHUNK_ROWS].astype(np.float64)
            with np.errstate(over="ignore"):  # such a length is infinite
                self.lengths[start : start + len(chunk), 0] = np.linalg.norm(chunk, axis=1)
        if len(bad := np.flatnonzero(~np.isfinite(self.lengths) | (self.lengths == 0))):
            raise InputError(
                f"{name}: {len(bad)} of {len(self)} have no direction (NaN, infinite or all 0), "
                f"the first is in row {bad[0]}; check the model that computed them"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Ints | slice) -> Floats:
        """Return some rows, scaled to length 1."""
        # Adding 0 turns -0.0 into 0.0, so that equal vectors have equal bytes.
        return self.vectors[rows] / self.lengths[rows] + np.float32(0)

    def first_equal(self) -> NDArray[np.intp]:
        """Return for each row the first row with an exactly equal vector of length 1."""
        starts = range(0, len(self), CHUNK_ROWS)
        chunks = (self.take(slice(start, start + CHUNK_ROWS)) for start in starts)
        # Of 64 bits: collisions are practically impossible.
        hashes = [hash(row.tobytes()) for chunk in chunks for row in chunk]
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        return first[inverse]


def reproducible_cosines(X: Floats, vectors: Floats) -> Floats:
    """Compute cosines that depend only on the two vectors, not on their positions.

    A matrix product is far faster, but its rounding depends on the positions.
    """
    return np.vecdot(X[:, None], vectors[None])


def recompute_exactly(cosines: Floats, queries: Floats, gallery: UnitVectors, twin: Ints) -> None:
    """Replace some columns of a matrix product by `reproducible_cosines`, in place.

    `twin` is the row of the gallery to compute a column with, or -1 to leave the column as it is.
    """
    (columns,) = np.nonzero(twin >= 0)
    if len(columns):
        rows, inverse = np.unique(twin[columns], return_inverse=True)
        cosines[:, columns] = reproducible_cosines(queries, gallery.take(rows))[:, inverse]
