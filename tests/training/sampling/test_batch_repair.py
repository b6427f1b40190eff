from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.training.sampling import ItemIndex
from siamese.training.sampling.batch_repair import _has_negative, _has_positive, repair_batches
from tests.training.sampling.conftest import CATALOGUES, has_both_kinds, kinds_of, rows_of


@settings(deadline=None, max_examples=50)
@given(CATALOGUES, st.integers(2, 8), st.data())
def test_pair_kinds_equal_a_naive_implementation_and_only_grow(catalogue, size, data):
    if not has_both_kinds(catalogue):
        return
    item_ids, labels = rows_of(catalogue)
    row = st.integers(0, len(item_ids) - 1)
    batches = np.array(data.draw(st.lists(st.lists(row, min_size=size, max_size=size), min_size=1)))
    items = ItemIndex(item_ids, labels)
    before = np.array([kinds_of(batch, item_ids, labels) for batch in batches])
    np.testing.assert_array_equal(_has_positive(batches, items), before[:, 0])
    np.testing.assert_array_equal(_has_negative(batches, items), before[:, 1])
    after = repair_batches(batches, items)
    assert np.sort(after, axis=None).tolist() == np.sort(batches, axis=None).tolist()
    kinds = np.array([kinds_of(batch, item_ids, labels) for batch in after])
    assert (kinds >= before).all()
    if before.all():
        np.testing.assert_array_equal(after, batches)


@pytest.mark.parametrize(
    "catalogue",
    [
        [(4, ""), (4, "")],
        [(2, "b"), (5, "ab"), (1, "a")],
        [(2, ""), (2, ""), (4, "")],
        [(7, "a"), (1, "b")],
        [(2, "a"), *[(1, "a")] * 5, (1, "b")],
        [(2, "a"), (2, "b"), (2, "c"), (2, "abc")],
    ],
    ids=str,
)
def test_nothing_better_is_possible(catalogue):
    """Two batches of four, whatever the start: as many kinds of pairs as any division has."""
    item_ids, labels = rows_of(catalogue)
    items = ItemIndex(item_ids, labels)

    def kinds(batch):
        return sum(kinds_of(batch, item_ids, labels))

    divisions = [
        [list(one), [row for row in range(8) if row not in one]]
        for one in combinations(range(8), 4)
    ]
    best = max(kinds(one) + kinds(other) for one, other in divisions)
    for division in divisions[::3]:
        one, other = repair_batches(np.array(division), items)
        assert kinds(one) + kinds(other) == best


def test_a_row_moves_to_the_batch_that_needs_it():
    # The stranger's four pictures lie in one batch of four.
    item_ids, labels = rows_of([(60, "x"), (4, "y")])
    batches = np.arange(64).reshape(4, 16)
    after = repair_batches(batches, ItemIndex(item_ids, labels))
    assert [int((batch >= 60).sum()) for batch in after] == [1, 1, 1, 1]
