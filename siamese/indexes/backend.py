"""The interface of a backend, which builds, opens and watches indexes of one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias

from numpy.typing import ArrayLike

from siamese.indexes.index import Index, Metadata
from siamese.indexes.place import COLLECTION, Place
from siamese.models.facts import ModelFacts

State: TypeAlias = tuple[int | str, ...]
"""A value that changes when an index is replaced.

For copies of one index on several machines, only the first element differs.
"""


class Backend(ABC):
    """One kind of index, such as a FAISS folder.

    Attributes
    ----------
    name : str
        The name on the command line.
    default_place : str
        Where an index is written by default. A new index with the same suffix is of this backend.
    options : frozenset of {"min_recall", "augment"}
        The options that `build` supports; it ignores the others.
    changes_in_place : bool
        Whether an open index shows the pictures that another process adds and removes.
    stores_contents : bool
        Whether an index stores the hash of each picture's file; see `IndexedPicture`.
    """

    name: ClassVar[str]
    default_place: ClassVar[str]
    options: ClassVar[frozenset[str]] = frozenset()
    changes_in_place: ClassVar[bool] = False
    stores_contents: ClassVar[bool] = True

    @abstractmethod
    def recognises(self, place: Place) -> bool:
        """Check whether a place looks like one of this backend, without opening it."""

    def exists(self, place: Place, collection: str = COLLECTION) -> bool:
        """Check whether there is an index at a place, if need be by asking the server."""
        return self.recognises(place)

    @abstractmethod
    def prepare(self, place: Place, collection: str = COLLECTION) -> None:
        """Raise an `InputError`, before long work, if no index can be written to a place."""

    @abstractmethod
    def open(
        self, place: Place, collection: str = COLLECTION, *, min_recall: float | None = None
    ) -> Index:
        """Open the index at a place; a later `Index.save` guarantees `min_recall` if given."""

    @abstractmethod
    def build(
        self,
        place: Place,
        vectors: ArrayLike,
        metadata: Sequence[Metadata],
        contents: Sequence[bytes],
        model: ModelFacts,
        *,
        collection: str = COLLECTION,
        min_recall: float | None = None,
        augmented: bool = False,
    ) -> Index:
        """Build an index and write it, completely or not at all.

        Parameters
        ----------
        place : path or address
        vectors : array-like of shape (n, d)
            Vectors of length 1.
        metadata : sequence of n Metadata
        contents : sequence of n bytes
            Hashes of the pictures' files; see `IndexedPicture`.
        model : ModelFacts
            Facts about the model that computed the vectors.
        collection : str, default "pictures"
            Name of the Milvus collection.
        min_recall : float, optional
            The least share of the 10 nearest pictures that a search must find.
        augmented : bool, default False
            Whether each vector is mixed with its neighbours.
        """

    @abstractmethod
    def watch(self, place: Place, collection: str = COLLECTION) -> Callable[[], State | None]:
        """Return a function that reads the `State` of an index, or None if it cannot be read."""


def file_state(path: Path) -> State | None:
    """Return the inode, size and time of change of a file, or None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
