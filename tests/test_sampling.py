from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.sampling import BatchSampler, PairSampler

CATALOGUES = st.lists(
    st.tuples(st.integers(1, 6), st.frozensets(st.sampled_from("abcd"), max_size=3)),
    min_size=1,
    max_size=9,
)
"""(pictures, labels) of each item."""


def rows_of(catalogue):
    """Return the item and the labels of each row."""
    items = [item for item, (count, _) in enumerate(catalogue) for _ in range(count)]
    return items, [catalogue[item][1] for item in items]


def has_both_kinds(catalogue):
    siblings = any(count > 1 for count, _ in catalogue)
    strangers = any(
        not one & other
        for i, (_, one) in enumerate(catalogue)
        for j, (_, other) in enumerate(catalogue)
        if i != j
    )
    return siblings and strangers


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


@settings(deadline=None)
@given(CATALOGUES, st.integers(2, 20), st.integers(1, 5), st.integers(0, 3))
def test_batches_show_each_picture_once(catalogue, batch_size, pictures_per_item, epoch):
    items, labels = rows_of(catalogue)
    options = {"batch_size": batch_size, "pictures_per_item": pictures_per_item, "seed": 1}
    if not has_both_kinds(catalogue):
        with pytest.raises(InputError):
            BatchSampler(items, labels, **options)
        return
    sampler = BatchSampler(items, labels, **options)
    drawn = sampler.draw(epoch)
    assert drawn.shape == (sampler.steps, sampler.batch_size)
    assert sampler.batch_size == min(batch_size, len(items))
    assert set(drawn.ravel().tolist()) == set(range(len(items)))
    assert drawn.size - len(items) < sampler.batch_size, "more topped up than the last batch lacks"


@pytest.mark.parametrize("pictures_per_item", [1, 2, 3, 4])
@pytest.mark.parametrize("count", range(2, 12))
def test_no_picture_of_a_group_is_alone(count, pictures_per_item):
    items, labels = rows_of([(count, frozenset())] * 5)
    sampler = BatchSampler(
        items, labels, batch_size=len(items), pictures_per_item=pictures_per_item, seed=0
    )
    shown = [items[row] for row in sampler.draw(0)[0]]
    # Groups of one item are laid side by side, so each row has a neighbour of its item.
    for place, item in enumerate(shown):
        assert item in shown[max(place - 1, 0) : place] + shown[place + 1 : place + 2]


@pytest.mark.parametrize("kind", ["batches", "pairs"])
def test_every_epoch_is_another_draw_and_the_same_again(kind):
    items, labels = rows_of([(4, frozenset()), (5, frozenset("a")), (6, frozenset("a"))] * 3)

    def sampler(seed):
        if kind == "pairs":
            return PairSampler(items, labels, seed=seed)
        return BatchSampler(items, labels, batch_size=8, pictures_per_item=4, seed=seed)

    def draw(sampler, epoch):
        return np.concatenate([np.ravel(part) for part in sampler.draw(epoch)]).tolist()

    one = sampler(0)
    epochs = [draw(one, epoch) for epoch in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [draw(sampler(0), epoch) for epoch in range(4)] == epochs
    assert draw(sampler(1), 0) != epochs[0]


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
def test_where_no_pair_exists_one_line_says_so(catalogue, reason, sampler):
    items, labels = rows_of(catalogue)
    with pytest.raises(InputError, match=reason) as raised:
        if sampler == "pairs":
            PairSampler(items, labels, seed=0)
        else:
            BatchSampler(items, labels, batch_size=8, pictures_per_item=4, seed=0)
    assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]


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


def test_many_label_sets_side_by_side_are_settled_quickly():
    catalogue = [(2, frozenset(["xy"[i // 20_000], str(i)])) for i in range(40_000)]
    items, labels = rows_of(catalogue)
    PairSampler(items, labels, seed=0)
