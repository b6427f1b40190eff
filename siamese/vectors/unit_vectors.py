"""Vectors as directions: scaled to length 1 as they are taken, without a second copy of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError

CHUNK_ROWS = 4096
"""Rows that are looked at in one go where all are."""


class UnitVectors:
    """Vectors that may have any length, and are compared by cosine.

    Parameters
    ----------
    vectors : (n, d); float32 is not copied
    name : what they are, for the error

    Raises
    ------
    InputError
        Not (n, d), empty, or a vector that is not finite or of length 0.
    """

    def __init__(self, vectors: ArrayLike, name: str) -> None:
        self.vectors: NDArray[np.float32] = np.asarray(vectors, np.float32)
        if self.vectors.ndim != 2 or 0 in self.vectors.shape:
            shape = self.vectors.shape
            raise InputError(f"{name}: the shape is {shape}, not (pictures, dimensions)")
        self.lengths = np.empty((len(self.vectors), 1), np.float32)
        for start in range(0, len(self.vectors), CHUNK_ROWS):
            chunk = self.vectors[start : start + CHUNK_ROWS].astype(np.float64)
            with np.errstate(over="ignore"):  # such a length is infinite
                self.lengths[start : start + len(chunk), 0] = np.linalg.norm(chunk, axis=1)
        if len(bad := np.flatnonzero(~np.isfinite(self.lengths) | (self.lengths == 0))):
            raise InputError(
                f"{name}: {len(bad)} of {len(self)} have no direction (NaN, infinite or all 0), "
                f"the first in row {bad[0]}; the model that made them is broken"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def size(self) -> int:
        """The number of dimensions."""
        return self.vectors.shape[1]

    def take(self, rows: NDArray[Any] | slice) -> NDArray[np.float32]:
        """float32 (rows, d), length 1."""
        # + 0: there is no -0.0 then, and equal vectors have equal bytes.
        return self.vectors[rows] / self.lengths[rows] + np.float32(0)

    def first_equal(self) -> NDArray[np.intp]:
        """int (n,): for each row the first one of exactly the same direction."""
        hashes = np.empty(len(self), np.int64)  # of 64 bits: two of a million meet by no chance
        for start in range(0, len(self), CHUNK_ROWS):
            chunk = self.take(slice(start, start + CHUNK_ROWS))
            hashes[start : start + len(chunk)] = [hash(row.tobytes()) for row in chunk]
        _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
        return first[place]


def dots(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines of (n, d) and (m, d): float32 (n, m), the same for the same two vectors anywhere.

    A matrix product is far faster, but rounds by where in the matrix a vector stands.
    """
    return np.vecdot(one[:, None], other[None])


def recompute_exactly(
    cosines: NDArray[np.float32],
    ours: NDArray[np.float32],
    theirs: UnitVectors,
    twin: NDArray[Any],
) -> None:
    """Compute some columns of a matrix product anew with `dots`, in place.

    Parameters
    ----------
    cosines : float32 (n, m)
    ours : float32 (n, d)
    twin : int (m,), the row of `theirs` that a column is of; -1 where the product will do
    """
    (columns,) = np.nonzero(twin >= 0)
    if len(columns):
        rows, place = np.unique(twin[columns], return_inverse=True)
        cosines[:, columns] = dots(ours, theirs.take(rows))[:, place]
