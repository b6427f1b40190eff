from __future__ import annotations

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import BallTreeIndex, LabelFilter
from siamese.indexes.milvus import collection as collection_module
from siamese.indexes.milvus import index as index_module
from siamese.indexes.milvus import rows as rows_module
from siamese.indexes.milvus.index import MilvusIndex
from siamese.indexes.milvus.rows import picture_key
from tests.indexes.milvus.conftest import (
    MODEL,
    contents,
    count_calls,
    is_one_line,
    names,
    pictures,
    read_all,
    unit,
)

HOSTILE = [
    "quoted \"twice\" and 'once'",
    "back\\slash\\",
    '") or id > 0 or array_contains(labels, "',
    "two\nlines\r\tand a tab",
    "ключ 鍵 🔑 é",
    "nothing\x00after",
    "{label} $meta %s \\n \\u0041",
    "",
    " ",
]


def test_it_agrees_with_the_exact_index(uri):
    index = MilvusIndex.build(unit(300), pictures(300), MODEL, contents(300), uri=uri)
    exact = BallTreeIndex.build(unit(300), pictures(300), MODEL)
    assert (len(index), index.embedding_size, index.model) == (300, 8, MODEL)
    assert index.name == str(uri)
    for labels in (
        LabelFilter(),
        LabelFilter.from_lists(any_of=["l1", "l2"]),
        LabelFilter.from_lists(any_of=["l1", "l2"], none_of=["l2"]),
        LabelFilter.from_lists(all_of=["l1", "l2"]),
        LabelFilter.from_lists(none_of=["l1", "unheard of"]),
    ):
        for k in (1, 10, 1000):
            distances, rows = index.query(unit(5, seed=1), k, labels)
            expected, places = exact.query(unit(5, seed=1), k, labels)
            assert distances.shape == rows.shape == expected.shape
            assert (distances.dtype, rows.dtype) == (np.float64, np.intp)
            np.testing.assert_allclose(distances, expected, atol=1e-6)
            assert index.metadata_of(rows.ravel()) == exact.metadata_of(places.ravel())
            np.testing.assert_array_equal(
                index.vectors(rows.ravel()), exact.vectors(places.ravel()).astype(np.float32)
            )
    assert index.query(np.empty((0, 8)), 7)[1].shape == (0, 7)
    assert index.label_counts() == exact.label_counts()
    assert index.item_sizes(["item 1", "nobody"]).tolist() == [3, 0]
    assert set(index.find(item_id="item 1")) == {
        picture_key("item 1", f"ü/{n}.jpg") for n in (3, 4, 5)
    }
    assert index.find(item_id="item 1", filename="ü/3.jpg") == [picture_key("item 1", "ü/3.jpg")]
    assert not len(index.find(item_id="item 1", filename="ü/9.jpg"))


def test_changes_are_there_when_the_index_is_opened_again(uri):
    index = MilvusIndex.build(unit(30), pictures(30), MODEL, contents(30), uri=uri)
    index.remove(index.find(item_id="item 2"))
    index.add(unit(2, seed=5), pictures(2, first=100), contents(2, seed=5))
    index.add(unit(1, seed=6), pictures(1), contents(1, seed=6))  # replaces an existing one
    index.save()
    expected = read_all(index)
    assert len(index) == len(expected) == 29
    del index  # closes the folder
    opened = MilvusIndex.open(uri)
    assert read_all(opened) == expected and opened.model == MODEL
    distances, rows = opened.query(unit(1, seed=6), 1)
    assert opened.metadata_of(rows[0]) == pictures(1)
    assert distances == pytest.approx(0, abs=1e-6)


def test_names_are_never_interpreted(uri):
    metadata = [
        {"item_id": f"item {text}", "filename": f"{text}.jpg", "labels": [text, "all"]}
        for text in HOSTILE
    ]
    index = MilvusIndex.build(unit(len(HOSTILE)), metadata, MODEL, uri=uri, collection="hostile")
    assert sorted(map(names, (entry.metadata for entry in index.entries()))) == sorted(
        map(names, metadata)
    )
    assert index.label_counts() == {"all": len(HOSTILE)} | dict.fromkeys(HOSTILE, 1)
    for text, known in zip(HOSTILE, metadata, strict=True):
        for found in (
            index.find(item_id=known["item_id"]),
            index.find(filename=known["filename"]),
            index.query(unit(1), 5, LabelFilter.from_lists(any_of=[text]))[1][0],
            index.query(unit(1), 5, LabelFilter.from_lists(all_of=[text, "all"]))[1][0],
        ):
            assert index.metadata_of(found) == [known]
        rest = index.query(unit(1), 99, LabelFilter.from_lists(none_of=[text]))[1][0]
        assert len(rest) == len(HOSTILE) - 1
        assert known not in index.metadata_of(rest)
    assert index.item_sizes([known["item_id"] for known in metadata]).tolist() == [1] * len(HOSTILE)
    with pytest.raises(InputError, match="not valid Unicode"):
        index.find(item_id="half \ud83d")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"item_id": "x" * 4097}, "at most 4096 bytes"),
        ({"labels": ["ü" * 2049]}, "at most 4096 bytes"),
        ({"labels": list(map(str, range(4097)))}, "4096 labels per picture"),
        ({"filename": "half \ud83d.jpg"}, "not valid Unicode"),
        ({"filename": 5}, "invalid metadata"),
    ],
)
def test_a_picture_that_milvus_cannot_hold_is_one_line_before_any_change(tmp_path, change, line):
    folder = tmp_path / "milvus"
    with pytest.raises(InputError, match=line):
        MilvusIndex.build(unit(2), [*pictures(1), pictures(2)[1] | change], MODEL, uri=folder)
    assert not folder.exists()


