"""Where vectors are searched: one file an engine, all behind one small protocol, `Index`."""

from siamese.indexes.backends import (
    BACKENDS,
    backend_at,
    backend_for,
    build_index,
    open_index,
)
from siamese.indexes.balltree.index import BallTreeIndex
from siamese.indexes.index import Index, IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.milvus.connection import COLLECTION

__all__ = [
    "BACKENDS",
    "COLLECTION",
    "EVERYTHING",
    "BallTreeIndex",
    "Index",
    "IndexedPicture",
    "LabelFilter",
    "Metadata",
    "backend_at",
    "backend_for",
    "build_index",
    "open_index",
]
