"""Vectors of any length that are scaled to length 1 as they are read, without a second copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError

CHUNK_ROWS = 4096
"""Number of rows that a pass over all vectors reads at once."""


class UnitVectors:
    """Vectors of any length that are compared by cosine.

    Parameters
    ----------
    vectors : array-like of shape (n, d)
        A float32 array is not copied.
    name : str
        What the vectors are, for error messages.

    Attributes
    ----------
    vectors : float32 array of shape (n, d)
    lengths : float32 array of shape (n, 1)

    Raises
    ------
    InputError
        If the shape is not (n, d), there are no vectors, or one is not finite or has length 0.

    Examples
    --------
    >>> UnitVectors([[3, 4], [0, 2]], "vectors").lengths.ravel().tolist()
    [5.0, 2.0]
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
                f"the first is in row {bad[0]}; check the model that computed them"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def size(self) -> int:
        """Number of dimensions."""
        return self.vectors.shape[1]

    def take(self, rows: NDArray[Any] | slice) -> NDArray[np.float32]:
        """Return some rows, scaled to length 1."""
        # Adding 0 turns -0.0 into 0.0, so that equal vectors have equal bytes.
        return self.vectors[rows] / self.lengths[rows] + np.float32(0)

    def first_equal(self) -> NDArray[np.intp]:
        """Return for each row the first row that is exactly equal to it.

        Returns
        -------
        int array of shape (n,)
        """
        hashes = np.empty(len(self), np.int64)  # 64 bits: collisions are practically impossible
        for start in range(0, len(self), CHUNK_ROWS):
            chunk = self.take(slice(start, start + CHUNK_ROWS))
            hashes[start : start + len(chunk)] = [hash(row.tobytes()) for row in chunk]
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        return first[inverse]


def reproducible_cosines(
    X: NDArray[np.float32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute cosines that depend only on the two vectors, not on their positions.

    A matrix product is far faster, but its rounding depends on the positions.

    Parameters
    ----------
    X, vectors : float32 arrays of shape (n, d) and (m, d)
        Vectors of length 1.

    Returns
    -------
    float32 array of shape (n, m)
    """
    return np.vecdot(X[:, None], vectors[None])


def recompute_exactly(
    cosines: NDArray[np.float32],
    queries: NDArray[np.float32],
    gallery: UnitVectors,
    twin: NDArray[Any],
) -> None:
    """Replace some columns of a matrix product by `reproducible_cosines`, in place.

    Parameters
    ----------
    cosines : float32 array of shape (n, m)
    queries : float32 array of shape (n, d)
    gallery : UnitVectors
    twin : int array of shape (m,)
        For each column to replace, the row of the gallery to compute it with; -1 for the others.
    """
    (columns,) = np.nonzero(twin >= 0)
    if len(columns):
        rows, inverse = np.unique(twin[columns], return_inverse=True)
        cosines[:, columns] = reproducible_cosines(queries, gallery.take(rows))[:, inverse]
