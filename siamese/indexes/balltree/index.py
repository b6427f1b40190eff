"""The index that plain scikit-learn can open: one pickle with a BallTree and its metadata."""

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
from siamese.indexes.balltree.safe_pickle import (
    NUMPY_NAMES,
    Made,
    Named,
    array,
    damaged,
    read_pickle,
)
from siamese.indexes.index import IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter, LabelTable
from siamese.indexes.validate import checked_parts, checked_queries, given_parts
from siamese.models.facts import ModelFacts
from siamese.utils.artefacts import INDEXES, require_artefact
from siamese.utils.files import atomic_path
from siamese.vectors.nearest import nearest_by_distance

if TYPE_CHECKING:
    from sklearn.neighbors import BallTree

PROTOCOL = 4
"""Of the pickle: protocol 5 names functions of numpy 2 that numpy 1 does not have."""


class BallTreeIndex:
    """Exact nearest neighbours, in a file that scikit-learn alone can open; see `Index`.

    Made by `build` or `open`. The file is a pickle of ::

        {"metadata": [{"item_id": …, "filename": …, "labels": […]}, …],
         "index": sklearn.neighbors.BallTree,
         "model": {"name", "fingerprint", "embedding_size", "picture_size", "path"}}

    and, where the vectors are mixed with their neighbours, ``"augmented": True``.

    A tree cannot be changed: what is added or removed makes a new one when it is next needed.

    Attributes
    ----------
    metadata : row i of the tree is ``metadata[i]``
    model : facts about the model whose vectors these are; None in files of older toolkits
    name : what to call the index in a message: its file, once it has one
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
        self._by: dict[str, dict[str, list[int]]] = {}

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        model: ModelFacts,
        *,
        augmented: bool = False,
    ) -> BallTreeIndex:
        """Index vectors of length 1.

        Parameters
        ----------
        vectors : (n, d)
        metadata : (n,), the `Metadata` of each vector
        model : whose vectors they are
        augmented : whether the vectors are mixed with their neighbours

        Raises
        ------
        InputError
            If there is nothing to index, or what is given does not fit together.
        """
        from sklearn.neighbors import BallTree

        data = np.ascontiguousarray(vectors, np.float64)
        if not data.size:
            raise InputError("no pictures to index")
        checked = given_parts(data, metadata, model, "nothing indexed")
        tree = BallTree(data, metric="euclidean")
        return cls(tree, checked, model, "the index", augmented=augmented)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> BallTreeIndex:
        """Open an index file; nothing in it is executed.

        Files of any version of scikit-learn and numpy can be opened: only numbers are taken from
        the file, and only after they were found to be those of a tree.

        Raises
        ------
        InputError
            If the file is missing, damaged, no index, or holds what an index never does.
        """
        from sklearn.metrics import DistanceMetric
        from sklearn.neighbors import BallTree

        path = Path(path)
        require_artefact(path, "an index", *INDEXES)
        content = read_pickle(path, NUMPY_NAMES | _TREE_NAMES)
        if not isinstance(content, dict) or not {"metadata", "index"} <= content.keys():
            raise InputError(f"{path}: not an index file (it has no metadata and index)")
        try:
            state = _tree_state(content["index"])
            recorded = content.get("model")
            model = None if recorded is None else ModelFacts.from_dict(recorded)
            metadata = checked_parts(state[0], content["metadata"], model)
        except ValueError as error:
            raise damaged(path, str(error)) from None
        euclidean = DistanceMetric.get_metric("euclidean", dtype=np.float64)
        tree = BallTree.__new__(BallTree)
        tree.__setstate__((*state, 0, 0, 0, 0, euclidean, None))
        return cls(tree, metadata, model, str(path), augmented=content.get("augmented") is True)

    def __len__(self) -> int:
        return len(self.metadata)

    @property
    def tree(self) -> BallTree:
        """The `sklearn.neighbors.BallTree`."""
        from sklearn.neighbors import BallTree

        if self._tree is None:
            self._tree = BallTree(self._data, metric="euclidean")
            self._data = np.asarray(self._tree.get_arrays()[0])  # not twice in memory
        return self._tree

    @property
    def embedding_size(self) -> int:
        """Dimensions of the vectors."""
        return self._data.shape[1]

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """See `Index.query`; where labels leave pictures out, the others are all compared."""
        X = checked_queries(np.asarray(X, np.float64), k, self)
        if not labels:
            k = min(k, len(self))
            if not len(X) or not k:
                return np.empty((len(X), k)), np.empty((len(X), k), np.intp)
            distances, rows = self.tree.query(X, k=k)
            return distances, rows
        kept = np.flatnonzero(self._labels.mask(labels))
        return nearest_by_distance(X, self._data, k, kept)

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """See `Index.metadata_of`."""
        return [self.metadata[row] for row in np.asarray(rows, np.intp)]

    def vectors(self, rows: ArrayLike) -> NDArray[np.float64]:
        """See `Index.vectors`."""
        return self._data[np.asarray(rows, np.intp)]

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        """See `Index.find`."""
        if item_id is not None:
            rows = self._rows_of("item_id").get(item_id, [])
            rows = [row for row in rows if filename in (None, self.metadata[row]["filename"])]
        elif filename is not None:
            rows = self._rows_of("filename").get(filename, [])
        else:
            rows = list(range(len(self)))
        return np.array(rows, np.intp)

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """See `Index.item_sizes`."""
        rows = self._rows_of("item_id")
        return np.array([len(rows.get(item_id, ())) for item_id in item_ids], np.intp)

    def label_counts(self) -> dict[str, int]:
        """See `Index.label_counts`."""
        return self._labels.counts()

    def entries(self) -> Iterator[IndexedPicture]:
        """See `Index.entries`; the file has no room for what the pictures' files were."""
        return (IndexedPicture(row, known, None) for row, known in enumerate(self.metadata))

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """See `Index.add`."""
        data = np.asarray(vectors, np.float64)
        checked = given_parts(data, metadata, self.model, f"{self.name}: nothing added")
        count = len(self)
        self._become(np.concatenate([self._data, data]), [*self.metadata, *checked])
        return np.arange(count, len(self))

    def remove(self, rows: ArrayLike) -> None:
        """See `Index.remove`."""
        stays = np.ones(len(self), np.bool_)
        stays[np.asarray(rows, np.intp)] = False
        metadata = [known for known, here in zip(self.metadata, stays, strict=True) if here]
        self._become(self._data[stays], metadata)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """See `Index.save`; the file stands under its name only once it is complete."""
        path = self.name if path is None else path
        if not len(self):
            raise InputError(f"{path}: no picture is left to index")
        model = None if self.model is None else self.model.as_dict()
        content = {"metadata": self.metadata, "index": self.tree, "model": model}
        if self.augmented:
            content["augmented"] = True
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            pickle.dump(content, file, protocol=PROTOCOL)
        self.name = str(path)

    def _become(self, data: NDArray[np.float64], metadata: list[Metadata]) -> None:
        self._data, self.metadata, self._tree = data, metadata, None
        self.__dict__.pop("_labels", None)
        self._by = {}

    @cached_property
    def _labels(self) -> LabelTable:
        return LabelTable.from_labels(known["labels"] for known in self.metadata)

    def _rows_of(self, key: Literal["item_id", "filename"]) -> dict[str, list[int]]:
        """The rows of each item, or of each file."""
        if key not in self._by:
            rows: dict[str, list[int]] = {}
            for row, known in enumerate(self.metadata):
                rows.setdefault(known[key], []).append(row)
            self._by[key] = rows
        return self._by[key]


