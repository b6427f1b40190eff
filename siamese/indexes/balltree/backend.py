"""Backend for balltree files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from siamese.indexes.backend import Backend, State, file_state
from siamese.indexes.balltree.index import BallTreeIndex
from siamese.indexes.index import Metadata
from siamese.indexes.place import COLLECTION, Place
from siamese.models.facts import ModelFacts
from siamese.utils.files import require_writable


class BallTreeBackend(Backend):
    """Backend for index files that scikit-learn opens without this package; see `BallTreeIndex`."""

    name = "balltree"
    default_place = "search_index.pkl"
    options = frozenset({"augment"})
    stores_contents = False

    def recognises(self, place: Place) -> bool:
        return Path(place).is_file()

    def prepare(self, place: Place, collection: str = COLLECTION) -> None:
        require_writable(place)

    def open(
        self, place: Place, collection: str = COLLECTION, *, min_recall: float | None = None
    ) -> BallTreeIndex:
        return BallTreeIndex.open(place)

    def build(
        self,
        place: Place,
        vectors: ArrayLike,
        metadata: Sequence[Metadata],
        contents: Sequence[bytes],
        model: ModelFacts,
        *,
        augmented: bool = False,
        **_: Any,
    ) -> BallTreeIndex:
        index = BallTreeIndex.build(vectors, metadata, model, augmented=augmented)
        index.save(place)
        return index

    def watch(self, place: Place, collection: str = COLLECTION) -> Callable[[], State | None]:
        return partial(file_state, Path(place))
