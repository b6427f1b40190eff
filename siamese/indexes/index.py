"""Interface of all indexes, and the data that they store with each vector."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.models.facts import ModelFacts

CONTENT_BYTES = 16
"""Size in bytes of the hash of a picture's file."""


class Metadata(TypedDict):
    """Metadata of a picture."""

    item_id: str
    filename: str
    labels: list[str]


class IndexedPicture(NamedTuple):
    """Picture in an index, with the data that an update compares with the catalogue.

    `row` is the picture's row, as in `Index.query`. `content` is the 16-byte BLAKE2b hash of the
    picture's file, or None if the index does not store one.
    """

    row: int
    metadata: Metadata
    content: bytes | None


class Index(Protocol):
    """Interface of indexes, which search unit-length vectors by Euclidean distance.

    For such vectors, ``distance² = 2 - 2 · cosine``. A row is an integer that identifies a picture:
    its position or a key. Rows are valid until the next `remove` or `save`. Two items may share a
    file, so a picture is identified by its item and filename together.

    Attributes
    ----------
    name : str
        Name of the index in error messages: the place where it is stored, if any.
    model : ModelFacts or None
        Facts about the model that computed the vectors; None if an old version wrote the index.
    embedding_size : int
        Number of dimensions of each vector.
    augmented : bool
        Whether each vector has been averaged with its nearest neighbours; see
        `siamese.indexes.gallery_augmentation.augment_gallery`.
    """

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> ModelFacts | None: ...

    @property
    def embedding_size(self) -> int: ...

    @property
    def augmented(self) -> bool: ...

    def __len__(self) -> int: ...

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the nearest neighbours, like scikit-learn's `BallTree.query`.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Unit-length query vectors.
        k : int, default 10
            Number of neighbours.
        labels : LabelFilter, optional
            Search only the pictures that match this filter; by default, search all.

        Returns
        -------
        distances : float64 array of shape (n, k)
            Ascending per query. There are fewer than k columns if fewer pictures match.
        rows : int array of the same shape

        Raises
        ------
        InputError
            If the queries have the wrong shape or are not finite, or k < 1.
        """

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """Return the metadata of the given rows, in the same order."""

    def vectors(self, rows: ArrayLike) -> NDArray[np.floating[Any]]:
        """Return the vectors of the given rows, in the same order, with shape (n, d)."""

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        """Return the rows with the given item, the given filename, or both."""

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Count the pictures of each given item; unknown items have 0."""

    def label_counts(self) -> dict[str, int]:
        """Count the pictures with each label, most frequent first."""

    def entries(self) -> Iterator[IndexedPicture]:
        """Iterate over all pictures."""

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """Add pictures.

        If rows are keys, a picture that is already in the index is replaced and keeps its row. If
        rows are positions, it is added a second time, in a new row.

        Parameters
        ----------
        vectors : array-like of shape (n, d)
            Unit-length vectors.
        metadata : sequence of n Metadata
        contents : sequence of n bytes, optional
            Hashes of the pictures' files; see `IndexedPicture`.

        Returns
        -------
        int array of shape (n,)
            Rows of the pictures.

        Raises
        ------
        InputError
            If the arguments are inconsistent with each other or with the index.
        """

    def remove(self, rows: ArrayLike) -> None:
        """Remove the pictures in the given rows."""

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write all changes, by default to where the index was opened.

        A file or folder is replaced completely or not at all.
        """
