"""Vectors in FAISS: how they are laid out, how well they are found, and whether a file is sound.

Few vectors are compared one by one. Many are linked to a graph, a hierarchical navigable small
world (Malkov, Yashunin 2018, arXiv:1603.09320), and kept in half the bytes, or in a quarter.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes.faiss.file_check import check_layout
from siamese.utils.progress import progress_bar
from siamese.vectors.nearest import nearest_by_distance

if TYPE_CHECKING:
    import faiss

EXACT_PICTURES = 10_000
"""Up to here a query is compared with all of them, in half a millisecond for 256 dimensions."""
HALF_BYTES = 4 * 2**30
"""Up to here vectors are kept in 16 bits a number, beyond in 8."""
LINKS = (16, 32)
"""Neighbours that a graph keeps of a vector (M), the first unless it finds too few."""
CARE, CARE_OF_MILLIONS, MILLIONS = 200, 160, 400_000
"""Candidates a vector chooses its links from (efConstruction), and from how many vectors on it has
fewer, because linking takes so long."""
EFFORTS = (64, 96, 128, 192, 256, 384, 512)
"""Candidates that a query keeps (efSearch), each tried until enough is found …"""
AIM = 0.99
"""… which is this share, whatever is the least that is asked for …"""
GAIN = 0.0005
"""… or until the next one brings less than this."""
SAMPLE = 1_000
"""Queries by which recall is measured."""
RECALL_AT = 10
BLOCK = 2**14


class Found(msgspec.Struct, frozen=True):
    """How vectors are laid out and how well they are found.

    Attributes
    ----------
    kind : "exact", or "graph"
    bits : of each number of a vector
    links : neighbours that the graph keeps of a vector (M); 0 without
    effort : candidates that a query keeps (efSearch); 0 without a graph
    recall : share of the 10 nearest that are found, over `queries`; 1 where all are compared
    queries : how many it was measured by
    """

    kind: str
    bits: int
    links: int
    effort: int
    recall: float
    queries: int

    def __str__(self) -> str:
        if self.kind == "exact":
            return "every picture is compared, because they are few"
        return (
            f"a graph of {self.links} links over vectors of {self.bits} bits: finds "
            f"{self.recall:.4f} of the {RECALL_AT} nearest, by {self.queries:,} queries "
            f"(efSearch {self.effort})"
        )


def build(vectors: NDArray[np.float32], min_recall: float) -> tuple[faiss.Index, Found]:
    """Lay out vectors so that they are found fast, and well enough.

    Parameters
    ----------
    vectors : (n, d), of length 1
    min_recall : the share of the 10 nearest to be found

    Raises
    ------
    InputError
        No setting finds as many.
    """
    import faiss

    count, size = vectors.shape
    if count <= EXACT_PICTURES:
        flat = faiss.IndexFlatL2(size)
        flat.add(vectors)
        return flat, Found("exact", 32, 0, 0, 1.0, 0)
    sample = Sample(vectors)
    best = 0.0
    settings = [(bits, links) for bits in (8, 16) for links in LINKS]
    for bits, links in settings:
        if bits == 8 and count * size * 2 <= HALF_BYTES:
            continue
        graph = linked(vectors, bits, links)
        found = measured(graph, sample, min_recall)
        if found.recall >= min_recall:
            return graph, found
        best = max(best, found.recall)
        print(f"{found}; below {min_recall}, so tried with more", file=sys.stderr)
    raise InputError(
        f"the graph finds {best:.4f} of the nearest pictures at most, --min-recall asks for "
        f"{min_recall}; ask for less, or take --backend balltree, which finds all"
    )


def linked(vectors: NDArray[np.float32], bits: int, links: int) -> faiss.IndexHNSWSQ:
    """Link vectors to a graph, with progress."""
    import faiss

    kinds = {8: faiss.ScalarQuantizer.QT_8bit, 16: faiss.ScalarQuantizer.QT_fp16}
    graph = faiss.IndexHNSWSQ(vectors.shape[1], kinds[bits], links)
    care = CARE if len(vectors) < MILLIONS else CARE_OF_MILLIONS
    graph.hnsw.efConstruction = care * links // LINKS[0]
    graph.train(vectors[:: -(-len(vectors) // 2**17)])  # the range of each number, of a part
    with progress_bar("linking", len(vectors)) as bar:
        for start in range(0, len(vectors), BLOCK):
            graph.add(np.ascontiguousarray(vectors[start : start + BLOCK], np.float32))
            bar.update(min(BLOCK, len(vectors) - start))
    return graph


class Sample:
    """Queries with the vectors that are nearest to them, by comparing with all.

    A query is to a picture what one of its two nearest is to the other, v_i + v_j - v_k: as far
    from what is there as a new photo of a thing. A vector of the index would be too easy to find.

    Parameters
    ----------
    vectors : (n, d), of length 1
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        rng = np.random.default_rng(0)
        some = np.sort(rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False))
        starts = np.ascontiguousarray(vectors[some], np.float32)
        _, near = nearest_by_distance(starts, vectors, 3)
        moved = starts + vectors[near[:, 1]] - vectors[near[:, -1]]
        self.queries = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        self.vectors = vectors
        self.k = min(RECALL_AT, len(vectors))
        _, near = nearest_by_distance(self.queries, vectors, self.k)
        self.farthest = ((vectors[near[:, -1]] - self.queries) ** 2).sum(axis=1)[:, None] + 1e-6

    def recall(self, rows: NDArray[np.intp]) -> float:
        """The share of `rows`, int (queries, k), that are as near as the k nearest.

        By distance and not by row: of vectors that are equal, each will do.
        """
        found = self.vectors[np.maximum(rows, 0)]
        distances = ((found - self.queries[:, None]) ** 2).sum(axis=2)
        return float(((distances <= self.farthest) & (rows >= 0)).mean())


