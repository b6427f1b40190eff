from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.evaluation import relevant_ranks
from siamese.evaluation.metrics import retrieval_metrics
from tests.evaluation.conftest import naive_metrics, unit_vectors

# Their cosines are multiples of 1/4, exact in any arithmetic: ties are ties.
AXES = [sign * axis for sign in (1, -1) for axis in np.eye(4)]
EXACT = AXES + [np.array(signs) / 2 for signs in itertools.product((1, -1), repeat=4)]


@pytest.mark.parametrize("items", [2, 5, 40])  # R about 29, 11 and 0 to 4
@pytest.mark.parametrize("block_rows", [1, 7, relevant_ranks.BLOCK_ROWS])
@pytest.mark.parametrize("limit", [-1, relevant_ranks.MAX_SYMMETRIC_RELEVANT])  # one way, both ways
def test_metrics_equal_those_of_a_naive_loop(monkeypatch, items, block_rows, limit):
    monkeypatch.setattr(relevant_ranks, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(relevant_ranks, "MAX_SYMMETRIC_RELEVANT", limit)
    rng = np.random.default_rng(items)
    vectors, gallery = unit_vectors(rng, 60, 6), unit_vectors(rng, 50, 6)
    ids = [f"item{n}" for n in rng.integers(items, size=60)]
    gallery_ids = [f"item{n}" for n in rng.integers(items, size=50)]
    own = rng.integers(-1, 50, size=60)
    assert retrieval_metrics(7 * vectors, ids) == pytest.approx(naive_metrics(vectors, ids))
    assert retrieval_metrics(
        vectors, ids, gallery=gallery, gallery_item_ids=gallery_ids, own_rows=own
    ) == pytest.approx(naive_metrics(vectors, ids, gallery, gallery_ids, own))


@pytest.mark.parametrize("limit", [-1, relevant_ranks.MAX_SYMMETRIC_RELEVANT])
@pytest.mark.parametrize("block_rows", [5, relevant_ranks.BLOCK_ROWS])
def test_equal_vectors_of_different_items_tie_in_blocks(monkeypatch, block_rows, limit):
    # Inexact cosines; some vectors occur in several items, and several times in one.
    monkeypatch.setattr(relevant_ranks, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(relevant_ranks, "MAX_SYMMETRIC_RELEVANT", limit)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        vectors = unit_vectors(rng, 40, 33).astype(np.float32)[rng.integers(40, size=90)]
        ids = rng.integers(12, size=90).tolist()
        assert retrieval_metrics(vectors, ids) == pytest.approx(naive_metrics(vectors, ids))
        assert retrieval_metrics(
            vectors[:30], ids[:30], gallery=vectors, gallery_item_ids=ids, own_rows=np.arange(30)
        ) == pytest.approx(naive_metrics(vectors[:30], ids[:30], vectors, ids, range(30)))


def test_items_of_many_pictures(monkeypatch):
    monkeypatch.setattr(relevant_ranks, "MAX_BLOCK_RELEVANT", 120)  # one or two queries per block
    monkeypatch.setattr(relevant_ranks, "MAX_COLUMNS", 50)
    monkeypatch.setattr(relevant_ranks, "BLOCK_ROWS", 10)
    rng = np.random.default_rng(0)
    vectors, ids = unit_vectors(rng, 120, 4), rng.integers(2, size=120).tolist()
    for limit in (0, relevant_ranks.MAX_SYMMETRIC_RELEVANT):
        monkeypatch.setattr(relevant_ranks, "MAX_SYMMETRIC_RELEVANT", limit)
        assert retrieval_metrics(vectors, ids) == pytest.approx(naive_metrics(vectors, ids))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(range(len(EXACT))), st.sampled_from("abcd")), min_size=2),
    st.integers(1, 12),
    st.booleans(),
)
def test_ties_and_duplicates_equal_those_of_a_naive_loop(pictures, block_rows, one_way):
    vectors = np.array([EXACT[place] for place, _ in pictures])
    ids = [item_id for _, item_id in pictures]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relevant_ranks, "BLOCK_ROWS", block_rows)
        if one_way:
            patch.setattr(relevant_ranks, "MAX_SYMMETRIC_RELEVANT", -1)
        if len(set(ids)) == len(ids):
            with pytest.raises(InputError, match="no query has another picture"):
                retrieval_metrics(vectors, ids)
        else:
            assert retrieval_metrics(vectors, ids) == pytest.approx(naive_metrics(vectors, ids))


def test_equal_vectors_tie_in_any_position():
    # A plain matrix product rounds equal columns differently at the edges of its tiles.
    rng = np.random.default_rng(0)
    gallery = np.repeat(unit_vectors(rng, 1, 64), 33, axis=0)
    ids = [f"item{row}" for row in range(33)]
    figures = retrieval_metrics(
        unit_vectors(rng, 33, 64), ids, gallery=gallery, gallery_item_ids=ids
    )
    assert figures["map"] == pytest.approx(np.mean(1 / np.arange(1, 34)))
