from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.evaluation import metrics
from siamese.evaluation import relevant_ranks as ranking
from siamese.evaluation.metrics import measure_retrieval, retrieval_metrics

COUNTS = {"queries", "gallery", "items"}
# Their cosines are multiples of 1/4, exact in any arithmetic: ties are ties.
AXES = [sign * axis for sign in (1, -1) for axis in np.eye(4)]
EXACT = AXES + [np.array(signs) / 2 for signs in itertools.product((1, -1), repeat=4)]


def naive(vectors, item_ids, gallery=None, gallery_item_ids=None, own_rows=None):
    """The definitions, picture by picture."""
    if gallery is None:
        gallery, gallery_item_ids, own_rows = vectors, item_ids, range(len(vectors))
    own_rows = [-1] * len(vectors) if own_rows is None else own_rows
    rows = {name: [] for name in metrics.METRICS}
    for vector, item_id, own in zip(vectors, item_ids, own_rows, strict=True):
        others = [row for row in range(len(gallery)) if row != own]
        others.sort(key=lambda row: -float(np.dot(vector, gallery[row])))  # a stable sort
        hits = [gallery_item_ids[row] == item_id for row in others]
        r = sum(hits)
        if r == 0:
            continue
        precision = [sum(hits[:place]) / place for place in range(1, len(hits) + 1)]
        for k in (1, 5, 10):
            rows[f"recall@{k}"].append(float(any(hits[:k])))
        rows["precision@10"].append(sum(hits[:10]) / 10)
        rows["map@r"].append(sum(p * hit for p, hit in zip(precision[:r], hits, strict=False)) / r)
        rows["map"].append(sum(p * hit for p, hit in zip(precision, hits, strict=True)) / r)
        gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits[:10]))
        ideal = sum(1 / math.log2(place + 2) for place in range(min(r, 10)))
        rows["ndcg@10"].append(gain / ideal)
    figures = {name: sum(values) / len(values) for name, values in rows.items()}
    return {
        **figures,
        "queries": len(rows["map"]),
        "gallery": len(gallery),
        "items": len(set(gallery_item_ids)),
    }


