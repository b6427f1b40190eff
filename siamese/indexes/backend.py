"""Interface of backends, each of which builds, opens and watches one kind of index."""

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
"""Value that changes when an index is replaced.

Between copies with equal modification times, only its first element differs.
"""


class Backend(ABC):
    """Interface of backends; each handles one kind of index, such as FAISS folders.

    Attributes
    ----------
    name : str
        Name of the backend on the command line.
    default_place : str
        Default path of a new index. Its suffix selects this backend for other paths.
    options : frozenset of {"min_recall", "augment"}
        Options that `build` supports; it ignores others.
    changes_in_place : bool
        Whether an open index reflects what other processes add and remove.
    stores_contents : bool
        Whether indexes store the hash of each picture's file; see `IndexedPicture`.
    """

    name: ClassVar[str]
    default_place: ClassVar[str]
    options: ClassVar[frozenset[str]] = frozenset()
    changes_in_place: ClassVar[bool] = False
    stores_contents: ClassVar[bool] = True

    @abstractmethod
    def recognises(self, place: Place) -> bool:
        """Return whether a place looks like an index of this backend, without opening it."""

    def exists(self, place: Place, collection: str = COLLECTION) -> bool:
        """Return whether there is an index at a place, asking the server if necessary."""
        return self.recognises(place)

    @abstractmethod
    def prepare(self, place: Place, collection: str = COLLECTION) -> None:
        """Check in advance that an index can be written to a place, or raise an `InputError`."""

    @abstractmethod
    def open(
        self, place: Place, collection: str = COLLECTION, *, min_recall: float | None = None
    ) -> Index:
        """Open the index at a place; `min_recall`, if supported, takes effect on `Index.save`."""

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
            Unit-length vectors.
        metadata : sequence of n Metadata
        contents : sequence of n bytes
            Hashes of the pictures' files; see `IndexedPicture`.
        model : ModelFacts
            Facts about the model that computed the vectors.
        collection : str, default "pictures"
            Name of the Milvus collection.
        min_recall : float, optional
            Minimum recall@10: the mean fraction of the 10 nearest pictures that searches find.
        augmented : bool, default False
            Whether the vectors come from `augment_gallery`; the index only records this.
        """

    @abstractmethod
    def watch(self, place: Place, collection: str = COLLECTION) -> Callable[[], State | None]:
        """Return a function that reads the index's `State` (None if it cannot be read)."""


def file_state(path: Path) -> State | None:
    """Return a file's inode, size and modification time, or None if it cannot be accessed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
