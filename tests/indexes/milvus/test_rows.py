from __future__ import annotations

from siamese.indexes import LabelFilter
from siamese.indexes.milvus import rows as rows_module
from siamese.indexes.milvus.rows import create_rows, filter_expression, picture_key, split_messages
from tests.indexes.milvus.conftest import pictures, unit


def test_keys_are_reproducible_and_distinct():
    assert picture_key("item 1", "ü/3.jpg") == 2**63 - 1 & picture_key("item 1", "ü/3.jpg")
    assert picture_key("a", "bc") != picture_key("ab", "c") != picture_key("", "abc")
    assert picture_key("a", "b") == 5414274520996491826


def test_messages_have_limited_rows_and_bytes(monkeypatch):
    monkeypatch.setattr(rows_module, "MESSAGE_ROWS", 10)
    rows = create_rows(unit(25), pictures(25), None, None)
    assert list(map(len, split_messages(rows.values()))) == [10, 10, 5]
    monkeypatch.setattr(rows_module, "MESSAGE_BYTES", 400)
    parts = list(split_messages(rows.values()))
    assert [row for part in parts for row in part] == list(rows.values())
    assert max(map(len, parts)) < 8
    monkeypatch.setattr(rows_module, "MESSAGE_BYTES", 1)
    assert list(map(len, split_messages(rows.values()))) == [1] * 25


def test_a_filter_is_translated_for_milvus():
    assert filter_expression(LabelFilter()) == ""
    assert filter_expression(LabelFilter.from_lists(["b", "a"], ["c"], ['d"'])) == (
        'array_contains_any(labels, ["a", "b"]) and array_contains_all(labels, ["c"])'
        r' and not array_contains_any(labels, ["d\""])'
    )
