from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.training.sampling import PairSampler
from tests.training.sampling.conftest import CATALOGUES, has_both_kinds, rows_of


@settings(deadline=None)
@given(CATALOGUES, st.integers(0, 3), st.integers(0, 3))
def test_random_pairs_obey_the_rule(catalogue, seed, epoch):
    items, labels = rows_of(catalogue)
    if not has_both_kinds(catalogue):
        with pytest.raises(InputError) as raised:
            PairSampler(items, labels, seed=seed)
        assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]
        return
    pairs = PairSampler(items, labels, seed=seed).draw(epoch)
    assert len(pairs.anchors) == len(pairs.others) == len(pairs.y) == len(items)
    assert abs(pairs.y.sum() - len(items) / 2) <= 0.5
    for anchor, other, y in zip(*pairs, strict=True):
        if y == 1:
            assert anchor != other and items[anchor] == items[other]
        else:
            assert items[anchor] != items[other]
            assert not set(labels[anchor]) & set(labels[other])


def test_a_draw_depends_on_its_epoch_and_not_on_what_was_drawn_before():
    # The last item shares a label with every other: none of its pictures anchors a negative pair,
    # and finding that out must leave no trace.
    items, labels = rows_of([(3, frozenset(letter)) for letter in "abcdef"] + [(9, set("abcdef"))])
    used, fresh = (PairSampler(items, labels, seed=5) for _ in range(2))
    for epoch in range(3):
        used.draw(epoch)
    for got, expected in zip(used.draw(3), fresh.draw(3), strict=True):
        np.testing.assert_array_equal(got, expected)
    pairs = fresh.draw(3)
    lonely = len(labels) - 9
    assert (pairs.anchors[pairs.y == 0] < lonely).all()
    assert (pairs.others[pairs.y == 0] < lonely).all()
    assert (pairs.anchors[pairs.y == 1] >= lonely).any()


def test_positives_are_drawn_evenly():
    items, labels = rows_of([(4, frozenset()), (4, frozenset())])
    sampler = PairSampler(items, labels, seed=0)
    counts = np.zeros((8, 8), int)
    for epoch in range(600):
        pairs = sampler.draw(epoch)
        positive = pairs.y == 1
        np.add.at(counts, (pairs.anchors[positive], pairs.others[positive]), 1)
    siblings = counts[:4, :4][~np.eye(4, dtype=bool)]
    assert siblings.min() > 0.75 * siblings.mean() and siblings.max() < 1.25 * siblings.mean()


def test_one_possible_pair_among_thousands_is_found():
    # 3,000 items that share "x", of which one has siblings, and one stranger.
    catalogue = [(1, frozenset(["x", str(i)])) for i in range(3000)]
    catalogue[1500] = (2, frozenset(["x"]))
    catalogue.append((1, frozenset(["stranger"])))
    items, labels = rows_of(catalogue)
    pairs = PairSampler(items, labels, seed=0).draw(0)
    positive = pairs.y == 1
    assert {*pairs.anchors[positive], *pairs.others[positive]} == {1500, 1501}
    negative_items = np.array(items)[[pairs.anchors[~positive], pairs.others[~positive]]]
    assert ((negative_items == 3000).sum(axis=0) == 1).all()
