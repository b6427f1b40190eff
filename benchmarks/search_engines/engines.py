"""The search engines: the backends of this project and their peers, behind one interface.

A process loads the libraries of one engine only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from search_engines.vectors import SELDOM, K, metadata


class Engine(Protocol):
    """One way to search.

    An engine that can filter also has `seldom_query`: like `query`, among the pictures with the
    label `SELDOM`.

    Attributes
    ----------
    title : str
        Name in the table.
    modules : tuple of str
        Modules that are imported before anything is measured.
    packages : tuple of str
        Packages whose versions are reported.
    """

    title: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]
    packages: ClassVar[tuple[str, ...]]

    def prepare(self, data: Path) -> Any:
        """Return the input of `build`; this is not measured."""
        ...

    def build(self, prepared: Any, path: Path) -> None:
        """Build the files at a path."""
        ...

    def open(self, path: Path) -> None:
        """Open the files for queries."""
        ...

    def query(self, X: NDArray[np.float32]) -> Any:
        """Find the 10 nearest vectors of each query; the result is of any type."""
        ...

    def rows(self, answer: Any) -> NDArray[np.intp]:
        """Convert a result of `query` to the rows of the vectors, int (n, 10)."""
        ...


class Ours:
    """An index of this project, opened with `siamese.open_index`."""

    modules = ("siamese.indexes", "siamese.search.searcher")

    def __init__(self) -> None:
        from siamese.indexes import LabelFilter

        self._seldom = LabelFilter.from_lists(any_of=[SELDOM])

    def prepare(self, data: Path) -> Any:
        from siamese.models.facts import ModelFacts

        vectors = np.load(data / "vectors.npy", mmap_mode="r")
        return (
            vectors,
            metadata(data),
            ModelFacts("benchmark", "0" * 64, vectors.shape[1], 224, None),
        )

    def open(self, path: Path) -> None:
        from siamese.indexes import open_index

        self.index = open_index(path)

    def query(self, X: NDArray[np.float32]) -> Any:
        return self.index.query(X, K)

    def seldom_query(self, X: NDArray[np.float32]) -> Any:
        return self.index.query(X, K, self._seldom)

    def rows(self, answer: Any) -> NDArray[np.intp]:
        # A row of an index may be a key; the filename is the row of the vector.
        _, found = answer
        names = [known["filename"] for known in self.index.metadata_of(found.ravel())]
        return np.array([int(Path(name).stem) for name in names], np.intp).reshape(found.shape)


class BallTree(Ours):
    """The default backend, which is exact."""

    title = "**BallTree**"
    modules = (*Ours.modules, "sklearn.neighbors")
    packages = ("scikit-learn",)

    def build(self, prepared: Any, path: Path) -> None:
        from siamese.indexes import BallTreeIndex

        BallTreeIndex.build(*prepared).save(path)


class Faiss(Ours):
    """The FAISS backend of this project."""

    title = "**faiss**"
    modules = (*Ours.modules, "siamese.indexes.faiss.index", "faiss", "pyarrow")
    packages = ("faiss-cpu",)
    min_recall = 0.98

    def build(self, prepared: Any, path: Path) -> None:
        from siamese.indexes.faiss.index import FaissIndex

        FaissIndex.build(*prepared, min_recall=self.min_recall).save(path)


class Milvus(Ours):
    """The Milvus backend of this project, with Milvus Lite."""

    title = "**Milvus Lite**"
    modules = (*Ours.modules, "siamese.indexes.milvus.index", "pymilvus", "milvus_lite")
    packages = ("pymilvus", "milvus-lite")

    def build(self, prepared: Any, path: Path) -> None:
        from siamese.indexes.milvus.index import MilvusIndex

        MilvusIndex.build(*prepared, uri=path)


class BruteForce:
    """Exact search of scikit-learn; with a label, among copies of the vectors that have it."""

    title = "scikit-learn, brute force"
    modules = ("sklearn.neighbors",)
    packages = ("scikit-learn",)

    def prepare(self, data: Path) -> Any:
        return data

    def build(self, prepared: Any, path: Path) -> None:
        path.mkdir()
        np.save(path / "vectors.npy", np.load(prepared / "vectors.npy", mmap_mode="r"))
        np.save(path / "seldom.npy", seldom_rows(prepared))

    def open(self, path: Path) -> None:
        from sklearn.neighbors import NearestNeighbors

        vectors = np.load(path / "vectors.npy")
        self._seldom = np.load(path / "seldom.npy")
        self._all, self._some = (
            NearestNeighbors(n_neighbors=min(K, len(of)), algorithm="brute").fit(of)
            for of in (vectors, vectors[self._seldom])
        )

    def query(self, X: NDArray[np.float32]) -> Any:
        return self._all.kneighbors(X)[1]

    def seldom_query(self, X: NDArray[np.float32]) -> Any:
        return self._seldom[self._some.kneighbors(X)[1]]

    def rows(self, answer: Any) -> NDArray[np.intp]:
        return answer


class Peer:
    """A graph of another library with its default parameters, except for `ef`.

    Attributes
    ----------
    ef : int
        Number of candidates that a search keeps; more candidates find more.
    """

    ef: int

    def prepare(self, data: Path) -> Any:
        return np.load(data / "vectors.npy"), seldom_rows(data)

    def rows(self, answer: Any) -> NDArray[np.intp]:
        return answer


class Usearch(Peer):
    """usearch with half-precision vectors, memory-mapped; it has no filters in Python."""

    title = "usearch, float16"
    modules = ("usearch.index",)
    packages = ("usearch",)

    def build(self, prepared: Any, path: Path) -> None:
        from usearch.index import Index

        vectors, _ = prepared
        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16")
        index.add(np.arange(len(vectors)), vectors)
        index.save(path)

    def open(self, path: Path) -> None:
        from usearch.index import Index

        self._index = Index.restore(path, view=True)

    @property
    def ef(self) -> int:
        return self._index.expansion_search

    @ef.setter
    def ef(self, value: int) -> None:
        self._index.expansion_search = value

    def query(self, X: NDArray[np.float32]) -> Any:
        return self._index.search(X, K).keys.reshape(len(X), -1).astype(np.intp)


class Hnswlib(Peer):
    """hnswlib with float32 vectors; its filter is a Python function called for each candidate."""

    title = "hnswlib"
    modules = ("hnswlib",)
    packages = ("hnswlib",)

    def build(self, prepared: Any, path: Path) -> None:
        import hnswlib

        vectors, seldom = prepared
        path.mkdir()
        np.savez(path / "about.npz", shape=vectors.shape, seldom=seldom)
        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors))
        index.add_items(vectors)
        index.save_index(str(path / "index.bin"))

    def open(self, path: Path) -> None:
        import hnswlib

        about = np.load(path / "about.npz")
        count, dimensions = about["shape"].tolist()
        seldom = np.zeros(count, np.bool_)
        seldom[about["seldom"]] = True
        self._seldom, self._count = seldom.tolist(), int(seldom.sum())
        self._index = hnswlib.Index(space="ip", dim=dimensions)
        self._index.load_index(str(path / "index.bin"), max_elements=count)

    @property
    def ef(self) -> int:
        return self._index.ef

    @ef.setter
    def ef(self, value: int) -> None:
        self._index.set_ef(value)

    def query(self, X: NDArray[np.float32]) -> Any:
        return self._index.knn_query(X, K)[0].astype(np.intp)

    def seldom_query(self, X: NDArray[np.float32]) -> Any:
        k = min(K, self._count)  # it fails if there are fewer than k
        found, _ = self._index.knn_query(X, k, num_threads=1, filter=self._seldom.__getitem__)
        return found.astype(np.intp)


def seldom_rows(data: Path) -> NDArray[np.intp]:
    """Return the rows of the pictures with the label `SELDOM`."""
    return np.flatnonzero(np.load(data / "items.npy") % 100 == 0)


ENGINES = {
    "balltree": BallTree,
    "sklearn": BruteForce,
    "faiss": Faiss,
    "milvus": Milvus,
    "usearch": Usearch,
    "hnswlib": Hnswlib,
}
"""The engines by the names of `--engines`, in the order of the table."""

PEERS = ("usearch", "hnswlib")
"""Engines in an environment of their own, measured at the recall of the FAISS backend."""
