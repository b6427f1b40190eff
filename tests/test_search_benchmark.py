"""The benchmark of search: its vectors lie as real ones do, its table is right, and it runs."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def its_folder() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return importlib.import_module("search")


@pytest.fixture(scope="module")
def vectors() -> ModuleType:
    return importlib.import_module("search_engines.vectors")


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 800 embeddings of things that differ in 10 ways, in 48 dimensions."""
    rng = np.random.default_rng(5)
    ways = rng.normal(size=(800, 10))
    made = np.maximum(ways @ rng.normal(size=(10, 48)) + 1, 0)
    path = tmp_path_factory.mktemp("embeddings") / "real.npy"
    np.save(path, made / np.linalg.norm(made, axis=1, keepdims=True))
    return path


@pytest.fixture(scope="module")
def prepared(
    vectors: ModuleType, embeddings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Make a catalogue of 3,000 vectors and 100 queries."""
    folder = tmp_path_factory.mktemp("catalogues") / "some"
    vectors.prepare(folder, vectors.reduce_dimensions(np.load(embeddings), 32), 3000, 100, seed=1)
    return folder


def test_fewer_dimensions_keep_what_is_near(vectors: ModuleType, embeddings: Path) -> None:
    real = np.load(embeddings)
    fewer = vectors.reduce_dimensions(real, 32)
    assert fewer.shape == (800, 32)
    assert np.linalg.norm(fewer, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.abs(fewer @ fewer.T - real @ real.T).max() < 0.05
    assert vectors.reduce_dimensions(real, 48) @ vectors.reduce_dimensions(
        real, 48
    ).T == pytest.approx(real @ real.T, abs=1e-5)


def test_nearest_are_those_of_a_sort(vectors: ModuleType) -> None:
    data = vectors._unit(np.random.default_rng(2).normal(size=(40, 5)))
    between = np.linalg.norm(data[:, None] - data[None], axis=2)
    distances, rows = vectors.nearest(data[:9], data, 4)
    assert (rows == np.argsort(between[:9], axis=1)[:, :4]).all()
    assert distances[:, 1:] == pytest.approx(np.sort(between[:9], axis=1)[:, 1:4], abs=1e-3)
    np.fill_diagonal(between, np.inf)
    _, rows = vectors.nearest(data, data, 4, own=True)
    assert (rows == np.argsort(between, axis=1)[:, :4]).all()


@pytest.mark.parametrize("dimension", [2, 5])
def test_the_intrinsic_dimension_is_that_of_what_is_spread_evenly(
    vectors: ModuleType, dimension: int
) -> None:
    points = np.random.default_rng(3).random((4000, dimension))
    between = np.linalg.norm(points[:300, None] - points[None], axis=2)
    distances = np.sort(between, axis=1)[:, 1:11]
    shape = vectors.describe_shape(distances)
    assert shape["dimension"] == pytest.approx(dimension, rel=0.2)
    assert shape["two_nn"] == pytest.approx(dimension, rel=0.2)
    assert shape["nearest_low"] < shape["nearest"] < shape["nearest_high"] < shape["tenth"]


def test_the_vectors_lie_as_the_real_ones(
    vectors: ModuleType, embeddings: Path, prepared: Path
) -> None:
    made = np.load(prepared / "vectors.npy")
    assert (made.shape, made.dtype) == ((3000, 32), np.float32)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
    real = vectors.reduce_dimensions(np.load(embeddings), 32)
    distances, _ = vectors.nearest(real, real, vectors.K, own=True)
    like, facts = (
        vectors.describe_shape(distances),
        json.loads((prepared / "facts.json").read_text()),
    )
    for name in ("nearest", "tenth", "dimension"):
        assert 2 / 3 < facts["shape"][name] / like[name] < 3 / 2, name


def test_no_query_is_in_the_index(prepared: Path) -> None:
    made, queries = np.load(prepared / "vectors.npy"), np.load(prepared / "queries.npy")
    assert queries.shape == (100, 32)
    assert (queries @ made.T).max() < 1 - 1e-5


def test_another_seed_is_another_draw_and_the_same_one_is_not(
    vectors: ModuleType, embeddings: Path, prepared: Path, tmp_path: Path
) -> None:
    real = vectors.reduce_dimensions(np.load(embeddings), 32)
    for seed in (1, 2):
        vectors.prepare(tmp_path / str(seed), real, 3000, 100, seed)
    for name in ("vectors", "queries", "items", "labels", "exact", "exact_seldom"):
        first = np.load(prepared / f"{name}.npy")
        assert (np.load(tmp_path / "1" / f"{name}.npy") == first).all()
        assert not np.array_equal(np.load(tmp_path / "2" / f"{name}.npy"), first)


def test_labels_are_of_items_and_follow_zipf(vectors: ModuleType, prepared: Path) -> None:
    known = vectors.metadata(prepared)
    assert [picture["filename"] for picture in known] == [f"{row}.jpg" for row in range(3000)]
    of_item: dict[str, list[str]] = {}
    for picture in known:
        assert picture["labels"] == of_item.setdefault(picture["item_id"], picture["labels"])
    counts = Counter(label for labels in of_item.values() for label in labels)
    assert counts["label 0"] > 1.3 * counts["label 1"] > 1.3 * counts["label 9"]
    assert counts[vectors.SELDOM] == pytest.approx(len(of_item) / 100, abs=1)
    seldom = [row for row, picture in enumerate(known) if vectors.SELDOM in picture["labels"]]
    assert len(seldom) == json.loads((prepared / "facts.json").read_text())["seldom"]
    assert np.isin(np.load(prepared / "exact_seldom.npy"), seldom).all()


def measured(p50: float, per_second: float, **more: Any) -> dict[str, Any]:
    every = {
        "asked": 100,
        "p50_ms": p50,
        "p99_ms": 2 * p50,
        "per_second": per_second,
        "recall": 0.995,
    }
    asked = {"queries": 100, "open_ms": 12.4, "resident_mb": 1234.5, "all": every}
    asked |= {"seldom": None, **more}
    return {"build": {"seconds": 6.04, "megabytes": 700.2, "versions": {}}, "ask": asked}


def test_the_table_says_ratios_and_what_was_not_as_asked(benchmark: ModuleType) -> None:
    tree = measured(50, 20)
    tree["ask"]["all"] = {**tree["ask"]["all"], "asked": 20}
    results = {
        "balltree": tree,
        "faiss": measured(0.2, 8000, seldom=measured(0.1, 9000)["ask"]["all"]),
        "usearch": measured(0.25, 6000, ef=64, reached=True),
        "hnswlib": measured(0.1, 9000, ef=2048, reached=False),
    }
    rows = benchmark.table(results).splitlines()[2:]
    told = "6.0 | 700 | 1,234 | 12"
    assert rows == [
        f"| **BallTree**, 20 queries | {told} | 50.00 | 100.00 | 20 | 0.995 "
        "| – | – | – | 1 | 200 |",
        f"| **faiss** | {told} | 0.20 | 0.40 | 8,000 | 0.995 | 0.10 | 9,000 | 0.995 | 400 | 0.8 |",
        f"| usearch, float16, ef 64 | {told} | 0.25 | 0.50 | 6,000 | 0.995 | – | – | – | 300 | 1 |",
        # Faster than the best peer, but at less recall: it is not the best peer.
        f"| hnswlib, ef 2048, less recall than asked | {told} | 0.10 | 0.20 | 9,000 | 0.995 "
        "| – | – | – | 450 | 0.4 |",
    ]
    alone = benchmark.table({"faiss": results["faiss"]}).splitlines()[2]
    assert alone.endswith("| 0.995 | – | – |")


def installed() -> list[str]:
    engines = ["balltree", "sklearn"]
    needed = {
        "faiss": ("siamese.indexes.faiss.index", "faiss"),
        "milvus": ("siamese.indexes.milvus.index", "milvus_lite"),
        "usearch": ("usearch",),
        "hnswlib": ("hnswlib",),
    }
    return engines + [
        engine for engine, names in needed.items() if all(map(importlib.util.find_spec, names))
    ]


@pytest.mark.long
def test_it_measures_every_engine_that_is_installed(embeddings: Path, tmp_path: Path) -> None:
    engines = installed()
    call = [sys.executable, str(BENCHMARKS / "search.py"), "--embeddings", str(embeddings)]
    call += ["--sizes", "500", "--dimensions", "32", "--queries", "30", "--seconds", "0.2"]
    call += ["--engines", *engines, "--peers-python", sys.executable]
    call += ["--work-dir", str(tmp_path / "work"), "--json", str(tmp_path / "figures.json")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(call, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(engines)
    found = json.loads((tmp_path / "figures.json").read_text())["sizes"]["500"]["engines"]
    assert list(found) == engines
    for engine in engines:
        built, asked = found[engine]["build"], found[engine]["ask"]
        assert built["megabytes"] > 0
        assert asked["resident_mb"] > asked["imported_mb"] > 0
        exact = engine in ("balltree", "sklearn")
        for part in (asked["all"], asked["seldom"]):
            if part is not None:
                assert part["recall"] == 1 if exact else part["recall"] > 0.9
                assert 0 < part["p50_ms"] <= part["p99_ms"]
                assert part["asked"] >= 20

    # What is finished is not repeated.
    again = subprocess.run(call, capture_output=True, text=True, env=env)
    assert again.stdout == done.stdout
    assert "build" not in again.stderr and "ask" not in again.stderr


@pytest.mark.parametrize(
    ("embedded", "dimensions", "told"),
    [
        (np.ones((50, 40)), "32", "give at least 67 embeddings"),
        (np.ones((80, 20)), "32", "embeddings of 20 dimensions"),
        (None, "32", "not an array of embeddings"),
    ],
)
def test_embeddings_that_cannot_be_taken_are_one_line(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    embedded: np.ndarray | None,
    dimensions: str,
    told: str,
) -> None:
    path = tmp_path / "some.npy"
    path.write_bytes(b"no array")
    if embedded is not None:
        np.save(path, embedded)
    call = ["search.py", "--embeddings", str(path), "--dimensions", dimensions]
    monkeypatch.setattr(sys, "argv", [*call, "--work-dir", str(tmp_path / "work")])
    with pytest.raises(SystemExit) as stopped:
        benchmark.main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and str(path) in line
