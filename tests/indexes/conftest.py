"""Vectors in groups, like the pictures of items, and an index of each backend."""

from __future__ import annotations

import os
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
    """Return vectors of length 1 around the centres of groups of four, float32 (count, size)."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(-(-count // 4), size)), 4, axis=0)[:count]
    vectors = centres + 0.4 * rng.normal(size=(count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def pictures(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return metadata in which four pictures each are of one item, with random labels."""
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


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Let FAISS use one thread, because more would only wait for each other."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def no_fsync() -> Iterator[None]:
    """Do not wait for the disk, which no test here turns off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


BACKENDS = ("balltree", "faiss exact", "faiss graph", "faiss graph, 8 bits", "milvus")
Build = Callable[..., Index]


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def build(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """Return a function that builds and saves an index of a backend, and opens it."""
    folder: Path = tmp_path_factory.mktemp("indexes")
    built: list[Index] = []

    def build_and_open(vectors: np.ndarray, metadata: list[dict[str, Any]]) -> Index:
        model, files = facts(vectors.shape[1]), contents(len(vectors))
        place = folder / f"{len(built)}.{backend.split()[0]}"
        if backend == "milvus":
            from siamese.indexes.milvus.index import MilvusIndex

            MilvusIndex.build(vectors, metadata, model, files, uri=place)
        elif backend == "balltree":
            BallTreeIndex.build(vectors, metadata, model).save(place)
        else:
            FaissIndex.build(vectors, metadata, model, files, min_recall=0.95).save(place)
        built.append(open_index(place))
        return built[-1]

    with pytest.MonkeyPatch.context() as patch:
        if "graph" in backend:
            patch.setattr(faiss_layout, "MAX_EXACT", 40)
        if "8 bits" in backend:
            patch.setattr(faiss_layout, "MAX_HALF_BYTES", 0)
        yield build_and_open
