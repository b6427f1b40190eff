"""Validation of pickled BallTrees, so that searching them is safe."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamese.indexes.balltree.safe_pickle import PickledCall, PickledName, to_array

_NODE = np.dtype([("idx_start", "<i8"), ("idx_end", "<i8"), ("is_leaf", "<i8"), ("radius", "<f8")])
_TREE_MODULES = ("sklearn.neighbors._ball_tree", "sklearn.neighbors.ball_tree")
_METRIC_MODULES = (
    "sklearn.metrics._dist_metrics",
    "sklearn.neighbors._dist_metrics",
    "sklearn.neighbors.dist_metrics",
)
TREE_NAMES = frozenset(
    {f"{module}.{name}" for module in _TREE_MODULES for name in ("newObj", "BallTree")}
    | {
        f"{module}.{name}"
        for module in _METRIC_MODULES
        for name in ("newObj", "EuclideanDistance", "EuclideanDistance64")
    }
)
"""Names that a BallTree pickled by any version of scikit-learn may refer to."""


class TreeState(NamedTuple):
    """First part of a BallTree's pickled state.

    `order` lists the rows of `data` leaf by leaf. `centres` has shape (1, n_nodes, d).
    """

    data: NDArray[np.float64]
    order: NDArray[np.int64]
    nodes: NDArray[Any]
    centres: NDArray[np.float64]
    leaf_size: int
    n_levels: int
    n_nodes: int


def read_tree_state(pickled: object) -> TreeState:
    """Read the state of a pickled BallTree, or raise a `ValueError` if it is not safe to search.

    scikit-learn's compiled search uses these numbers as array indices without bounds checks.
    """
    match pickled:
        case PickledCall(
            args=(PickledName(name=tree),),
            state=(data, order, nodes, centres, leaf_size, n_levels, n_nodes, *_, metric, _),
        ) if tree.endswith(".BallTree"):
            pass
        case _:
            raise ValueError("its index is not a BallTree")
    match metric:
        case PickledCall(args=(PickledName(name=name),)) if "EuclideanDistance" in name:
            pass
        case _:
            raise ValueError("its distance is not Euclidean")
    state = TreeState(
        to_array(data, "<f8"),
        to_array(order, "<i8"),
        to_array(nodes, _NODE),
        to_array(centres, "<f8"),
        leaf_size,
        n_levels,
        n_nodes,
    )
    _check_shapes(state)
    if not (np.sort(state.order) == np.arange(len(state.data))).all():
        raise ValueError("the rows of its tree are not a permutation")
    _check_nodes(state)
    return state


def _check_shapes(state: TreeState) -> None:
    data, order, nodes, centres, leaf_size, n_levels, n_nodes = state
    if (
        data.ndim != 2
        or order.shape != data.shape[:1]
        or nodes.ndim != 1
        or centres.shape != (1, len(nodes), data.shape[1])
        or [type(number) for number in (leaf_size, n_levels, n_nodes)] != [int] * 3
        or not (0 < leaf_size < 2**31 and 0 < n_levels < 32)
        or not n_nodes == len(nodes) == 2**n_levels - 1
    ):
        raise ValueError("the arrays of its tree do not match")


def _check_nodes(state: TreeState) -> None:
    """Check that each inner node i splits its rows between its children, 2i + 1 and 2i + 2."""
    nodes, count = state.nodes, len(state.nodes)
    start, end, radius = nodes["idx_start"], nodes["idx_end"], nodes["radius"]
    inner, left, right = slice(0, count // 2), slice(1, None, 2), slice(2, None, 2)
    if not (
        (start[0], end[0]) == (0, len(state.data))
        and (start <= end).all()
        and (start[left] == start[inner]).all()
        and (end[left] == start[right]).all()
        and (end[right] == end[inner]).all()
        and (nodes["is_leaf"] == (np.arange(count) >= count // 2)).all()
        and (radius >= 0).all()
        and np.isfinite(radius).all()
        and np.isfinite(state.centres).all()
    ):
        raise ValueError("the nodes of its tree are inconsistent")
