from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from siamese.indexes.label_filter import EVERYTHING, LabelFilter, LabelTable

LABELS = st.sets(st.sampled_from("abcd"))


def test_an_empty_filter_keeps_everything():
    assert not EVERYTHING and LabelFilter.from_lists() == EVERYTHING
    assert (
        LabelFilter.from_lists(["a"])
        and LabelFilter.from_lists((), "a")
        and LabelFilter.from_lists((), (), {"a"})
    )
    assert LabelTable.from_labels([["a"], []]).mask(EVERYTHING).tolist() == [True, True]


@given(st.lists(LABELS, max_size=12), LABELS, LABELS, LABELS)
def test_the_mask_agrees_with_the_sets(rows, any_of, all_of, none_of):
    labels = LabelFilter.from_lists(any_of, all_of, none_of)
    table = LabelTable.from_labels(rows)
    expected = [
        (not any_of or bool(row & any_of)) and all_of <= row and not row & none_of for row in rows
    ]
    for _ in range(2):  # the second time from the cache
        assert table.mask(labels).tolist() == expected
        table.mask(EVERYTHING)


@given(st.lists(st.lists(st.sampled_from("abcd")), max_size=12), st.randoms())
def test_labels_are_counted_in_the_rows_of_a_mask(rows, random):
    here = np.array([random.random() < 0.5 for _ in rows], bool)
    table = LabelTable.from_labels(rows)
    left = [row for row, is_in in zip(rows, here, strict=True) if is_in]
    for mask, some in ((None, rows), (here, left)):
        counts = {label: sum(label in row for row in some) for label in "abcd"}
        found = table.counts(mask)
        assert found == {label: count for label, count in counts.items() if count}
        order = [(-count, label) for label, count in found.items()]
        assert order == sorted(order)
