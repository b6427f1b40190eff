"""What every engine offers, and what it keeps of a picture beside its vector."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.models.facts import ModelFacts

CONTENT_BYTES = 16
"""Of the hash of a picture's file."""


class Metadata(TypedDict):
    """What an index tells of one picture."""

    item_id: str
    filename: str
    labels: list[str]


class IndexedPicture(NamedTuple):
    """A picture of an index, for finding out what has changed since.

    Attributes
    ----------
    row : as `Index.query` returns it
    metadata : see `Metadata`
    content : BLAKE2b of the file that was embedded, 16 bytes; None where the engine keeps none
    """

    row: int
    metadata: Metadata
    content: bytes | None


class Index(Protocol):
    """Vectors of length 1, searched by Euclidean distance: ``distance² = 2 - 2 · cosine``.

    A row is the number by which an engine knows a picture: its place, or a key. It holds until
    the next `remove` or `save`. A picture is told from others by its item and its filename
    together: one file may be of two items.

    Attributes
    ----------
    name : what to call the index in a message: where it lies, once it does
    model : facts about the model whose vectors these are; None in files of older toolkits
    embedding_size : dimensions of the vectors
    augmented : whether the vectors are mixed with their neighbours, see
        `siamese.indexes.gallery_augmentation.augment_gallery`
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
        """Find the nearest neighbours, as scikit-learn's `BallTree.query`.

        Parameters
        ----------
        X : (n, d), vectors of length 1
        k : how many; as many as there are that `labels` keeps, where there are fewer
        labels : which pictures count

        Returns
        -------
        distances : float64 (n, k), ascending in each row
        rows : int (n, k)

        Raises
        ------
        InputError
            If the dimensions are not those of the index, a number is not finite, or k < 1.
        """
        ...

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """Return what is known of the pictures of some rows, in their order."""
        ...

    def vectors(self, rows: ArrayLike) -> NDArray[np.floating[Any]]:
        """Return the vectors of some rows, (n, d), of length 1, in their order."""
        ...

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        """Return the rows of an item's pictures, of a file's, or of those that are of both."""
        ...

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return how many pictures each of some items has."""
        ...

    def label_counts(self) -> dict[str, int]:
        """Return how many pictures have each label, by label, the most frequent first."""
        ...

    def entries(self) -> Iterator[IndexedPicture]:
        """Walk over all pictures."""
        ...

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """Add pictures.

        One that is there already gets a second row, unless the engine knows it by a key: then it
        is replaced, and keeps its row.

        Parameters
        ----------
        vectors : (n, d), of length 1
        metadata : (n,), the `Metadata` of each
        contents : (n,), see `Entry.content`

        Returns
        -------
        int (n,), their rows

        Raises
        ------
        InputError
            If what is given does not fit together or to the index.
        """
        ...

    def remove(self, rows: ArrayLike) -> None:
        """Remove the pictures of some rows."""
        ...

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write what was added and removed, whole or not at all.

        Parameters
        ----------
        path : where; None for where it was opened

        Raises
        ------
        InputError
            If it cannot be written.
        """
        ...
