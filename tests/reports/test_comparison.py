from __future__ import annotations

import numpy as np
import pytest

from siamese.data.catalogue import Picture
from siamese.embedding.embed_catalogue import Embeddings
from siamese.errors import InputError
from siamese.evaluation.metrics import METRICS, retrieval_metrics
from siamese.reports import Comparison, compare_embeddings


def test_metrics_are_those_of_both_embeddings(comparison, before, after):
    ids = [picture.item_id for picture in before.pictures]
    assert comparison.as_dict() == {
        "before": retrieval_metrics(before.vectors, ids),
        "after": retrieval_metrics(after.vectors, ids),
    }


def test_the_table_has_a_row_per_metric():
    comparison = Comparison(
        dict.fromkeys(METRICS, 0.25) | {"queries": 3}, dict.fromkeys(METRICS, 0.125), [], []
    )
    assert comparison.tabulate() == [(metric, "0.250", "0.125", "-0.125") for metric in METRICS]


def test_neighbours_are_the_nearest_other_pictures(comparison, before):
    for query in comparison.queries:
        row = before.pictures.index(query.picture)
        distance = np.linalg.norm(before.vectors - before.vectors[row], axis=1)
        others = [i for i in np.argsort(distance, kind="stable") if i != row][:4]
        assert [one.picture for one in query.before] == [before.pictures[i] for i in others]
        assert [one.distance for one in query.before] == pytest.approx(distance[others])
        for one in query.before + query.after:
            assert one.same_item == (one.picture.item_id == query.picture.item_id)
            assert one.picture != query.picture


def test_queries_show_different_items_and_depend_on_the_seed(before, after):
    drawn = [query.picture for query in compare_embeddings(before, after, seed=1).queries]
    assert len({picture.item_id for picture in drawn}) == len(drawn) == 12
    assert drawn == [query.picture for query in compare_embeddings(before, after, seed=1).queries]
    assert drawn != [query.picture for query in compare_embeddings(before, after, seed=2).queries]


def test_fewer_pictures_than_neighbours():
    pair = Embeddings([Picture("a", "1"), Picture("a", "2")], np.eye(2, dtype=np.float32), [])
    (query,) = compare_embeddings(pair, pair).queries
    assert len(query.before) == 1


def test_items_with_one_picture_cannot_be_compared():
    lonely = Embeddings([Picture("a", "1"), Picture("b", "2")], np.eye(2, dtype=np.float32), [])
    with pytest.raises(InputError, match="no query"):
        compare_embeddings(lonely, lonely)


def test_pictures_must_be_the_same(before):
    fewer = Embeddings(before.pictures[1:], before.vectors[1:], [])
    with pytest.raises(InputError, match="different pictures"):
        compare_embeddings(before, fewer)


def test_confusions_are_the_item_pairs_with_the_most_mistakes(before):
    """Compare with a naive count; pairs with equal counts may come in any order."""
    found = compare_embeddings(before, before, confusions=1000).confusions
    counts = {}
    for row, picture in enumerate(before.pictures):
        cosine = before.vectors @ before.vectors[row]
        cosine[row] = -2
        other = before.pictures[int(cosine.argmax())]
        if other.item_id != picture.item_id:
            pair = frozenset((picture.item_id, other.item_id))
            counts.setdefault(pair, []).append((picture, other))
    assert [one.count for one in found] == sorted(map(len, counts.values()), reverse=True)
    for one in found:
        mistakes = counts.pop(frozenset((one.picture.item_id, one.mistaken_for.item_id)))
        assert len(mistakes) == one.count
        assert (one.picture, one.mistaken_for) in mistakes
        assert one.pictures == 8
    assert not counts
    assert compare_embeddings(before, before, confusions=2).confusions == found[:2]


def test_only_picture_of_an_item_makes_no_mistake():
    pictures = [Picture("a", "1"), Picture("a", "2"), Picture("b", "3")]
    vectors = np.array([[1, 0], [0.9, 0.1], [0.85, 0.15]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = compare_embeddings(*[Embeddings(pictures, vectors, [])] * 2).confusions
    assert [(one.picture.filename, one.mistaken_for.filename) for one in found] == [("2", "3")]
