from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.training.sampling import PairSampler
from tests.training.sampling.conftest import CATALOGUES, clustered, has_both_kinds, rows_of


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


@settings(deadline=None, max_examples=50)
@given(CATALOGUES, st.floats(0, 1), st.integers(0, 3))
def test_hard_pairs_obey_the_rule(catalogue, share, epoch):
    items, labels = rows_of(catalogue)
    if not has_both_kinds(catalogue):
        return
    sampler = PairSampler(items, labels, seed=0, hard_share=share)
    pairs, plain = sampler.draw(epoch, clustered(items)), sampler.draw(epoch)
    np.testing.assert_array_equal(pairs.anchors, plain.anchors)
    np.testing.assert_array_equal(pairs.y, plain.y)
    np.testing.assert_array_equal(pairs.others[pairs.y == 1], plain.others[pairs.y == 1])
    for anchor, other in zip(pairs.anchors[pairs.y == 0], pairs.others[pairs.y == 0], strict=True):
        assert items[anchor] != items[other]
        assert not labels[anchor] & labels[other]
    assert (pairs.others != plain.others).sum() <= round(share * (pairs.y == 0).sum())


@pytest.mark.parametrize("pool", [2048, 100])
def test_hard_negatives_are_nearer_than_random_ones_but_not_the_nearest_alone(pool, monkeypatch):
    monkeypatch.setattr(PairSampler, "POOL", pool)
    # Item i is in cluster i % 10; those of one cluster share a label with every third of it.
    items, labels = rows_of([(4, frozenset([f"{i % 10}-{i // 10 % 3}"])) for i in range(120)])
    vectors = clustered(items)
    sampler = PairSampler(items, labels, seed=0, hard_share=0.5)
    pairs, plain = sampler.draw(3, vectors), sampler.draw(3)
    hard = pairs.others != plain.others
    assert hard.sum() == pytest.approx(0.5 * (pairs.y == 0).sum(), rel=0.1)

    def cosines(pairs, of):
        return (vectors[pairs.anchors[of]] * vectors[pairs.others[of]]).sum(axis=1)

    assert np.median(cosines(pairs, hard)) > 0.9 > np.quantile(cosines(plain, hard), 0.8)
    ranks = []
    for anchor, other in zip(pairs.anchors[hard], pairs.others[hard], strict=True):
        fits = np.array([not labels[anchor] & of_row for of_row in labels])
        nearer = vectors @ vectors[anchor] > vectors[other] @ vectors[anchor] + 1e-6
        ranks.append(int((nearer & fits).sum()))
    assert np.mean(np.array(ranks) == 0) < 0.5
    if pool > len(items):
        assert max(ranks) < PairSampler.NEAREST


def test_a_pool_without_a_negative_leaves_the_random_one(monkeypatch):
    monkeypatch.setattr(PairSampler, "POOL", 1)
    items, labels = rows_of([(3, frozenset("a"))] * 20 + [(1, frozenset("b"))])
    sampler = PairSampler(items, labels, seed=0, hard_share=1.0)
    for epoch in range(5):
        pairs = sampler.draw(epoch, clustered(items))
        negative = pairs.y == 0
        assert ((pairs.anchors == 60) ^ (pairs.others == 60))[negative].all()
