"""The Milvus backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from siamese.errors import InputError
from siamese.indexes.backend import Backend, State
from siamese.indexes.index import Metadata
from siamese.indexes.milvus.connection import Connection, is_milvus
from siamese.indexes.milvus.index import MilvusIndex
from siamese.indexes.milvus.replace import require_place
from siamese.indexes.place import COLLECTION, Place
from siamese.models.facts import ModelFacts

ANSWER_SECONDS = 10.0
"""How long a server may take to report what a collection's alias stands for."""


class MilvusBackend(Backend):
    """Collections on a Milvus server or in a Milvus Lite folder; see `MilvusIndex`.

    It does not take "augment", because pictures come and go without a rebuild, and each of them
    would change the vectors of its neighbours.
    """

    name = "milvus"
    default_place = "search_index.milvus"
    changes_in_place = True

    def recognises(self, place: Place) -> bool:
        return is_milvus(place)

    def exists(self, place: Place, collection: str = COLLECTION) -> bool:
        return bool(Connection(place, must_exist=True).call("has_collection", collection))

    def prepare(self, place: Place, collection: str = COLLECTION) -> None:
        require_place(place, collection)

    def open(
        self, place: Place, collection: str = COLLECTION, *, min_recall: float | None = None
    ) -> MilvusIndex:
        return MilvusIndex.open(place, collection)

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
    ) -> MilvusIndex:
        return MilvusIndex.build(
            vectors, metadata, model, contents, uri=place, collection=collection
        )

    def watch(self, place: Place, collection: str = COLLECTION) -> Callable[[], State | None]:
        return CollectionWatch(place, collection).state


class CollectionWatch:
    """Reads what the alias of a collection stands for; each rebuild makes a new collection.

    Parameters
    ----------
    place : path or address
    collection : str
        The alias.
    """

    def __init__(self, place: Place, collection: str) -> None:
        self._place = place
        self._collection = collection
        self._connection: Connection | None = None

    def state(self) -> State | None:
        """Return the name of the current collection, or None if Milvus does not answer."""
        options: dict[str, Any] = {"timeout": ANSWER_SECONDS, "retry": False}
        try:
            if self._connection is None:
                self._connection = Connection(self._place, must_exist=True)
            if not self._connection.call("has_collection", self._collection, **options):
                return None
            described = self._connection.call("describe_collection", self._collection, **options)
        except InputError:  # a search reports it
            self._connection = None
            return None
        return (0, described["collection_name"])
