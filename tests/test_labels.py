from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.labels import relations

ITEM = st.tuples(st.integers(0, 5), st.lists(st.sampled_from("abcd"), max_size=3))


def naive_relation(i: int, j: int, item_ids: list[int], labels: list[list[str]]) -> int:
    if i == j:
        return 0
    if item_ids[i] == item_ids[j]:
        return 1
    return 0 if set(labels[i]) & set(labels[j]) else -1


@given(st.lists(ITEM, max_size=12))
def test_is_the_rule_said_pair_by_pair(rows: list[tuple[int, list[str]]]) -> None:
    item_ids = [item_id for item_id, _ in rows]
    labels = [of_row for _, of_row in rows]
    n = len(rows)
    expected = [[naive_relation(i, j, item_ids, labels) for j in range(n)] for i in range(n)]

    got = relations(item_ids, labels)

    assert got.dtype == np.int8
    assert got.shape == (n, n)
    assert got.tolist() == expected


def test_an_example_to_read() -> None:
    got = relations(
        ["mug", "mug", "cup", "hat", "nameless"], [["red"], ["red"], ["red", "tea"], ["wool"], []]
    )
    assert got.tolist() == [
        [0, 1, 0, -1, -1],
        [1, 0, 0, -1, -1],
        [0, 0, 0, -1, -1],
        [-1, -1, -1, 0, -1],
        [-1, -1, -1, -1, 0],
    ]


def test_a_label_is_a_whole_word() -> None:
    assert relations(["a", "b"], [("red",), ("r",)])[0, 1] == -1


def test_a_row_without_its_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="2 item ids but 1 sets of labels"):
        relations(["a", "b"], [[]])
