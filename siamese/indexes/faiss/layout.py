"""Choice of how vectors are stored and searched, for fast searches with sufficient recall.

Few vectors are compared one by one. Many are linked in a hierarchical navigable small world graph
(HNSW; Malkov and Yashunin 2018, arXiv:1603.09320), and stored with 16 or 8 bits per number.
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
"""Largest number of pictures for exact search, which takes 0.5 ms per query (256 dimensions)."""

MAX_HALF_BYTES = 4 * 2**30
"""Total bytes of the vectors, at 16 bits per number, above which 8 bits are tried first."""

LINKS = (16, 32)
"""Links per vector (M); the second value is tried if recall with the first is too low."""

EF_CONSTRUCTION, EF_CONSTRUCTION_OF_MANY, MANY = 200, 160, 400_000
"""Candidates for each vector's links (efConstruction), for ``LINKS[0]`` links. The second value is
for `MANY` or more vectors, whose graph would otherwise take too long to build."""

EF_SEARCH = (64, 96, 128, 192, 256, 384, 512)
"""Candidates per query (efSearch): the values that `tune_graph` tries."""

TARGET_RECALL = 0.99
"""Recall at which `tune_graph` stops, unless `min_recall` is higher."""

MIN_GAIN = 0.0005
"""Once recall reaches `min_recall`, `tune_graph` stops when a step gains less than this."""

SAMPLE_SIZE = 1_000
"""Maximum number of queries used to measure recall."""

RECALL_AT = 10
BLOCK_ROWS = 2**14


class Layout(msgspec.Struct, frozen=True):
    """Parameters of how vectors are stored and searched, and the measured recall.

    `kind` is "exact" or "graph". For "exact", `recall` is 1, and `links` and `ef_search` are 0.
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
    """Build a FAISS index with a recall@10 of at least `min_recall`; return it and its layout."""
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
    """Build a graph index of the vectors, showing a progress bar."""
    import faiss

    quantizers = {8: faiss.ScalarQuantizer.QT_8bit, 16: faiss.ScalarQuantizer.QT_fp16}
    graph = faiss.IndexHNSWSQ(vectors.shape[1], quantizers[bits], links)
    ef_construction = EF_CONSTRUCTION if len(vectors) < MANY else EF_CONSTRUCTION_OF_MANY
    graph.hnsw.efConstruction = ef_construction * links // LINKS[0]
    graph.train(vectors[:: -(-len(vectors) // 2**17)])  # learn the range of each dimension
    with progress_bar("linking", len(vectors)) as bar:
        for start in range(0, len(vectors), BLOCK_ROWS):
            graph.add(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], np.float32))
            bar.update(min(BLOCK_ROWS, len(vectors) - start))
    return graph


def tune_graph(graph: faiss.IndexHNSWSQ, sample: RecallSample, min_recall: float) -> Layout:
    """Raise efSearch until recall suffices or no value is left; return the layout."""
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
    links = graph.hnsw.nb_neighbors(1)  # M on level 1; level 0 has twice as many
    return Layout("graph", bits, links, ef_search, recall, len(sample.queries))


class RecallSample:
    """Sample of queries, with the distances of their true neighbours, for measuring recall.

    Vectors of the index itself would be too easy to find. Instead, a query is ``v_i + v_j - v_k``,
    scaled to unit length, where v_j and v_k are the two nearest neighbours of v_i. It is about as
    far from the indexed vectors as a new photo of a known item.
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
        """Return the recall of the found rows, of shape (n, k), where -1 is a miss.

        A row is correct if it is no farther than the true k-th neighbour, so ties are all correct.
        """
        distances = self._squared_distances(np.maximum(rows, 0))
        return float(((distances <= self._farthest) & (rows >= 0)).mean())

    def _squared_distances(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return ((self._vectors[rows] - self.queries[:, None]) ** 2).sum(axis=2)
