"""The order of results, by picture and by item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.search.ranking import rank_items
from siamese.search.reranking import Expansion, Reciprocal
from tests.search.conftest import at_angles, chord, order


def test_reranking_does_not_change_the_distances():
    searcher = at_angles(("a", 10), ("a", 25), ("a", 40), ("a", 55), ("b", -45))
    (plain,) = searcher.search([0], k=5)
    assert [result.filename for result in plain.results] == ["10", "25", "40", "-45", "55"]
    for rerank in (Expansion(neighbours=2, alpha=1), Reciprocal(k1=3, k2=1, own_share=0.3)):
        (found,) = searcher.search([0], k=5, rerank=rerank)
        assert [result.filename for result in found.results] == ["10", "25", "40", "55", "-45"]
        assert [result.rank for result in found.results] == [1, 2, 3, 4, 5]
        for result in found.results:
            assert result.distance == chord(abs(int(result.filename)))


@pytest.mark.parametrize(
    ("name", "same"), [("none", None), ("expansion", Expansion()), ("reciprocal", Reciprocal())]
)
def test_rerank_takes_a_name_or_a_reranker(name, same):
    angles = np.random.default_rng(0).uniform(0, 90, size=150)
    searcher = at_angles(*(("a", angle) for angle in angles))
    queries = range(5, 90, 5)
    found = searcher.search(queries, k=150, rerank=name)
    assert found == searcher.search(queries, k=150, rerank=same)
    assert (found == searcher.search(queries, k=150)) == (name == "none")


def test_items_are_ranked_by_their_best_picture_or_the_mean_of_three():
    pictures = [("lone", 3), ("near", 1), ("near", 50), ("near", 60), ("near", 70)]
    pictures += [("many", 4), ("many", 5), ("many", -6), ("many", 89), ("far", 80)]
    searcher = at_angles(*pictures)
    (best,) = searcher.search([0], by_item="best")
    assert order(best) == [("near", "1"), ("lone", "3"), ("many", "4"), ("far", "80")]
    (mean,) = searcher.search([0], by_item="mean")
    assert order(mean) == [("lone", "3"), ("many", "4"), ("near", "1"), ("far", "80")]
    assert [result.rank for result in mean.results] == [1, 2, 3, 4]
    assert [result.distance for result in mean.results] == [chord(a) for a in (3, 4, 1, 80)]


@pytest.mark.parametrize("by_item", ["best", "mean"])
@pytest.mark.parametrize("rerank", [None, "expansion", "reciprocal"])
def test_the_first_items_are_found_behind_any_number_of_pictures(by_item, rerank):
    # 300 pictures of one item come before the first of the next items, which have three each.
    pictures = [("crowd", angle) for angle in np.linspace(0, 30, 300)]
    pictures += [(f"few {n}", 31 + n + third / 3) for n in range(20) for third in range(3)]
    searcher = at_angles(*pictures)
    (found,) = searcher.search([0], k=4, rerank=rerank, by_item=by_item)
    assert [result.item_id for result in found.results] == ["crowd", "few 0", "few 1", "few 2"]
    (complete,) = searcher.search([0], k=99, rerank=rerank, by_item=by_item)
    assert len(complete.results) == 21
    assert order(complete)[:4] == order(found)


@pytest.mark.parametrize(
    "options", [{"rerank": Reciprocal(k1=3, own_share=0.3)}, {"by_item": "mean"}], ids=str
)
def test_pages_within_a_distance_contain_each_result_once(options):
    rng = np.random.default_rng(0)
    pictures = [(f"item {n}", a + d) for n, a in enumerate(rng.uniform(0, 90, 40)) for d in (0, 25)]
    searcher = at_angles(*pictures)
    most = 2 * np.sin(np.radians(30 / 2))
    (whole,) = searcher.search([0], k=80, max_distance=most, **options)
    assert 10 < len(whole.results) < 80
    assert all(result.distance <= most for result in whole.results)
    results = []
    for offset in range(0, 80, 4):
        (page,) = searcher.search([0], k=4, offset=offset, max_distance=most, **options)
        assert len(page.results) == min(4, max(0, len(whole.results) - offset))
        results += page.results
    assert results == whole.results


def naive_order(scores, items, sizes, pictures):
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
def test_the_order_of_items_agrees_with_a_loop(ranked, more, pictures):
    scores = sorted(float(score * 12) for score, _ in ranked)
    items = [item for _, item in ranked]
    sizes = [max(items.count(item) + more[item], 1) for item in range(6)]
    found = rank_items(np.array(scores), np.array(items), np.array(sizes), pictures)
    places, sure = naive_order(scores, items, sizes, pictures)
    assert found.positions.tolist() == places
    assert found.complete.tolist() == sure


def test_the_order_by_the_best_picture_is_that_of_first_appearance():
    found = rank_items(np.arange(5.0), np.array([3, 3, 0, 3, 1]), np.array([1, 1, 0, 3]), 1)
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