def unit(rng, count, size):
    vectors = rng.normal(size=(count, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def at_angles(*degrees):
    return np.array([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees])


def test_hand_computed():
    # The gallery stands in the order a, b, a: hits at ranks 1 and 3.
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
    # The outer a and b find their item at rank 2, the inner ones at rank 3; c is no query.
    figures = retrieval_metrics(at_angles(0, 10, 50, 60, 180), list("ababc"))
    assert figures["queries"] == 4 and figures["gallery"] == 5 and figures["items"] == 3
    assert figures["recall@1"] == 0 and figures["map@r"] == 0
    assert figures["map"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert figures["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / 2) / 2)


def test_the_map_at_r_examples_of_the_paper():
    # Musgrave et al. 2020: R = 10, and among the first ten only these ranks are hits.
    angles = range(1, 21)
    for hits, expected in (([1], 0.1), ([1, 2], 0.2), ([1, 10], 0.12), (range(1, 11), 1.0)):
        late = [angle for angle in angles if angle > 10][: 10 - len(hits)]
        ids = ["a" if angle in (*hits, *late) else "b" for angle in angles]
        figures = retrieval_metrics(
            at_angles(0), ["a"], gallery=at_angles(*angles), gallery_item_ids=ids
        )
        assert figures["map@r"] == pytest.approx(expected)


@pytest.mark.parametrize("items", [2, 5, 40])  # R about 29, 11 and 0 to 4
@pytest.mark.parametrize("block_rows", [1, 7, ranking.BLOCK_ROWS])
@pytest.mark.parametrize("kept", [-1, ranking.MAX_SYMMETRIC_RELEVANT])  # one way, both ways
def test_agrees_with_naive_loop(monkeypatch, items, block_rows, kept):
    monkeypatch.setattr(ranking, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(ranking, "MAX_SYMMETRIC_RELEVANT", kept)
    rng = np.random.default_rng(items)
    vectors, gallery = unit(rng, 60, 6), unit(rng, 50, 6)
    ids = [f"item{n}" for n in rng.integers(items, size=60)]
    gallery_ids = [f"item{n}" for n in rng.integers(items, size=50)]
    own = rng.integers(-1, 50, size=60)
    assert retrieval_metrics(7 * vectors, ids) == pytest.approx(naive(vectors, ids))
    assert retrieval_metrics(
        vectors, ids, gallery=gallery, gallery_item_ids=gallery_ids, own_rows=own
    ) == pytest.approx(naive(vectors, ids, gallery, gallery_ids, own))


@pytest.mark.parametrize("kept", [-1, ranking.MAX_SYMMETRIC_RELEVANT])
@pytest.mark.parametrize("block_rows", [5, ranking.BLOCK_ROWS])
def test_equal_vectors_of_different_items_tie_in_blocks(monkeypatch, block_rows, kept):
    # Of no exact cosines; a few vectors stand in several items, and several times in one.
    monkeypatch.setattr(ranking, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(ranking, "MAX_SYMMETRIC_RELEVANT", kept)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        vectors = unit(rng, 40, 33).astype(np.float32)[rng.integers(40, size=90)]
        ids = rng.integers(12, size=90).tolist()
        assert retrieval_metrics(vectors, ids) == pytest.approx(naive(vectors, ids))
        assert retrieval_metrics(
            vectors[:30], ids[:30], gallery=vectors, gallery_item_ids=ids, own_rows=np.arange(30)
        ) == pytest.approx(naive(vectors[:30], ids[:30], vectors, ids, range(30)))


def test_items_of_many_pictures(monkeypatch):
    monkeypatch.setattr(ranking, "MAX_BLOCK_RELEVANT", 120)  # a query or two a block
    monkeypatch.setattr(ranking, "MAX_COLUMNS", 50)
    monkeypatch.setattr(ranking, "BLOCK_ROWS", 10)
    rng = np.random.default_rng(0)
    vectors, ids = unit(rng, 120, 4), rng.integers(2, size=120).tolist()
    for kept in (0, ranking.MAX_SYMMETRIC_RELEVANT):
        monkeypatch.setattr(ranking, "MAX_SYMMETRIC_RELEVANT", kept)
        assert retrieval_metrics(vectors, ids) == pytest.approx(naive(vectors, ids))


def test_what_is_known_of_every_query():
    rng = np.random.default_rng(1)
    vectors, ids = unit(rng, 40, 5), [*rng.integers(9, size=39).tolist(), 99]
    done = measure_retrieval(vectors, ids)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    same = np.array(ids)[:, None] == np.array(ids)
    for row in range(40):
        others = np.delete(np.arange(40), row)
        own = cosines[row][others[same[row][others]]]
        assert done.relevant[row] == len(own)
        assert done.nearest_relevant[row] == pytest.approx(own.max(initial=-np.inf), abs=1e-6)
        assert done.nearest_other[row] == pytest.approx(cosines[row][~same[row]].max(), abs=1e-6)
    assert done.metrics.dtype == np.float32 and done.metrics.shape == (40, 7)
    assert np.isnan(done.metrics[~done.has_relevant]).all() and not done.has_relevant[39]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(range(len(EXACT))), st.sampled_from("abcd")), min_size=2),
    st.integers(1, 12),
    st.booleans(),
)
def test_ties_and_duplicates_agree_with_naive_loop(pictures, block_rows, one_way):
    vectors = np.array([EXACT[place] for place, _ in pictures])
    ids = [item_id for _, item_id in pictures]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_ROWS", block_rows)
        if one_way:
            patch.setattr(ranking, "MAX_SYMMETRIC_RELEVANT", -1)
        if len(set(ids)) == len(ids):
            with pytest.raises(InputError, match="no query has another picture"):
                retrieval_metrics(vectors, ids)
        else:
            assert retrieval_metrics(vectors, ids) == pytest.approx(naive(vectors, ids))


def test_equal_vectors_tie_wherever_they_stand():
    # A matrix product alone rounds equal columns differently at the edges of its tiles.
    rng = np.random.default_rng(0)
    gallery = np.repeat(unit(rng, 1, 64), 33, axis=0)
    ids = [f"item{row}" for row in range(33)]
    figures = retrieval_metrics(unit(rng, 33, 64), ids, gallery=gallery, gallery_item_ids=ids)
    assert figures["map"] == pytest.approx(np.mean(1 / np.arange(1, 34)))


def test_own_picture_is_left_out_of_a_gallery():
    vectors = at_angles(0, 5, 90)
    given = {"gallery": vectors, "gallery_item_ids": ["a", "b", "a"]}
    assert retrieval_metrics(vectors[:1], ["a"], **given)["recall@1"] == 1
    assert retrieval_metrics(vectors[:1], ["a"], **given, own_rows=[0])["recall@1"] == 0
    assert retrieval_metrics(vectors[:1], ["a"], **given, own_rows=[0])["map"] == 0.5


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
        (lambda: retrieval_metrics(GOOD * [[1], [np.inf], [1]], "aab"), "the first in row 1"),
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
def test_wrong_input_is_one_clear_line(call, line):
    with pytest.raises(InputError, match=line) as caught:
        call()
    assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)
