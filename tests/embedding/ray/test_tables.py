from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamese.embedding.ray.tables import (
    error_to_table,
    files_to_table,
    outcomes_to_table,
    table_to_files,
    table_to_outcomes,
)
from siamese.embedding.store_rows import FileState, StoredOutcome
from siamese.errors import InputError


def test_files_of_any_type_of_path_come_back():
    files = {"a.jpg": Path("/photos/a.jpg"), "ü/b.jpg": Path("/photos/ü/b.jpg")}
    assert table_to_files(files_to_table({**files, "c": Path("c")}, list(files))) == files


def test_outcomes_come_back_unchanged():
    state = FileState(7, 1_700_000_000_123_456_789, bytes(range(16)))
    vectors = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    outcomes = [
        StoredOutcome("a.jpg", state, vectors[0]),
        StoredOutcome("gone.jpg", None, "file missing"),
        StoredOutcome("text.jpg", state, "not a picture"),
        StoredOutcome("b.jpg", state, vectors[1]),
    ]
    got, ran = table_to_outcomes(outcomes_to_table(outcomes, "openvino", "bfloat16"))
    assert ran == {("openvino", "bfloat16")}
    assert [outcome[:2] for outcome in got] == [outcome[:2] for outcome in outcomes]
    assert [outcome.outcome for outcome in got[1:3]] == ["file missing", "not a picture"]
    for vector, outcome in zip(vectors, (got[0], got[3]), strict=True):
        assert outcome.outcome.dtype == np.float32
        assert outcome.outcome.tobytes() == vector.tobytes()
    broken, _ = table_to_outcomes(outcomes_to_table(outcomes[1:3], "openvino", "float32"))
    assert broken == outcomes[1:3]
    assert table_to_outcomes(outcomes_to_table([], "", "")) == ([], set())


def test_an_error_is_raised_when_its_table_is_read():
    with pytest.raises(InputError, match="another model"):
        table_to_outcomes(error_to_table("another model"))
    assert error_to_table("no").schema == outcomes_to_table([], "", "").schema
