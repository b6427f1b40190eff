"""The interface of all indexes, and what they store about a picture besides its vector."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.models.facts import ModelFacts

CONTENT_BYTES = 16
"""Size of the hash of a picture's file."""


class Metadata(TypedDict):
    """The metadata of a picture."""

    item_id: str
    filename: str
    labels: list[str]


class IndexedPicture(NamedTuple):
    """A picture of an index, as an update compares it with the catalogue.

    `row` is what `Index.query` returns. `content` is the 16-byte BLAKE2b hash of the embedded file,
    or None if the backend does not store it.
    """

    row: int
    metadata: Metadata
    content: bytes | None


class Index(Protocol):
    """Vectors of length 1, searched by Euclidean distance: ``distance² = 2 - 2 · cosine``.

    A row is the number by which an index identifies a picture, its position or a key. It is valid
    until the next `remove` or `save`. Item and filename together identify a picture, because two
    items may share a file.

    Attributes
    ----------
    name : str
        Name of the index for messages: the place where it is stored, if any.
    model : ModelFacts or None
        Facts about the model that computed the vectors; None in files of old versions.
    embedding_size : int
        Number of dimensions.
    augmented : bool
        Whether each vector is mixed with its neighbours; see
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
            Queries of length 1.
        k : int, default 10
            Number of neighbours.
        labels : LabelFilter, optional
            Which pictures to search; all by default.

        Returns
        -------
        distances : float64 array of shape (n, k)
            In ascending order; with fewer columns if there are fewer pictures.
        rows : int array of the same shape

        Raises
        ------
        InputError
            If the number of dimensions is wrong, a query is not finite, or k < 1.
        """

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """Return the metadata of some rows, in their order."""

    def vectors(self, rows: ArrayLike) -> NDArray[np.floating[Any]]:
        """Return the vectors of some rows, in their order: an array of shape (n, d)."""

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        """Return the rows of an item, of a file, or of both."""

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Count the pictures of some items, in their order."""

    def label_counts(self) -> dict[str, int]:
        """Count the pictures with each label, the most frequent label first."""

    def entries(self) -> Iterator[IndexedPicture]:
        """Iterate over all pictures."""

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """Add pictures.

        If the index identifies pictures by keys, an existing picture is replaced and keeps its
        row; otherwise it gets a second row.

        Parameters
        ----------
        vectors : array-like of shape (n, d)
            Vectors of length 1.
        metadata : sequence of n Metadata
        contents : sequence of n bytes, optional
            See `IndexedPicture`.

        Returns
        -------
        int array of shape (n,)
            The rows of the pictures.

        Raises
        ------
        InputError
            If the arguments do not match each other or the index.
        """

    def remove(self, rows: ArrayLike) -> None:
        """Remove the pictures of some rows."""

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write all changes, completely or not at all; by default to where the index was opened."""
