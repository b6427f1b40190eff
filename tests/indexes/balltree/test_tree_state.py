from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import BallTree

from siamese.errors import InputError
from siamese.indexes import open_index
from tests.indexes.balltree.conftest import rows, unit


def nodes_with(field, row, value):
    def change(state):
        nodes = state[2].copy()
        nodes[field][row] = value
        state[2] = nodes

    return change


def array_with(part, value):
    def change(state):
        values = state[part].copy()
        values.flat[7] = value
        state[part] = values

    return change


@pytest.mark.parametrize(
    "change",
    [
        array_with(0, np.nan),
        array_with(0, np.inf),
        array_with(0, 1e300),
        array_with(1, 200),
        array_with(1, -1),
        array_with(1, 2**62),
        array_with(1, 0),
        array_with(3, np.nan),
        array_with(3, -np.inf),
        nodes_with("idx_end", 0, 201),
        nodes_with("idx_end", 3, 2**40),
        nodes_with("idx_start", 5, -(2**40)),
        nodes_with("idx_start", 6, 199),
        nodes_with("is_leaf", 6, 0),
        nodes_with("is_leaf", 0, 1),
        nodes_with("radius", 2, np.nan),
        nodes_with("radius", 2, -1),
        lambda state: state.__setitem__(0, state[0][:-1].copy()),
        lambda state: state.__setitem__(0, state[0].astype(np.float32)),
        lambda state: state.__setitem__(0, state[0][:, :5].copy()),
        lambda state: state.__setitem__(1, state[1].reshape(2, -1)),
        lambda state: state.__setitem__(2, state[2][:3].copy()),
        lambda state: state.__setitem__(3, state[3][:, :3].copy()),
        lambda state: state.__setitem__(4, 0),
        lambda state: state.__setitem__(4, "40"),
        lambda state: state.__setitem__(5, 60),
        lambda state: state.__setitem__(5, 2**60),
        lambda state: state.__setitem__(6, 2**40),
        lambda state: state.__setitem__(11, None),
        lambda state: state.__delitem__(slice(3, None)),
    ],
    ids=range(30),
)
def test_an_inconsistent_tree_is_refused(write, change):
    """A search of each of these would read outside its arrays or find wrong pictures."""
    tree = BallTree(unit(200), leaf_size=40)
    make, args, state = tree.__reduce__()
    state = list(state)
    assert len(state[2]) == 7
    change(state)

    class Hostile:
        def __reduce__(self):
            return make, args, tuple(state)

    with pytest.raises(InputError, match="damaged") as caught:
        open_index(write({"metadata": rows(200), "index": Hostile()}))
    assert "\n" not in str(caught.value)
