from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.data.label_rule import LabelRule, pairwise_relations

ITEM = st.tuples(st.integers(0, 5), st.lists(st.sampled_from("abcd"), max_size=3))


def expected_relation(i: int, j: int, item_ids: list[int], labels: list[list[str]]) -> int:
    if i == j:
        return 0
    if item_ids[i] == item_ids[j]:
        return 1
    return 0 if set(labels[i]) & set(labels[j]) else -1


@settings(deadline=None)  # the first call imports scipy
@given(st.lists(ITEM, max_size=12))
def test_relations_match_definition(rows: list[tuple[int, list[str]]]) -> None:
    item_ids = [item_id for item_id, _ in rows]
    labels = [row_labels for _, row_labels in rows]
    n = len(rows)
    expected = [[expected_relation(i, j, item_ids, labels) for j in range(n)] for i in range(n)]

    got = pairwise_relations(item_ids, labels)

    assert got.dtype == np.int8
    assert got.shape == (n, n)
    assert got.tolist() == expected


def test_relations_example() -> None:
    got = pairwise_relations(
        ["mug", "mug", "cup", "hat", "nameless"], [["red"], ["red"], ["red", "tea"], ["wool"], []]
    )
    assert got.tolist() == [
        [0, 1, 0, -1, -1],
        [1, 0, 0, -1, -1],
        [0, 0, 0, -1, -1],
        [-1, -1, -1, 0, -1],
        [-1, -1, -1, -1, 0],
    ]


def test_labels_are_compared_as_whole_words() -> None:
    assert pairwise_relations(["a", "b"], [("red",), ("r",)])[0, 1] == -1


def test_missing_labels_raise() -> None:
    with pytest.raises(ValueError, match="2 item ids but 1 sets of labels"):
        pairwise_relations(["a", "b"], [[]])


@settings(deadline=None)  # the first call imports scipy
@given(st.lists(ITEM, min_size=1, max_size=12), st.data())
def test_negatives_are_different_items_without_common_label(rows, data) -> None:
    item_ids, labels = [item_id for item_id, _ in rows], [row_labels for _, row_labels in rows]
    number = st.integers(0, len(rows) - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(number, number), min_size=1)))
    rule = LabelRule(item_ids, labels)
    expected = [
        item_ids[i] != item_ids[j] and not set(labels[i]) & set(labels[j]) for i, j in pairs
    ]
    assert rule.are_negatives(pairs[:, 0], pairs[:, 1]).tolist() == expected
    matrix = rule.negative_matrix(pairs[:, 0], pairs[:, 1])
    assert matrix.shape == (len(pairs), len(pairs))
    assert np.diag(matrix).tolist() == expected


@pytest.mark.parametrize("tries", [LabelRule.MAX_TRIES, 0])
def test_drawn_negatives_are_equally_likely(tries, monkeypatch) -> None:
    monkeypatch.setattr(LabelRule, "MAX_TRIES", tries)
    labels = [["a"], ["b"], ["a", "b"], [], ["c"], ["a", "c"]]
    rule = LabelRule(range(6), labels)
    every = np.arange(6)
    compatible = rule.negative_matrix(every, every)
    drawn = rule.draw_negatives(np.repeat(every, 3000), np.random.default_rng(0))
    counts = np.zeros((6, 6), int)
    np.add.at(counts, (np.repeat(every, 3000), drawn), 1)
    assert ((counts > 0) == compatible).all()
    expected = 3000 / compatible.sum(axis=1, keepdims=True)
    assert (np.abs(counts - expected)[compatible] < 5 * 3000**0.5 / 2).all()


def test_anchor_without_negative_gets_minus_one(monkeypatch) -> None:
    monkeypatch.setattr(LabelRule, "MAX_PAIRS", 3)  # one row at a time
    rule = LabelRule(range(5), [["a"], ["a", "b"], ["b"], ["a", "b", "c"], ["c"]])
    drawn = rule.draw_negatives(np.array([3, 0, 3, 1]), np.random.default_rng(0))
    assert drawn[[0, 2]].tolist() == [-1, -1] and drawn[1] in (2, 4) and drawn[3] == 4
    alone = LabelRule(range(3), [["a"]] * 3)
    assert alone.draw_negatives(np.arange(3), np.random.default_rng(0)).tolist() == [-1] * 3


def test_commonest_label_has_code_0() -> None:
    numbers, ends, count = LabelRule(
        range(4), [["x"], [], ["y", "x"], ["y", "z", "y", "y"]]
    ).label_codes()
    assert [part.tolist() for part in np.split(numbers, ends[:-1])] == [[0], [], [0, 1], [1, 2]]
    assert count == 3
