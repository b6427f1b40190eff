from __future__ import annotations

import pytest

from siamese.embedding.store_rows import FileState, PackedRows, Row

STATES = [
    FileState(0, 0, bytes(16)),
    FileState(-1, -5, bytes(range(16))),  # a server that reports no size, or a time before 1970
    FileState(2**63 - 1, 2**63 - 1, b"\xff" * 16),
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("error", [None, "not a picture"])
def test_a_row_is_unpacked_as_it_was_packed(state, error):
    rows = PackedRows()
    rows["a"] = Row(state, 100_000, error)
    assert rows["a"] == Row(state, 100_000, error)


def test_the_last_row_of_a_filename_counts():
    rows = PackedRows()
    rows["a"] = Row(STATES[0], 0, "truncated")
    rows.update({"b": Row(STATES[1], 0, None), "a": Row(STATES[2], 1, None)})
    assert dict(rows) == {"b": Row(STATES[1], 0, None), "a": Row(STATES[2], 1, None)}


def test_a_removed_row_leaves_nothing():
    rows = PackedRows()
    rows["a"] = Row(STATES[0], 0, "truncated")
    del rows["a"]
    assert "a" not in rows and len(rows) == 0 and rows.get("a") is None
    rows["a"] = Row(STATES[0], 1, None)
    assert rows["a"].error is None
    with pytest.raises(KeyError):
        del rows["b"]
