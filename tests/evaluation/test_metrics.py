from __future__ import annotations

import math

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.evaluation.metrics import measure_retrieval, retrieval_metrics
from tests.evaluation.conftest import unit_vectors

COUNTS = {"queries", "gallery", "items"}


def at_angles(*degrees):
    return np.array([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees])


def test_hand_computed():
    # The gallery ranks in the order a, b, a: hits at ranks 1 and 3.
    figures = retrieval_metrics(
        at_angles(0), ["a"], gallery=at_angles(10, 20, 30), gallery_item_ids=["a", "b", "a"]
    )
    assert figures == pytest.approx(
        {
            "recall@1": 1,
            "recall@5": 1,
            "recall@10": 1,
            "precision@10": 0.2,
            "map@r": 1 / 2,  # R = 2: the hit at rank 3 is beyond R
            "map": (1 + 2 / 3) / 2,
            "ndcg@10": (1 + 1 / 2) / (1 + 1 / math.log2(3)),
            "queries": 1,
            "gallery": 3,
            "items": 2,
        }
    )
    assert all(type(value) is (int if key in COUNTS else float) for key, value in figures.items())


def test_hand_computed_leave_one_out():
    # The outer a and b find their item at rank 2, the inner ones at rank 3; c has no other.
    figures = retrieval_metrics(at_angles(0, 10, 50, 60, 180), list("ababc"))
    assert figures["queries"] == 4 and figures["gallery"] == 5 and figures["items"] == 3
    assert figures["recall@1"] == 0 and figures["map@r"] == 0
    assert figures["map"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert figures["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / 2) / 2)


def test_map_at_r_examples_of_the_paper():
    # Musgrave et al. 2020: R = 10, and among the first ten only these ranks are hits.
    angles = range(1, 21)
    for hits, expected in (([1], 0.1), ([1, 2], 0.2), ([1, 10], 0.12), (range(1, 11), 1.0)):
        late = [angle for angle in angles if angle > 10][: 10 - len(hits)]
        ids = ["a" if angle in (*hits, *late) else "b" for angle in angles]
        figures = retrieval_metrics(
            at_angles(0), ["a"], gallery=at_angles(*angles), gallery_item_ids=ids
        )
        assert figures["map@r"] == pytest.approx(expected)


def test_result_has_the_details_of_every_query():
    rng = np.random.default_rng(1)
    vectors, ids = unit_vectors(rng, 40, 5), [*rng.integers(9, size=39).tolist(), 99]
    result = measure_retrieval(vectors, ids)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    same = np.array(ids)[:, None] == np.array(ids)
    for row in range(40):
        others = np.delete(np.arange(40), row)
        own = cosines[row][others[same[row][others]]]
        assert result.relevant[row] == len(own)
        assert result.nearest_relevant[row] == pytest.approx(own.max(initial=-np.inf), abs=1e-6)
        assert result.nearest_other[row] == pytest.approx(cosines[row][~same[row]].max(), abs=1e-6)
    assert result.metrics.dtype == np.float32 and result.metrics.shape == (40, 7)
    assert np.isnan(result.metrics[~result.has_relevant]).all() and not result.has_relevant[39]


def test_own_picture_is_left_out_of_the_gallery():
    vectors = at_angles(0, 5, 90)
    gallery = {"gallery": vectors, "gallery_item_ids": ["a", "b", "a"]}
    assert retrieval_metrics(vectors[:1], ["a"], **gallery)["recall@1"] == 1
    assert retrieval_metrics(vectors[:1], ["a"], **gallery, own_rows=[0])["recall@1"] == 0
    assert retrieval_metrics(vectors[:1], ["a"], **gallery, own_rows=[0])["map"] == 0.5


def test_queries_without_a_relevant_picture_are_left_out():
    figures = retrieval_metrics(
        at_angles(0, 0), ["a", "stranger"], gallery=at_angles(1, 2), gallery_item_ids=["a", "b"]
    )
    assert figures["queries"] == 1 and figures["recall@1"] == 1


GOOD = at_angles(0, 1, 2)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: retrieval_metrics(GOOD * np.nan, "aab"), "3 of 3 have no direction"),
        (lambda: retrieval_metrics(GOOD * [[1], [np.inf], [1]], "aab"), "the first is in row 1"),
        (lambda: retrieval_metrics(GOOD * 0, "aab"), "no direction"),
        (lambda: retrieval_metrics(GOOD[0], "aa"), r"the shape is \(2,\)"),
        (lambda: retrieval_metrics(np.empty((0, 4)), []), r"the shape is \(0, 4\)"),
        (lambda: retrieval_metrics(GOOD, "aa"), "3 vectors, but 2 item ids"),
        (lambda: retrieval_metrics(GOOD, "abc"), "no query has another picture"),
        (lambda: retrieval_metrics(GOOD, "aab", own_rows=[0, 1, 2]), "need a gallery"),
        (lambda: retrieval_metrics(GOOD, "aab", gallery=GOOD), "gallery_item_ids"),
        (
            lambda: retrieval_metrics(GOOD, "aab", gallery=GOOD, gallery_item_ids="aa"),
            "3 gallery vectors, but 2",
        ),
        (
            lambda: retrieval_metrics(GOOD, "aab", gallery=np.eye(3), gallery_item_ids="aab"),
            "2 dimensions, the gallery 3",
        ),
        (
            lambda: retrieval_metrics(
                GOOD, "aab", gallery=GOOD, gallery_item_ids="aab", own_rows=[0, 1, 3]
            ),
            "between -1 and 2",
        ),
        (
            lambda: retrieval_metrics(
                GOOD, "aab", gallery=GOOD, gallery_item_ids="aab", own_rows=[0.0, 1, 2]
            ),
            "must be 3 integers",
        ),
    ],
)
def test_wrong_input_is_one_error_line(call, line):
    with pytest.raises(InputError, match=line) as caught:
        call()
    assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)
