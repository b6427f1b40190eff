"""Index that scikit-learn opens without this package: a pickled BallTree with metadata."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.indexes.balltree.safe_pickle import NUMPY_NAMES, damage_error, read_pickle
from siamese.indexes.balltree.tree_state import TREE_NAMES, read_tree_state
from siamese.indexes.index import IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter, LabelTable
from siamese.indexes.validate import check_new_pictures, check_pictures, check_queries
from siamese.models.facts import ModelFacts
from siamese.utils.artefacts import INDEXES, require_artefact
from siamese.utils.files import atomic_path
from siamese.vectors.nearest import nearest_by_distance

if TYPE_CHECKING:
    from sklearn.neighbors import BallTree

PICKLE_PROTOCOL = 4
"""Arrays that NumPy 2 pickles with protocol 5 refer to functions that NumPy 1 lacks."""


class BallTreeIndex:
    """Exact index in a file that scikit-learn opens without this package; see `Index`.

    Create one with `build` or `open`. The file is a pickle of ::

        {"metadata": [{"item_id": …, "filename": …, "labels": […]}, …],
         "index": sklearn.neighbors.BallTree,
         "model": {"name", "fingerprint", "embedding_size", "picture_size", "path"}}

    with ``"augmented": True`` if the vectors come from `augment_gallery`. Files written by old
    versions have no ``"model"``. A BallTree is immutable, so adding or removing pictures discards
    it, and the next unfiltered search or `save` builds a new one.
    """

    def __init__(
        self,
        tree: BallTree,
        metadata: list[Metadata],
        model: ModelFacts | None,
        name: str,
        *,
        augmented: bool = False,
    ) -> None:
        self._tree: BallTree | None = tree
        self._data: NDArray[np.float64] = np.asarray(tree.get_arrays()[0])
        self.metadata = metadata
        self.model = model
        self.name = name
        self.augmented = augmented
        self._rows_by: dict[str, dict[str, list[int]]] = {}

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        model: ModelFacts,
        *,
        augmented: bool = False,
    ) -> BallTreeIndex:
        """Build an index in memory from unit-length vectors and their metadata."""
        from sklearn.neighbors import BallTree

        data = np.ascontiguousarray(vectors, np.float64)
        if not data.size:
            raise InputError("no pictures to index")
        pictures = check_new_pictures(data, metadata, model, "nothing indexed")
        tree = BallTree(data, metric="euclidean")
        return cls(tree, pictures, model, "the index", augmented=augmented)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> BallTreeIndex:
        """Open an index file without executing anything in it.

        Files written by any version of scikit-learn or NumPy can be opened, because only their
        numbers are read, after they have been checked.
        """
        from sklearn.metrics import DistanceMetric
        from sklearn.neighbors import BallTree

        path = Path(path)
        require_artefact(path, "an index", *INDEXES)
        content = read_pickle(path, NUMPY_NAMES | TREE_NAMES)
        if not isinstance(content, dict) or not {"metadata", "index"} <= content.keys():
            raise InputError(
                f"{path}: not an index file (it has no metadata and index); give a file that "
                "`siamese index` wrote"
            )
        try:
            state = read_tree_state(content["index"])
            recorded = content.get("model")
            model = None if recorded is None else ModelFacts.from_dict(recorded)
            metadata = check_pictures(state.data, content["metadata"], model)
        except ValueError as error:
            raise damage_error(path, str(error)) from None
        euclidean = DistanceMetric.get_metric("euclidean", dtype=np.float64)
        tree = BallTree.__new__(BallTree)
        tree.__setstate__((*state, 0, 0, 0, 0, euclidean, None))
        return cls(tree, metadata, model, str(path), augmented=content.get("augmented") is True)

    def __len__(self) -> int:
        return len(self.metadata)

    @property
    def tree(self) -> BallTree:
        """The `sklearn.neighbors.BallTree`, built if necessary."""
        from sklearn.neighbors import BallTree

        if self._tree is None:
            self._tree = BallTree(self._data, metric="euclidean")
            self._data = np.asarray(self._tree.get_arrays()[0])  # share its array, to save memory
        return self._tree

    @property
    def embedding_size(self) -> int:
        return self._data.shape[1]

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        X = check_queries(np.asarray(X, np.float64), k, self)
        if not labels:
            k = min(k, len(self))
            if not len(X) or not k:
                return np.empty((len(X), k)), np.empty((len(X), k), np.intp)
            distances, rows = self.tree.query(X, k=k)
            return distances, rows
        rows = np.flatnonzero(self._labels.mask(labels))
        return nearest_by_distance(X, self._data, k, rows)

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        return [self.metadata[row] for row in np.asarray(rows, np.intp)]

    def vectors(self, rows: ArrayLike) -> NDArray[np.float64]:
        return self._data[np.asarray(rows, np.intp)]

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        if item_id is not None:
            rows = self._rows_of("item_id").get(item_id, [])
            rows = [row for row in rows if filename in (None, self.metadata[row]["filename"])]
        elif filename is not None:
            rows = self._rows_of("filename").get(filename, [])
        else:
            rows = list(range(len(self)))
        return np.array(rows, np.intp)

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        rows = self._rows_of("item_id")
        return np.array([len(rows.get(item_id, ())) for item_id in item_ids], np.intp)

    def label_counts(self) -> dict[str, int]:
        return self._labels.counts()

    def entries(self) -> Iterator[IndexedPicture]:
        return (IndexedPicture(row, metadata, None) for row, metadata in enumerate(self.metadata))

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        data = np.asarray(vectors, np.float64)
        pictures = check_new_pictures(data, metadata, self.model, f"{self.name}: nothing added")
        count = len(self)
        self._set(np.concatenate([self._data, data]), [*self.metadata, *pictures])
        return np.arange(count, len(self))

    def remove(self, rows: ArrayLike) -> None:
        remaining = np.delete(np.arange(len(self)), np.asarray(rows, np.intp))
        self._set(self._data[remaining], self.metadata_of(remaining))

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        path = self.name if path is None else path
        if not len(self):
            raise InputError(f"{path}: a balltree index cannot be empty; keep at least one picture")
        model = None if self.model is None else self.model.as_dict()
        content = {"metadata": self.metadata, "index": self.tree, "model": model}
        if self.augmented:
            content["augmented"] = True
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            pickle.dump(content, file, protocol=PICKLE_PROTOCOL)
        self.name = str(path)

    def _set(self, data: NDArray[np.float64], metadata: list[Metadata]) -> None:
        self._data, self.metadata, self._tree = data, metadata, None
        self.__dict__.pop("_labels", None)
        self._rows_by = {}

    @cached_property
    def _labels(self) -> LabelTable:
        return LabelTable.from_labels(picture["labels"] for picture in self.metadata)

    def _rows_of(self, key: Literal["item_id", "filename"]) -> dict[str, list[int]]:
        """Return the rows of each item or of each filename, as a cached dictionary."""
        if key not in self._rows_by:
            rows_of: dict[str, list[int]] = {}
            for row, picture in enumerate(self.metadata):
                rows_of.setdefault(picture[key], []).append(row)
            self._rows_by[key] = rows_of
        return self._rows_by[key]
