"""Reading, writing and selection of the vectors in a FAISS index."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.indexes.faiss.file_check import check_file

if TYPE_CHECKING:
    import faiss


def is_graph(index: faiss.Index) -> bool:
    """Return whether an index searches a graph instead of comparing all vectors."""
    return hasattr(index, "hnsw")


def copy_to_memory(index: faiss.Index) -> faiss.Index:
    """Copy a memory-mapped index into memory, where it can be changed."""
    import faiss

    return faiss.deserialize_index(faiss.serialize_index(index))


def decode(index: faiss.Index, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
    """Return the vectors in the given rows (default: all), decoded from their stored bytes."""
    codes = codes_of(index) if rows is None else codes_of(index)[rows]
    if not len(codes):
        return np.empty((0, index.d), np.float32)
    return storage_of(index).sa_decode(np.ascontiguousarray(codes))


def select(index: faiss.Index, rows: NDArray[np.intp]) -> Any:
    """Copy the encoded bytes of the given rows to a new exact index, without decoding them."""
    import faiss

    storage = storage_of(index)
    if hasattr(storage, "sq"):
        selected = faiss.IndexScalarQuantizer(index.d, storage.sq.qtype)
        selected.sq.trained = storage.sq.trained
        selected.is_trained = True
    else:
        selected = faiss.IndexFlatL2(index.d)
    if len(rows):
        selected.add_sa_codes(np.ascontiguousarray(codes_of(index)[rows]))
    return selected


def storage_of(index: faiss.Index) -> Any:
    """Return the exact index that holds a graph's vectors, or the index if it is no graph."""
    import faiss

    return faiss.downcast_index(index.storage) if hasattr(index, "storage") else index


def codes_of(index: faiss.Index) -> NDArray[np.uint8]:
    """Return the stored bytes of all vectors, of shape (n, bytes per vector), without copying."""
    import faiss

    storage = storage_of(index)
    if not storage.ntotal:
        return np.empty((0, storage.code_size), np.uint8)
    codes = faiss.rev_swig_ptr(storage.codes.data(), storage.codes.size())
    return codes.reshape(storage.ntotal, storage.code_size)


def read_vectors(path: Path) -> faiss.Index:
    """Memory-map an index, after checking that its file is safe to search.

    The result is read-only; to add vectors, use `copy_to_memory` first.
    """
    import faiss

    check_file(path)
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError):
        raise ValueError("FAISS cannot read its vectors") from None


def write_vectors(index: faiss.Index, path: Path) -> None:
    """Write an index to a file."""
    import faiss

    try:
        faiss.write_index(index, str(path))
    except RuntimeError:  # FAISS's message names a source line, not the cause
        raise OSError(errno.EIO, "the disk may be full", str(path)) from None
    check_file(path)  # fails if this version of FAISS writes a different format
