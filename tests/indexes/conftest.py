"""Vectors that lie in groups, as pictures of items do, and an index of each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese.indexes import BallTreeIndex, Index, open_index
from siamese.indexes.faiss import layout as faiss_layout
from siamese.indexes.faiss.index import FaissIndex
from siamese.models.facts import ModelFacts

SIZE = 12
LABELS = ("red", "pink", 'quoted "red"', "back\\slash", "ü, comma", "rare")


def facts(size: int = SIZE) -> ModelFacts:
    return ModelFacts("a model", "0123abcd", size, 32, None)


def grouped(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Vectors of length 1, float32 (count, size), around the middles of groups of four."""
    rng = np.random.default_rng(seed)
    middles = np.repeat(rng.normal(size=(-(-count // 4), size)), 4, axis=0)[:count]
    vectors = middles + 0.4 * rng.normal(size=(count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def known(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Metadata of groups of four pictures, each group an item with up to three labels."""
    rng = np.random.default_rng(seed)
    labels = [
        [
            name
            for name, share in zip(LABELS, (0.5, 0.4, 0.2, 0.2, 0.2, 0.02), strict=True)
            if rng.random() < share
        ]
        for _ in range(-(-count // 4))
    ]
    return [
        {"item_id": f"item {row // 4}", "filename": f"ü/{row}.jpg", "labels": labels[row // 4]}
        for row in range(count)
    ]


def contents(count: int) -> list[bytes]:
    return [row.to_bytes(16, "big") for row in range(1, count + 1)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For so few vectors, threads only wait for each other."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


ENGINES = ("balltree", "faiss exact", "faiss graph", "faiss graph, 8 bits", "milvus")
Make = Callable[..., Index]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """What makes an index of an engine, saves it and opens it again."""
    made: list[Index] = []

    def of(vectors: np.ndarray, metadata: list[dict[str, Any]], model: Any = None) -> Index:
        model = model or facts(vectors.shape[1])
        files = contents(len(vectors))
        if engine == "milvus":
            from siamese.indexes.milvus.index import MilvusIndex

            place = tmp_path / f"{len(made)}.milvus"
            MilvusIndex.build(vectors, metadata, model, files, uri=place)
        elif engine == "balltree":
            place = tmp_path / f"{len(made)}.pkl"
            BallTreeIndex.build(vectors, metadata, model).save(place)
        else:
            if "graph" in engine:
                monkeypatch.setattr(faiss_layout, "MAX_EXACT", 40)
            if "8 bits" in engine:
                monkeypatch.setattr(faiss_layout, "MAX_HALF_BYTES", 0)
            place = tmp_path / f"{len(made)}.faiss"
            FaissIndex.build(vectors, metadata, model, files, min_recall=0.95).save(place)
        index = open_index(place)
        made.append(index)
        return index

    yield of