def test_two_pictures_with_one_key_are_refused_and_duplicates_count_once(tmp_path, monkeypatch):
    folder = tmp_path / "milvus"
    twice = [pictures(1)[0], pictures(1)[0], pictures(2)[1]]
    index = MilvusIndex.build(unit(3), twice, MODEL, uri=folder)
    assert len(index) == 2
    np.testing.assert_array_equal(index.vectors(index.find(filename="ü/0.jpg")), unit(3)[1:2])

    for module in (rows_module, index_module):
        monkeypatch.setattr(module, "picture_key", lambda item_id, filename: 7)
    with pytest.raises(InputError, match="same key; rename one") as caught:
        index.add(unit(2), pictures(2, first=50))
    assert is_one_line(caught)
    index.add(unit(1), pictures(1, first=50))
    with pytest.raises(InputError, match=r"ü/50.jpg.*ü/60.jpg.*same key"):
        index.add(unit(1), pictures(1, first=60))
    assert len(index) == 3


def test_a_removed_picture_is_one_line(tmp_path):
    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=tmp_path / "milvus")
    _, rows = index.query(unit(1), 5)
    index.remove(rows[0, :2])
    index.remove(rows[0, :2])  # again has no effect
    with pytest.raises(InputError, match="2 of 5 pictures have been removed") as caught:
        index.metadata_of(rows[0])
    assert is_one_line(caught)
    index.remove(rows[0])
    assert len(index) == 0 and index.query(unit(2), 3)[1].shape == (2, 0)
    assert not index.label_counts() and not list(index.entries())


def test_it_cannot_be_saved_elsewhere(tmp_path):
    folder = tmp_path / "milvus"
    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder)
    for own in (None, folder, index.name):
        index.save(own)
    with pytest.raises(InputError, match=r"cannot be copied to elsewhere.*--output elsewhere"):
        index.save("elsewhere")


def test_many_queries_and_rows_are_sent_in_parts(tmp_path, monkeypatch):
    index = MilvusIndex.build(unit(200), pictures(200), MODEL, uri=tmp_path / "milvus")
    expected = index.query(unit(50, seed=1), 20)
    asked = count_calls(index, monkeypatch)
    for module in (index_module, collection_module):
        monkeypatch.setattr(module, "MESSAGE_ROWS", 30)
    monkeypatch.setattr(index_module, "MESSAGE_BYTES", 16 * 20 * 7)  # 7 queries of 20 results
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
    monkeypatch.setattr(index_module, "MAX_RESULTS", 16)
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
    monkeypatch.setattr(index_module, "MAX_COMPARED", 89)
    with pytest.raises(InputError, match="40 results are too many: Milvus finds at most 16"):
        index.query(unit(3, seed=1), 40)


def test_a_search_with_too_few_results_is_repeated(tmp_path, monkeypatch):
    """A graph may not lead to all pictures that a filter keeps."""
    index = MilvusIndex.build(unit(60), pictures(60), MODEL, uri=tmp_path / "milvus")
    expected = index.query(unit(4, seed=1), 12)
    real, seen, missing = index._search, [], 0

    def misses(X, k, expression, width):
        seen.append(width)
        found = real(X, k, expression, width)
        return [(near[:-3], rows[:-3]) for near, rows in found] if len(seen) <= missing else found

    monkeypatch.setattr(index, "_search", misses)
    monkeypatch.setattr(index, "_width_parameter", "ef")
    for missing in (1, 2):  # noqa: B007, `misses` reads it
        seen.clear()
        distances, rows = index.query(unit(4, seed=1), 12)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(distances, expected[0], atol=1e-6)
        assert seen == [index_module.WIDTH, index_module.MAX_WIDTH]
