"""What every backend offers: it builds, opens and watches the indexes of one kind."""

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

Copies of one index on several machines differ only in the first element.
"""


class Backend(ABC):
    """One kind of index, such as a FAISS folder.

    Attributes
    ----------
    name : str
        The name on the command line.
    default_place : str
        Where an index is written by default. Other indexes with the same suffix are of this
        backend too.
    options : frozenset of {"min_recall", "augment"}
        The options of `build` that this backend supports.
    changes_in_place : bool
        Whether an open index shows the pictures that another process adds and removes.
    stores_contents : bool
        Whether an index stores the hash of each picture's file; see
        `siamese.indexes.IndexedPicture`.
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
        """Check whether there is an index at a place.

        Raises
        ------
        InputError
            If the server cannot be reached.
        """
        return self.recognises(place)

    @abstractmethod
    def prepare(self, place: Place, collection: str = COLLECTION) -> None:
        """Check that an index can be written to a place, before long work.

        Raises
        ------
        InputError
            If it cannot.
        """

    @abstractmethod
    def open(
        self, place: Place, collection: str = COLLECTION, *, min_recall: float | None = None
    ) -> Index:
        """Open the index at a place.

        Parameters
        ----------
        place : path or address
        collection : str, default "pictures"
            Name of the collection; for a backend with collections.
        min_recall : float, optional
            The least recall that a later `Index.save` guarantees, if it is to change.

        Raises
        ------
        InputError
            If it is missing, damaged or not an index.
        """

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

        A backend ignores the options that it does not support; see `options`.

        Parameters
        ----------
        place : path or address
        vectors : array-like of shape (n, d)
            Vectors of length 1.
        metadata : sequence of n Metadata
        contents : sequence of n bytes
            Hashes of the pictures' files; see `siamese.indexes.IndexedPicture`.
        model : ModelFacts
            Facts about the model that computed the vectors.
        collection : str, default "pictures"
        min_recall : float, optional
            The least share of the 10 nearest pictures that a search must find.
        augmented : bool, default False
            Whether each vector is mixed with its neighbours.

        Raises
        ------
        InputError
            If the arguments are invalid or the index cannot be written.
        """

    @abstractmethod
    def watch(self, place: Place, collection: str = COLLECTION) -> Callable[[], State | None]:
        """Return a function that reads the current `State` of the index at a place.

        The function returns None while the state cannot be read.
        """


def file_state(path: Path) -> State | None:
    """Return the inode, size and time of change of a file, or None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
