"""Search engines to compare: the backends of this project and other libraries.

They share one interface. A process loads only the libraries of its engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from search_engines.vectors import RARE_LABEL, K, read_metadata


class Engine(Protocol):
    """Interface of a search engine.

    An engine with label filters also has `query_filtered`, which searches only the pictures with
    the label `RARE_LABEL`.

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
        """Load the input of `build`, which is not measured."""
        ...

    def build(self, prepared: Any, path: Path) -> None:
        """Build the files at a path."""
        ...

    def open(self, path: Path) -> None:
        """Open the files for queries."""
        ...

    def query(self, X: NDArray[np.float32]) -> Any:
        """Find the 10 nearest vectors of each query, in the type of the library."""
        ...

    def extract_rows(self, result: Any) -> NDArray[np.intp]:
        """Convert a result of `query` to rows of the vectors, an int array of shape (n, 10)."""
        ...


class ProjectIndex:
    """Base class of the backends of this project, opened with `siamese.open_index`."""

    modules = ("siamese.indexes", "siamese.search.searcher")

    def __init__(self) -> None:
        from siamese.indexes import LabelFilter

        self._filter = LabelFilter.from_lists(any_of=[RARE_LABEL])

    def prepare(self, data: Path) -> Any:
        from siamese.models.facts import ModelFacts

        vectors = np.load(data / "vectors.npy", mmap_mode="r")
        return (
            vectors,
            read_metadata(data),
            ModelFacts("benchmark", "0" * 64, vectors.shape[1], 224, None),
        )

    def open(self, path: Path) -> None:
        from siamese.indexes import open_index

        self.index = open_index(path)

    def query(self, X: NDArray[np.float32]) -> Any:
        return self.index.query(X, K)

    def query_filtered(self, X: NDArray[np.float32]) -> Any:
        return self.index.query(X, K, self._filter)

    def extract_rows(self, result: Any) -> NDArray[np.intp]:
        # A backend may return keys instead of rows; the filenames contain the rows.
        _, rows = result
        names = [picture["filename"] for picture in self.index.metadata_of(rows.ravel())]
        return np.array([int(Path(name).stem) for name in names], np.intp).reshape(rows.shape)


class BallTree(ProjectIndex):
    """BallTree backend, the default, which is exact."""

    title = "**BallTree**"
    modules = (*ProjectIndex.modules, "sklearn.neighbors")
    packages = ("scikit-learn",)

    def build(self, prepared: Any, path: Path) -> None:
        from siamese.indexes import BallTreeIndex

        BallTreeIndex.build(*prepared).save(path)


class Faiss(ProjectIndex):
    """FAISS backend of this project."""

    title = "**faiss**"
    modules = (*ProjectIndex.modules, "siamese.indexes.faiss.index", "faiss", "pyarrow")
    packages = ("faiss-cpu",)
    min_recall = 0.98

    def build(self, prepared: Any, path: Path) -> None:
        from siamese.indexes.faiss.index import FaissIndex

        FaissIndex.build(*prepared, min_recall=self.min_recall).save(path)


class Milvus(ProjectIndex):
    """Milvus backend of this project, with Milvus Lite."""

    title = "**Milvus Lite**"
    modules = (*ProjectIndex.modules, "siamese.indexes.milvus.index", "pymilvus", "milvus_lite")
    packages = ("pymilvus", "milvus-lite")

    def build(self, prepared: Any, path: Path) -> None:
        from siamese.indexes.milvus.index import MilvusIndex

        MilvusIndex.build(*prepared, uri=path)


class BruteForce:
    """Exact search of scikit-learn, fitted once more on the pictures with `RARE_LABEL`."""

    title = "scikit-learn, brute force"
    modules = ("sklearn.neighbors",)
    packages = ("scikit-learn",)

    def prepare(self, data: Path) -> Any:
        return data

    def build(self, prepared: Any, path: Path) -> None:
        path.mkdir()
        np.save(path / "vectors.npy", np.load(prepared / "vectors.npy", mmap_mode="r"))
        np.save(path / "rare_rows.npy", find_rare_rows(prepared))

    def open(self, path: Path) -> None:
        from sklearn.neighbors import NearestNeighbors

        vectors = np.load(path / "vectors.npy")
        self._rare_rows = np.load(path / "rare_rows.npy")
        self._unfiltered, self._filtered = (
            NearestNeighbors(n_neighbors=min(K, len(data)), algorithm="brute").fit(data)
            for data in (vectors, vectors[self._rare_rows])
        )

    def query(self, X: NDArray[np.float32]) -> Any:
        return self._unfiltered.kneighbors(X)[1]

    def query_filtered(self, X: NDArray[np.float32]) -> Any:
        return self._rare_rows[self._filtered.kneighbors(X)[1]]

    def extract_rows(self, result: Any) -> NDArray[np.intp]:
        return result


class Peer:
    """Base class of the graphs of other libraries, with default parameters except for `ef`.

    Attributes
    ----------
    ef : int
        Number of candidates in a search. A larger number increases recall and time.
    """

    ef: int

    def prepare(self, data: Path) -> Any:
        return np.load(data / "vectors.npy"), find_rare_rows(data)

    def extract_rows(self, result: Any) -> NDArray[np.intp]:
        return result


class Usearch(Peer):
    """Memory-mapped usearch graph of float16 vectors, without filters in Python."""

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
    """Graph of hnswlib with float32 vectors, which calls a Python function to filter."""

    title = "hnswlib"
    modules = ("hnswlib",)
    packages = ("hnswlib",)

    def build(self, prepared: Any, path: Path) -> None:
        import hnswlib

        vectors, rare_rows = prepared
        path.mkdir()
        np.savez(path / "catalogue.npz", shape=vectors.shape, rare_rows=rare_rows)
        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors))
        index.add_items(vectors)
        index.save_index(str(path / "index.bin"))

    def open(self, path: Path) -> None:
        import hnswlib

        catalogue = np.load(path / "catalogue.npz")
        count, dimensions = catalogue["shape"].tolist()
        is_rare = np.zeros(count, np.bool_)
        is_rare[catalogue["rare_rows"]] = True
        self._is_rare, self._rare_count = is_rare.tolist(), int(is_rare.sum())
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

    def query_filtered(self, X: NDArray[np.float32]) -> Any:
        k = min(K, self._rare_count)  # hnswlib fails if fewer than k vectors pass the filter
        rows, _ = self._index.knn_query(X, k, num_threads=1, filter=self._is_rare.__getitem__)
        return rows.astype(np.intp)


def find_rare_rows(data: Path) -> NDArray[np.intp]:
    """Return the rows of the pictures with the label `RARE_LABEL`."""
    return np.flatnonzero(np.load(data / "items.npy") % 100 == 0)


ENGINES = {
    "balltree": BallTree,
    "sklearn": BruteForce,
    "faiss": Faiss,
    "milvus": Milvus,
    "usearch": Usearch,
    "hnswlib": Hnswlib,
}
"""Engines by their names for `--engines`, in the order of the table."""

PEERS = ("usearch", "hnswlib")
"""Engines in a separate environment, measured at the recall of the FAISS backend."""
