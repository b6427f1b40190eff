from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.training.sampling import BatchSampler, ItemIndex, PairSampler
from tests.training.sampling.conftest import CATALOGUES, has_both_kinds, rows_of


@pytest.mark.parametrize("sampler", ["batches", "pairs"])
@pytest.mark.parametrize(
    ("catalogue", "reason"),
    [
        ([], "no positive pair"),
        ([(5, frozenset())], "there is a single item"),
        ([(1, frozenset())] * 5, "no item has two usable pictures"),
        ([(3, frozenset("a")), (3, frozenset("ab"))], "every two items share a label"),
        # Every two share one, though no label is everyone's.
        ([(2, frozenset("ab")), (2, frozenset("bc")), (2, frozenset("ca"))], "share a label"),
    ],
    ids=["nothing", "single item", "all singles", "common label", "pairwise"],
)
def test_no_pair_is_an_error_of_one_line(catalogue, reason, sampler):
    items, labels = rows_of(catalogue)
    with pytest.raises(InputError, match=reason) as raised:
        if sampler == "pairs":
            PairSampler(items, labels, seed=0)
        else:
            BatchSampler(items, labels, batch_size=8, pictures_per_item=4, seed=0)
    assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]


def test_many_label_sets_are_checked_quickly():
    catalogue = [(2, frozenset(["xy"[i // 20_000], str(i)])) for i in range(40_000)]
    items, labels = rows_of(catalogue)
    PairSampler(items, labels, seed=0)


def test_items_are_numbered_by_first_appearance():
    items = ItemIndex(list("bbcab"), ["x", "x", "y", "", "x"])
    assert items.ids == ["b", "c", "a"] and len(items) == 3
    assert items.item_of_row.tolist() == [0, 0, 1, 2, 0]
    assert [rows.tolist() for rows in items.item_rows] == [[0, 1, 4], [2], [3]]
    assert items.has_positive.tolist() == [True, True, False, False, True]


@settings(deadline=None)  # the first call imports scipy
@given(CATALOGUES)
def test_rows_that_can_be_the_anchor_of_a_negative_pair(catalogue):
    if not has_both_kinds(catalogue):
        return
    item_ids, labels = rows_of(catalogue)
    expected = [
        any(
            item_ids[row] != other and not labels[row] & catalogue[other][1]
            for other in range(len(catalogue))
        )
        for row in range(len(item_ids))
    ]
    assert ItemIndex(item_ids, labels).has_negative.tolist() == expected


@settings(deadline=None)  # the first call imports scipy
@given(CATALOGUES, st.lists(st.integers(0, 40), max_size=12), st.lists(st.integers(0, 40)))
def test_relations_follow_the_rule_for_every_pair(catalogue, rows, others):
    if not has_both_kinds(catalogue):
        return
    item_ids, labels = rows_of(catalogue)
    rows, others = (np.array(some, int) % len(item_ids) for some in (rows, others))
    expected = np.zeros((len(rows), len(others)), np.int8)
    for i, one in enumerate(rows):
        for j, other in enumerate(others):
            if item_ids[one] == item_ids[other]:
                expected[i, j] = one != other
            else:
                expected[i, j] = 0 if labels[one] & labels[other] else -1
    got = ItemIndex(item_ids, labels).relations(rows, others)
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, expected)
