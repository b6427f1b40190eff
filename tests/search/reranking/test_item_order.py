from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.search.reranking.item_order import rank_items


def naive(scores, items, sizes, pictures):
    """Rank item by item."""
    judged = []
    for item in set(items):
        own = [(score, place) for place, score in enumerate(scores) if items[place] == item]
        counting = min(sizes[item], pictures)
        best = [score for score, _ in own[:counting]]
        missing = counting - len(best)
        mean = sum([*best, *[scores[-1]] * missing]) / counting
        judged.append((mean, own[0][1], missing == 0))
    judged.sort()
    return [place for _, place, _ in judged], [sure for *_, sure in judged]


@given(
    # Scores and means without rounding errors, so that ties are exact.
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=30),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.sampled_from([1, 2, 4]),
)
def test_agrees_with_a_loop(ranked, more, pictures):
    scores = sorted(float(score * 12) for score, _ in ranked)
    items = [item for _, item in ranked]
    sizes = [max(items.count(item) + more[item], 1) for item in range(6)]
    found = rank_items(np.array(scores), np.array(items), np.array(sizes), pictures)
    places, sure = naive(scores, items, sizes, pictures)
    assert found.positions.tolist() == places
    assert found.complete.tolist() == sure


def test_the_order_by_the_best_picture_is_that_of_first_appearance():
    found = rank_items(np.arange(5.0), np.array([3, 3, 0, 3, 1]), np.array([1, 1, 0, 3]))
    assert found.positions.tolist() == [0, 2, 4] and found.complete.all()


def test_the_mean_of_two_pictures_can_beat_the_best_one():
    scores, items = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 1, 1, 0])
    sizes = np.array([2, 2])
    assert rank_items(scores, items, sizes, 2).positions.tolist() == [1, 0]
    # If cut off, the other picture of item 0 counts as the last one in the ranking.
    cut = rank_items(scores[:3], items[:3], sizes, 2)
    assert cut.positions.tolist() == [0, 1] and cut.complete.tolist() == [False, True]


@pytest.mark.parametrize("pictures", [1, 2, 5])
def test_complete_items_are_in_the_order_of_the_whole_ranking(pictures):
    rng = np.random.default_rng(pictures)
    for _ in range(20):
        scores, items = np.sort(rng.random(60)), rng.integers(9, size=60)
        sizes = np.bincount(items, minlength=9)
        whole = rank_items(scores, items, sizes, pictures).positions
        for depth in (5, 20, 40):
            part = rank_items(scores[:depth], items[:depth], sizes, pictures)
            sure = len(part.complete) if part.complete.all() else int(np.argmin(part.complete))
            assert part.positions[:sure].tolist() == whole[:sure].tolist()
