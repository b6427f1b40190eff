"""Backend for FAISS folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from siamese.indexes.backend import Backend, State, file_state
from siamese.indexes.faiss.folder import require_index_folder
from siamese.indexes.faiss.index import MIN_RECALL, FaissIndex
from siamese.indexes.index import Metadata
from siamese.indexes.place import COLLECTION, Place
from siamese.models.facts import ModelFacts
from siamese.utils.artefacts import MANIFEST


class FaissBackend(Backend):
    """Backend for folders of memory-mapped FAISS files; see `FaissIndex`."""

    name = "faiss"
    default_place = "search_index.faiss"
    options = frozenset({"augment", "min_recall"})

    def recognises(self, place: Place) -> bool:
        return (Path(place) / MANIFEST).is_file()

    def prepare(self, place: Place, collection: str = COLLECTION) -> None:
        require_index_folder(Path(place))

    def open(
        self, place: Place, collection: str = COLLECTION, *, min_recall: float | None = None
    ) -> FaissIndex:
        index = FaissIndex.open(place)
        if min_recall is not None:
            index.min_recall = min_recall
        return index

    def build(
        self,
        place: Place,
        vectors: ArrayLike,
        metadata: Sequence[Metadata],
        contents: Sequence[bytes],
        model: ModelFacts,
        *,
        min_recall: float | None = None,
        augmented: bool = False,
        **_: Any,
    ) -> FaissIndex:
        index = FaissIndex.build(
            vectors,
            metadata,
            model,
            contents,
            min_recall=MIN_RECALL if min_recall is None else min_recall,
            augmented=augmented,
        )
        index.save(place)
        return index

    def watch(self, place: Place, collection: str = COLLECTION) -> Callable[[], State | None]:
        return partial(file_state, Path(place) / MANIFEST)  # written last
