from __future__ import annotations

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import BallTreeIndex, LabelFilter
from siamese.indexes.milvus import collection as collection_module
from siamese.indexes.milvus import search
from siamese.indexes.milvus.index import MilvusIndex
from tests.indexes.milvus.conftest import MODEL, count_calls, pictures, unit


def test_many_queries_and_rows_are_sent_in_parts(tmp_path, monkeypatch):
    index = MilvusIndex.build(unit(200), pictures(200), MODEL, uri=tmp_path / "milvus")
    expected = index.query(unit(50, seed=1), 20)
    asked = count_calls(index, monkeypatch)
    for module in (search, collection_module):
        monkeypatch.setattr(module, "MESSAGE_ROWS", 30)
    monkeypatch.setattr(search, "MESSAGE_BYTES", 16 * 20 * 7)  # 7 queries of 20 results
    distances, rows = index.query(unit(50, seed=1), 20)
    assert asked["search"] == 8
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_array_equal(distances, expected[0])
    assert len(index.metadata_of(rows.ravel())) == 1000
    before = asked["delete"]
    index.remove(np.unique(rows)[:70])
    assert asked["delete"] - before == 3 and len(index) == 130


def test_a_search_returns_no_other_fields(tmp_path, monkeypatch):
    index = MilvusIndex.build(unit(20), pictures(20), MODEL, uri=tmp_path / "milvus")
    connection = index._collection.connection
    answers = {}
    call = connection.call

    def recording(method, *args, **kwargs):
        answers[method] = call(method, *args, **kwargs)
        return answers[method]

    monkeypatch.setattr(connection, "call", recording)
    index.query(unit(1, seed=1), 3)
    (hits,) = answers["search"]
    assert [hit["entity"].keys() for hit in hits] == [{"id"}] * 3


def test_more_results_than_milvus_returns_are_compared_one_by_one(tmp_path, monkeypatch):
    index = MilvusIndex.build(unit(90), pictures(90), MODEL, uri=tmp_path / "milvus")
    monkeypatch.setattr(search, "MAX_RESULTS", 16)
    exact = BallTreeIndex.build(unit(90), pictures(90), MODEL)
    for k, labels in (
        (40, LabelFilter()),
        (500, LabelFilter()),
        (20, LabelFilter.from_lists(["l1"])),
    ):
        distances, rows = index.query(unit(3, seed=1), k, labels)
        expected, places = exact.query(unit(3, seed=1), k, labels)
        np.testing.assert_allclose(distances, expected, atol=1e-6)
        assert index.metadata_of(rows.ravel()) == exact.metadata_of(places.ravel())
    monkeypatch.setattr(search, "MAX_COMPARED", 89)
    with pytest.raises(InputError, match="40 results are too many: Milvus finds at most 16"):
        index.query(unit(3, seed=1), 40)


def test_a_search_with_too_few_results_is_repeated(tmp_path, monkeypatch):
    """A graph may not lead to all pictures that a filter keeps."""
    index = MilvusIndex.build(unit(60), pictures(60), MODEL, uri=tmp_path / "milvus")
    expected = index.query(unit(4, seed=1), 12)
    searcher = index._search
    real, seen, missing = searcher._search, [], 0

    def misses(X, k, expression, width):
        seen.append(width)
        found = real(X, k, expression, width)
        return [(near[:-3], rows[:-3]) for near, rows in found] if len(seen) <= missing else found

    monkeypatch.setattr(searcher, "_search", misses)
    monkeypatch.setattr(searcher, "_width_parameter", "ef")
    for missing in (1, 2):  # noqa: B007, it is what `misses` looks at
        seen.clear()
        distances, rows = index.query(unit(4, seed=1), 12)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(distances, expected[0], atol=1e-6)
        assert seen == [search.WIDTH, search.MAX_WIDTH]
