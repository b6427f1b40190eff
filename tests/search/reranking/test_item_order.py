from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.search.reranking.reranker import item_order


def naive(scores, items, sizes, pictures):
    """Item by item."""
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
    # Scores and means that are exact in any arithmetic: ties are ties.
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=30),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.sampled_from([1, 2, 4]),
)
def test_agrees_with_a_loop(ranked, more, pictures):
    scores = sorted(float(score * 12) for score, _ in ranked)
    items = [item for _, item in ranked]
    sizes = [max(items.count(item) + more[item], 1) for item in range(6)]
    found = item_order(np.array(scores), np.array(items), np.array(sizes), pictures)
    places, sure = naive(scores, items, sizes, pictures)
    assert found.places.tolist() == places
    assert found.sure.tolist() == sure


def test_by_the_best_picture_is_the_order_of_first_appearance():
    found = item_order(np.arange(5.0), np.array([3, 3, 0, 3, 1]), np.array([1, 1, 0, 3]))
    assert found.places.tolist() == [0, 2, 4] and found.sure.all()


def test_two_good_pictures_beat_one_that_is_best():
    scores, items = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 1, 1, 0])
    sizes = np.array([2, 2])
    assert item_order(scores, items, sizes, 2).places.tolist() == [1, 0]
    # Cut off, the other picture of item 0 is at least as far as the last one seen.
    cut = item_order(scores[:3], items[:3], sizes, 2)
    assert cut.places.tolist() == [0, 1] and cut.sure.tolist() == [False, True]


@pytest.mark.parametrize("pictures", [1, 2, 5])
def test_sure_places_are_those_of_the_whole_ranking(pictures):
    rng = np.random.default_rng(pictures)
    for _ in range(20):
        scores, items = np.sort(rng.random(60)), rng.integers(9, size=60)
        sizes = np.bincount(items, minlength=9)
        whole = item_order(scores, items, sizes, pictures).places
        for depth in (5, 20, 40):
            part = item_order(scores[:depth], items[:depth], sizes, pictures)
            sure = len(part.sure) if part.sure.all() else int(np.argmin(part.sure))
            assert part.places[:sure].tolist() == whole[:sure].tolist()