_NODE = np.dtype([("idx_start", "<i8"), ("idx_end", "<i8"), ("is_leaf", "<i8"), ("radius", "<f8")])
_TREES = frozenset({"sklearn.neighbors._ball_tree", "sklearn.neighbors.ball_tree"})
_METRICS = frozenset(
    {
        "sklearn.metrics._dist_metrics",
        "sklearn.neighbors._dist_metrics",
        "sklearn.neighbors.dist_metrics",
    }
)
_TREE_NAMES = frozenset(
    {f"{module}.{name}" for module in _TREES for name in ("newObj", "BallTree")}
    | {
        f"{module}.{name}"
        for module in _METRICS
        for name in ("newObj", "EuclideanDistance", "EuclideanDistance64")
    }
)


def _tree_state(made: object) -> tuple[Any, ...]:
    """The first seven parts of a BallTree's state, proven safe to be searched.

    The compiled search follows these numbers without looking where they lead.

    Returns
    -------
    data float64 (n, d), the order of its rows int64 (n,), the nodes (m,), their centres float64
    (1, m, d), leaf_size, n_levels, n_nodes

    Raises
    ------
    ValueError
        Saying what is not as in a tree.
    """
    match made:
        case Made(
            args=(Named(name=tree),),
            state=(data, order, nodes, centres, leaf_size, n_levels, n_nodes, *_, metric, _),
        ) if tree.endswith(".BallTree"):
            pass
        case _:
            raise ValueError("its index is no BallTree")
    match metric:
        case Made(args=(Named(name=name),)) if "EuclideanDistance" in name:
            pass
        case _:
            raise ValueError("its distance is not the Euclidean one")

    data, order = array(data, "<f8"), array(order, "<i8")
    nodes, centres = array(nodes, _NODE), array(centres, "<f8")
    count = len(nodes)
    if (
        data.ndim != 2
        or order.shape != data.shape[:1]
        or nodes.ndim != 1
        or centres.shape != (1, count, data.shape[1])
        or [type(number) for number in (leaf_size, n_levels, n_nodes)] != [int] * 3
        or not (0 < leaf_size < 2**31 and 0 < n_levels < 32)
        or not n_nodes == count == 2**n_levels - 1
    ):
        raise ValueError("the arrays of its tree do not fit together")
    if not (np.sort(order) == np.arange(len(data))).all():
        raise ValueError("the rows of its tree are not each there once")
    # Node i has the children 2i + 1 and 2i + 2, which share its rows; the last half are leaves.
    start, end, radius = nodes["idx_start"], nodes["idx_end"], nodes["radius"]
    inner, left, right = slice(0, count // 2), slice(1, None, 2), slice(2, None, 2)
    if not (
        (start[0], end[0]) == (0, len(data))
        and (start <= end).all()
        and (start[left] == start[inner]).all()
        and (end[left] == start[right]).all()
        and (end[right] == end[inner]).all()
        and (nodes["is_leaf"] == (np.arange(count) >= count // 2)).all()
        and (radius >= 0).all()
        and np.isfinite(radius).all()
        and np.isfinite(centres).all()
    ):
        raise ValueError("the nodes of its tree do not fit together")
    return data, order, nodes, centres, leaf_size, n_levels, n_nodes
