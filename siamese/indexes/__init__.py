"""Search indexes, with one subpackage per backend; every index implements `Index`."""

from siamese.indexes.backend import Backend
from siamese.indexes.backends import BACKENDS, find_backend, open_index
from siamese.indexes.balltree.index import BallTreeIndex
from siamese.indexes.index import Index, IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.place import COLLECTION

__all__ = [
    "BACKENDS",
    "COLLECTION",
    "EVERYTHING",
    "Backend",
    "BallTreeIndex",
    "Index",
    "IndexedPicture",
    "LabelFilter",
    "Metadata",
    "find_backend",
    "open_index",
]
