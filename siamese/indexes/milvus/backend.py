"""Backend for Milvus collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.typing import ArrayLike

from siamese.errors import InputError
from siamese.indexes.backend import Backend, State
from siamese.indexes.index import Metadata
from siamese.indexes.milvus.collection import require_place
from siamese.indexes.milvus.connection import Connection, is_milvus
from siamese.indexes.milvus.index import MilvusIndex
from siamese.indexes.place import COLLECTION, Place
from siamese.models.facts import ModelFacts

WATCH_SECONDS = 10.0  # timeout of each request that `MilvusBackend.watch` sends


class MilvusBackend(Backend):
    """Backend for collections on a Milvus server or in a Milvus Lite folder; see `MilvusIndex`.

    The option "augment" is not supported, because adding or removing a picture would change the
    vectors of its neighbours.
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
        connection: Connection | None = None

        def read_state() -> State | None:
            nonlocal connection
            try:
                connection = connection or Connection(place, must_exist=True)
                described = connection.describe(collection, timeout=WATCH_SECONDS, retry=False)
            except InputError:  # the next search reports the error
                connection = None
                return None
            # Every build creates a collection with a new name.
            return (0, described["collection_name"]) if described else None

        return read_state
