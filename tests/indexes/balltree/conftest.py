"""Small balltree indexes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from siamese.indexes import BallTreeIndex
from siamese.models.facts import ModelFacts

MODEL = ModelFacts("a model", "0123abcd", 6, 32, None)


def unit(count, size=6, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(count):
    return [
        {"item_id": f"item {row // 3}", "filename": f"ü/{row}.jpg", "labels": ["red", "shoe"]}
        for row in range(count)
    ]


def build(count, seed=0):
    return BallTreeIndex.build(unit(count, seed=seed), rows(count), MODEL)


@pytest.fixture
def write(tmp_path):
    def to_file(value):
        path = tmp_path / "search_index.pkl"
        path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, 4))
        return path

    return to_file