def measured(graph: faiss.IndexHNSWSQ, sample: Sample, min_recall: float) -> Found:
    """The least effort that finds enough, or beyond which no more is found, set in the graph."""
    recall = 0.0
    for effort in EFFORTS:
        before = recall
        graph.hnsw.efSearch = effort
        recall = sample.recall(graph.search(sample.queries, sample.k)[1])
        if recall >= max(AIM, min_recall) or min_recall <= recall < before + GAIN:
            break
    return Found("graph", bits_of(graph), links_of(graph), effort, recall, len(sample.queries))


def is_graph(index: faiss.Index) -> bool:
    """Whether vectors are linked, or all compared."""
    return hasattr(index, "hnsw")


def bits_of(index: faiss.Index) -> int:
    """Of each number of a vector, as it is kept."""
    return 8 * codes_of(index).shape[1] // index.d


def links_of(graph: faiss.IndexHNSWSQ) -> int:
    """Neighbours that the graph keeps of a vector, M."""
    return graph.hnsw.nb_neighbors(1)


def in_memory(index: faiss.Index) -> faiss.Index:
    """A copy of an index that is mapped from a file."""
    import faiss

    return faiss.deserialize_index(faiss.serialize_index(index))


def decoded(index: faiss.Index, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
    """The vectors of some rows, or of all, (n, d), as exact as they are kept."""
    codes = codes_of(index) if rows is None else codes_of(index)[rows]
    if not len(codes):
        return np.empty((0, index.d), np.float32)
    return store_of(index).sa_decode(np.ascontiguousarray(codes))


def version() -> str:
    """Return the version of FAISS."""
    import faiss

    return faiss.__version__


def store_of(index: faiss.Index) -> Any:
    """What compares with all vectors: the index itself, or what is under the graph."""
    import faiss

    return faiss.downcast_index(index.storage) if hasattr(index, "storage") else index


def codes_of(index: faiss.Index) -> NDArray[np.uint8]:
    """The vectors as they are kept, (n, bytes), without a copy."""
    import faiss

    store = store_of(index)
    if not store.ntotal:
        return np.empty((0, store.code_size), np.uint8)
    codes = faiss.rev_swig_ptr(store.codes.data(), store.codes.size())
    return codes.reshape(store.ntotal, store.code_size)


def some_of(index: faiss.Index, rows: NDArray[np.intp]) -> Any:
    """An index of some of the vectors, kept in the same way, that compares with all of them."""
    import faiss

    part = faiss.clone_index(empty_store(index))
    if len(rows):
        part.add_sa_codes(np.ascontiguousarray(codes_of(index)[rows]))
    return part


def empty_store(index: faiss.Index) -> Any:
    """A store without vectors that keeps them as that of an index does."""
    import faiss

    store = store_of(index)
    if not hasattr(store, "sq"):
        return faiss.IndexFlatL2(index.d)
    empty = faiss.IndexScalarQuantizer(index.d, store.sq.qtype)
    empty.sq.trained = store.sq.trained
    empty.is_trained = True
    return empty


def read(path: Path) -> faiss.Index:
    """Map an index into memory: the system reads of the file what is asked for.

    Such an index cannot be added to; see `in_memory`.

    Raises
    ------
    ValueError
        Saying what is not as in an index that `build` makes.
    """
    import faiss

    check_layout(path)
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError):
        raise ValueError("FAISS cannot read its vectors") from None


def write(index: faiss.Index, path: Path) -> None:
    """Write an index.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import faiss

    try:
        faiss.write_index(index, str(path))
    except RuntimeError:  # which tells of FAISS' own source, not of the disk
        raise OSError(errno.EIO, "the disk may be full", str(path)) from None
    check_layout(path)  # should another version of FAISS write otherwise, it is known here
