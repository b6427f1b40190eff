from __future__ import annotations

import numpy as np
import pytest

from siamese.catalogue import Picture
from siamese.embedding import Embeddings
from siamese.errors import InputError
from siamese.metrics import retrieval_metrics
from siamese.reports import compare


def test_the_figures_are_those_of_the_metrics(comparison, before, after):
    ids = [picture.item_id for picture in before.pictures]
    assert comparison.as_dict() == {
        "before": retrieval_metrics(before.vectors, ids),
        "after": retrieval_metrics(after.vectors, ids),
    }


def test_neighbours_are_the_nearest_of_the_others(comparison, before):
    for query in comparison.queries:
        row = before.pictures.index(query.picture)
        distance = np.linalg.norm(before.vectors - before.vectors[row], axis=1)
        others = [i for i in np.argsort(distance, kind="stable") if i != row][:4]
        assert [one.picture for one in query.before] == [before.pictures[i] for i in others]
        assert [one.distance for one in query.before] == pytest.approx(distance[others])
        for one in query.before + query.after:
            assert one.same_item == (one.picture.item_id == query.picture.item_id)
            assert one.picture != query.picture


def test_queries_are_of_different_items_and_the_seed_decides_them(before, after):
    drawn = [query.picture for query in compare(before, after, seed=1).queries]
    assert len({picture.item_id for picture in drawn}) == len(drawn) == 12
    assert drawn == [query.picture for query in compare(before, after, seed=1).queries]
    assert drawn != [query.picture for query in compare(before, after, seed=2).queries]


def test_fewer_pictures_than_neighbours():
    pair = Embeddings([Picture("a", "1"), Picture("a", "2")], np.eye(2, dtype=np.float32), [])
    (query,) = compare(pair, pair).queries
    assert len(query.before) == 1


def test_items_of_one_picture_have_nothing_to_find():
    lonely = Embeddings([Picture("a", "1"), Picture("b", "2")], np.eye(2, dtype=np.float32), [])
    with pytest.raises(InputError, match="no query"):
        compare(lonely, lonely)
