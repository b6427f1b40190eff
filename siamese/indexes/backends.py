"""Which engine: by its name when an index is made, by what lies there when it is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from numpy.typing import ArrayLike

from siamese.errors import InputError
from siamese.indexes.balltree.index import BallTreeIndex
from siamese.indexes.faiss.folder import is_index_folder
from siamese.indexes.index import Index, Metadata
from siamese.indexes.milvus.connection import COLLECTION, is_address, is_milvus
from siamese.models.facts import ModelFacts
from siamese.utils.artefacts import INDEXES, require_artefact

BACKENDS = {
    "balltree": "search_index.pkl",
    "faiss": "search_index.faiss",
    "milvus": "search_index.milvus",
}
"""The engines, and where each writes unless it is told otherwise."""


def backend_at(place: str | os.PathLike[str], collection: str = COLLECTION) -> str | None:
    """Tell which engine made the index that lies somewhere; None where there is none."""
    if is_milvus(place):
        from siamese.indexes.milvus.index import MilvusIndex

        return "milvus" if MilvusIndex.exists(place, collection) else None
    if is_index_folder(Path(place)):
        return "faiss"
    return "balltree" if Path(place).is_file() else None


def open_index(place: str | os.PathLike[str], collection: str = COLLECTION) -> Index:
    """Open an index, whatever engine made it.

    Parameters
    ----------
    place : the file of a balltree, the folder of a faiss index or of Milvus Lite, or the URI of a
        Milvus server
    collection : milvus: its name

    Raises
    ------
    InputError
        One line: it is missing, damaged, or no index.
    """
    if is_milvus(place):
        from siamese.indexes.milvus.index import MilvusIndex

        return MilvusIndex.open(place, collection)
    if is_index_folder(Path(place)):
        from siamese.indexes.faiss.index import FaissIndex

        return FaissIndex.open(place)
    if Path(place).is_dir():
        require_artefact(place, "an index", *INDEXES)
        raise InputError(
            f"{place}: a folder that is no index; give the file of a balltree (search_index.pkl), "
            "or the folder that --backend faiss or milvus wrote"
        )
    return BallTreeIndex.open(place)


def backend_for(place: str | os.PathLike[str] | None, backend: str | None) -> str:
    """Choose the engine of an index to be made.

    The one that is named; or else of what lies there, or of the ending that its places have.

    Raises
    ------
    InputError
        The two do not go together, or there is none of that name.
    """
    if backend is not None and backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}; there are {', '.join(BACKENDS)}")
    if place is not None and is_address(place):
        if backend not in (None, "milvus"):
            raise InputError(f"{place}: an address is for --backend milvus, not {backend}")
        return "milvus"
    if backend is None and place is not None:
        if is_milvus(place):
            return "milvus"
        if is_index_folder(Path(place)):
            return "faiss"
        for name, usual in BACKENDS.items():
            if Path(place).suffix == Path(usual).suffix:
                return name
    return backend or "balltree"


def build_index(
    backend: str,
    place: str | os.PathLike[str],
    vectors: ArrayLike,
    metadata: Sequence[Metadata],
    contents: Sequence[bytes],
    model: ModelFacts,
    *,
    collection: str = COLLECTION,
    min_recall: float | None = None,
    augmented: bool = False,
) -> Index:
    """Make an index and write it, whole or not at all.

    Parameters
    ----------
    backend : one of `BACKENDS`
    place : where; see `open_index`
    vectors : (n, d), of length 1
    metadata : (n,), the `Metadata` of each
    contents : (n,), see `siamese.indexes.IndexedPicture`
    model : whose vectors they are
    collection : milvus: its name
    min_recall : faiss: the share of the nearest to be found; None for its usual one
    augmented : whether the vectors are mixed with their neighbours
    """
    index: Index
    if backend == "milvus":
        from siamese.indexes.milvus.index import MilvusIndex

        return MilvusIndex.build(
            vectors, metadata, model, contents, uri=place, collection=collection
        )
    if backend == "faiss":
        from siamese.indexes.faiss.index import MIN_RECALL, FaissIndex

        index = FaissIndex.build(
            vectors,
            metadata,
            model,
            contents,
            min_recall=MIN_RECALL if min_recall is None else min_recall,
            augmented=augmented,
        )
    else:
        index = BallTreeIndex.build(vectors, metadata, model, augmented=augmented)
    index.save(place)
    return index
