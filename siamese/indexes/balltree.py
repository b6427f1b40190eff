"""The index that plain scikit-learn can open: one pickle with a BallTree and its metadata."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.files import atomic_path
from siamese.indexes.safe_pickle import NUMPY_NAMES, Made, Named, array, damaged, read_pickle

if TYPE_CHECKING:
    from sklearn.neighbors import BallTree

PROTOCOL = 4
"""Of the pickle: protocol 5 names functions of numpy 2 that numpy 1 does not have."""


class Metadata(TypedDict):
    """What an index knows of one picture."""

    item_id: str
    filename: str
    labels: list[str]


class ModelFacts(TypedDict):
    """Which model made an index; `path` is None for a pretrained one."""

    name: str
    fingerprint: str
    embedding_size: int
    picture_size: int
    path: str | None


class BallTreeIndex:
    """Exact nearest neighbours by Euclidean distance, on vectors of length 1.

    On such vectors the order is that of cosine: ``distance² = 2 - 2 · cosine``. Made by `build`
    or `open`. The file is a pickle of ::

        {"metadata": [{"item_id": …, "filename": …, "labels": […]}, …],
         "index": sklearn.neighbors.BallTree,
         "model": {"name", "fingerprint", "embedding_size", "picture_size", "path"}}

    Attributes
    ----------
    tree : the `sklearn.neighbors.BallTree`
    metadata : row i of the tree is ``metadata[i]``
    model : facts about the model whose vectors these are; None in files of older toolkits
    name : what to call the index in a message: its file, once it has one
    """

    def __init__(
        self, tree: BallTree, metadata: list[Metadata], model: ModelFacts | None, name: str
    ) -> None:
        self.tree = tree
        self.metadata = metadata
        self.model = model
        self.name = name

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        model: Mapping[str, Any],
    ) -> BallTreeIndex:
        """Index vectors of length 1.

        Parameters
        ----------
        vectors : (n, d)
        metadata : (n,), the `Metadata` of each vector
        model : the `ModelFacts` of the model whose vectors they are

        Raises
        ------
        InputError
            If there is nothing to index, or what is given does not fit together.
        """
        from sklearn.neighbors import BallTree

        data = np.ascontiguousarray(vectors, np.float64)
        if not data.size:
            raise InputError("no picture to index")
        try:
            checked, facts = _checked(data, list(metadata), dict(model))
        except ValueError as error:
            raise InputError(f"nothing indexed: {error}") from None
        return cls(BallTree(data, metric="euclidean"), checked, facts, "the index")

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
        content = read_pickle(path, NUMPY_NAMES | _TREE_NAMES)
        if not isinstance(content, dict) or not {"metadata", "index"} <= content.keys():
            raise InputError(f"{path}: not an index file (it has no metadata and index)")
        try:
            state = _tree_state(content["index"])
            metadata, model = _checked(state[0], content["metadata"], content.get("model"))
        except ValueError as error:
            raise damaged(path, str(error)) from None
        euclidean = DistanceMetric.get_metric("euclidean", dtype=np.float64)
        tree = BallTree.__new__(BallTree)
        tree.__setstate__((*state, 0, 0, 0, 0, euclidean, None))
        return cls(tree, metadata, model, str(path))

    def __len__(self) -> int:
        return len(self.metadata)

    @property
    def embedding_size(self) -> int:
        """Dimensions of the vectors."""
        return int(self.tree.get_arrays()[0].shape[1])

    def query(self, X: ArrayLike, k: int = 10) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the nearest neighbours, as scikit-learn's `BallTree.query`.

        Parameters
        ----------
        X : (n, d), vectors of length 1
        k : how many; as many as there are, where there are fewer

        Returns
        -------
        distances : float64 (n, k), ascending in each row
        rows : int (n, k), into `metadata`

        Raises
        ------
        InputError
            If the dimensions are not those of the index, a number is not finite, or k < 1.
        """
        X = np.asarray(X, np.float64)
        if X.ndim != 2 or X.shape[1] != self.embedding_size:
            raise InputError(
                f"{self.name}: holds vectors of {self.embedding_size} dimensions, asked for "
                f"those of shape {X.shape}; embed with the model that made the index"
            )
        if not np.isfinite(X).all():
            raise InputError("a query vector is not finite; the model that made it is broken")
        if k < 1:
            raise InputError(f"k is {k}; ask for at least 1 result")
        k = min(k, len(self))
        if not len(X):
            return np.empty((0, k)), np.empty((0, k), np.intp)
        distances, rows = self.tree.query(X, k=k)
        return distances, rows

    def vectors(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Return the vectors of some rows, float64 (n, d), of length 1."""
        return np.asarray(self.tree.get_arrays()[0])[np.asarray(rows, np.intp)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index file; it stands under its name only once it is complete.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        content = {"metadata": self.metadata, "index": self.tree, "model": self.model}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            pickle.dump(content, file, protocol=PROTOCOL)
        self.name = str(path)


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


def _checked(
    data: NDArray[np.float64], metadata: object, model: object
) -> tuple[list[Metadata], ModelFacts | None]:
    """Metadata and facts of their form and fitting to the vectors, or a ValueError."""
    if data.ndim != 2:
        raise ValueError(f"vectors of shape {data.shape}, not (pictures, dimensions)")
    length = np.sqrt(np.einsum("ij,ij->i", data, data))
    if not (np.abs(length - 1) < 1e-3).all():  # NaN is not less
        raise ValueError("vectors that are not of length 1")
    try:
        rows = msgspec.convert(metadata, list[Metadata])
        facts = msgspec.convert(model, ModelFacts | None)
    except msgspec.ValidationError as error:
        raise ValueError(f"metadata or model of another form: {error}") from None
    if len(rows) != len(data):
        raise ValueError(f"metadata of {len(rows)} pictures for {len(data)} vectors")
    if facts is not None and facts["embedding_size"] != data.shape[1]:
        raise ValueError(
            f"vectors of {data.shape[1]} dimensions, its model makes {facts['embedding_size']}"
        )
    return rows, facts
