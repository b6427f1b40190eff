"""Choose how vectors are stored and searched, so that searches are fast and find enough.

Few vectors are compared one by one. Many are linked in a graph, a hierarchical navigable small
world (Malkov and Yashunin 2018, arXiv:1603.09320), and stored with 16 or 8 bits per number.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes.faiss.vectors import codes_of
from siamese.utils.progress import progress_bar
from siamese.vectors.nearest import nearest_by_distance

if TYPE_CHECKING:
    import faiss

MAX_EXACT = 10_000
"""Up to this number of pictures, all are compared: half a millisecond for 256 dimensions."""

MAX_HALF_BYTES = 4 * 2**30
"""Up to this size, vectors are stored with 16 bits per number; larger ones with 8."""

LINKS = (16, 32)
"""Links per vector (M); the second is tried if a graph with the first finds too little."""

EF_CONSTRUCTION, EF_CONSTRUCTION_OF_MANY, MANY = 200, 160, 400_000
"""Candidates from which the links of a vector are chosen; fewer from `MANY` vectors on, whose graph
takes long to build."""

EF_SEARCH = (64, 96, 128, 192, 256, 384, 512)
"""Numbers of candidates of a query (efSearch) that `tune_graph` tries."""

TARGET_RECALL = 0.99
"""Recall at which `tune_graph` stops."""

MIN_GAIN = 0.0005
"""Once recall suffices, `tune_graph` stops at a step that gains less than this."""

SAMPLE_SIZE = 1_000
"""Number of queries that measure recall."""

RECALL_AT = 10
BLOCK_ROWS = 2**14


class Layout(msgspec.Struct, frozen=True):
    """How vectors are stored and searched, and the measured recall.

    `kind` is "exact" or "graph". An exact index has a recall of 1, without `links` and `ef_search`.
    """

    kind: str
    bits: int
    links: int
    ef_search: int = msgspec.field(name="effort")
    recall: float
    queries: int

    def __str__(self) -> str:
        if self.kind == "exact":
            return "all pictures are compared, because there are few"
        return (
            f"a graph with {self.links} links per vector and {self.bits} bits per number finds "
            f"{self.recall:.4f} of the {RECALL_AT} nearest pictures of {self.queries:,} queries "
            f"(efSearch {self.ef_search})"
        )


def build_vectors(vectors: NDArray[np.float32], min_recall: float) -> tuple[faiss.Index, Layout]:
    """Build a FAISS index that finds at least `min_recall` of the 10 nearest vectors."""
    import faiss

    count, size = vectors.shape
    if count <= MAX_EXACT:
        flat = faiss.IndexFlatL2(size)
        flat.add(vectors)
        return flat, Layout("exact", 32, 0, 0, 1.0, 0)
    sample = RecallSample(vectors)
    best = 0.0
    for bits in (8, 16):
        if bits == 8 and count * size * 2 <= MAX_HALF_BYTES:
            continue
        for links in LINKS:
            graph = build_graph(vectors, bits, links)
            layout = tune_graph(graph, sample, min_recall)
            if layout.recall >= min_recall:
                return graph, layout
            best = max(best, layout.recall)
            print(f"{layout}: below {min_recall}, building a larger one", file=sys.stderr)
    raise InputError(
        f"--min-recall {min_recall}: a graph finds at most {best:.4f} of the nearest pictures; "
        "give a lower recall, or use --backend balltree, which finds all"
    )


def build_graph(vectors: NDArray[np.float32], bits: int, links: int) -> faiss.IndexHNSWSQ:
    """Link vectors in a graph, and show progress."""
    import faiss

    quantizers = {8: faiss.ScalarQuantizer.QT_8bit, 16: faiss.ScalarQuantizer.QT_fp16}
    graph = faiss.IndexHNSWSQ(vectors.shape[1], quantizers[bits], links)
    ef_construction = EF_CONSTRUCTION if len(vectors) < MANY else EF_CONSTRUCTION_OF_MANY
    graph.hnsw.efConstruction = ef_construction * links // LINKS[0]
    graph.train(vectors[:: -(-len(vectors) // 2**17)])  # learns the range of each dimension
    with progress_bar("linking", len(vectors)) as bar:
        for start in range(0, len(vectors), BLOCK_ROWS):
            graph.add(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], np.float32))
            bar.update(min(BLOCK_ROWS, len(vectors) - start))
    return graph


def tune_graph(graph: faiss.IndexHNSWSQ, sample: RecallSample, min_recall: float) -> Layout:
    """Set the lowest efSearch that finds enough, and return it with the measured recall."""
    recall = 0.0
    for ef_search in EF_SEARCH:
        last_recall = recall
        graph.hnsw.efSearch = ef_search
        recall = sample.recall(graph.search(sample.queries, sample.k)[1])
        if recall >= max(TARGET_RECALL, min_recall):
            break
        if min_recall <= recall < last_recall + MIN_GAIN:
            break
    bits = 8 * codes_of(graph).shape[1] // graph.d
    links = graph.hnsw.nb_neighbors(1)  # on level 1, which has M; level 0 has twice as many
    return Layout("graph", bits, links, ef_search, recall, len(sample.queries))


class RecallSample:
    """Queries that measure recall, with their true nearest neighbours.

    A vector of the index itself would be too easy to find. So a query relates to a vector as its
    two nearest neighbours relate to each other, ``v_i + v_j - v_k``: it is as far from the index as
    a new photo of a known item.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        rng = np.random.default_rng(0)
        rows = np.sort(rng.choice(len(vectors), min(SAMPLE_SIZE, len(vectors)), replace=False))
        starts = np.ascontiguousarray(vectors[rows], np.float32)
        _, near = nearest_by_distance(starts, vectors, 3)
        moved = starts + vectors[near[:, 1]] - vectors[near[:, -1]]
        self.queries = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        self.k = min(RECALL_AT, len(vectors))
        self._vectors = vectors
        _, near = nearest_by_distance(self.queries, vectors, self.k)
        self._farthest = self._squared_distances(near[:, -1:]) + 1e-6

    def recall(self, rows: NDArray[np.intp]) -> float:
        """Return the share of rows that are as near as the k nearest; a row of -1 is a miss.

        Distances are compared, not rows, because of equal vectors any may be found.
        """
        distances = self._squared_distances(np.maximum(rows, 0))
        return float(((distances <= self._farthest) & (rows >= 0)).mean())

    def _squared_distances(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return ((self._vectors[rows] - self.queries[:, None]) ** 2).sum(axis=2)
