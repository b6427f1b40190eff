"""Test the search benchmark: generated vectors, the table, and a run with all engines."""

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
def import_path() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def search() -> ModuleType:
    return importlib.import_module("search")


@pytest.fixture(scope="module")
def vectors() -> ModuleType:
    return importlib.import_module("search_engines.vectors")


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 800 embeddings of intrinsic dimension 10 in 48 dimensions."""
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(800, 10))
    vectors = np.maximum(factors @ rng.normal(size=(10, 48)) + 1, 0)
    path = tmp_path_factory.mktemp("embeddings") / "real.npy"
    np.save(path, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return path


@pytest.fixture(scope="module")
def generated(
    vectors: ModuleType, embeddings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Generate a catalogue of 3,000 vectors and 100 queries."""
    folder = tmp_path_factory.mktemp("catalogues") / "generated"
    real = vectors.reduce_dimensions(np.load(embeddings), 32)
    vectors.prepare_catalogue(folder, real, 3000, 100, seed=1)
    return folder


def test_reduce_dimensions_keeps_inner_products(vectors: ModuleType, embeddings: Path) -> None:
    real = np.load(embeddings)
    reduced = vectors.reduce_dimensions(real, 32)
    assert reduced.shape == (800, 32)
    assert np.linalg.norm(reduced, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.abs(reduced @ reduced.T - real @ real.T).max() < 0.05
    rotated = vectors.reduce_dimensions(real, 48)
    assert rotated @ rotated.T == pytest.approx(real @ real.T, abs=1e-5)


def test_find_nearest_agrees_with_sorted_distances(vectors: ModuleType) -> None:
    data = vectors.scale_to_unit_length(np.random.default_rng(2).normal(size=(40, 5)))
    pairwise = np.linalg.norm(data[:, None] - data[None], axis=2)
    distances, rows = vectors.find_nearest(data[:9], data, 4)
    assert (rows == np.argsort(pairwise[:9], axis=1)[:, :4]).all()
    assert distances[:, 1:] == pytest.approx(np.sort(pairwise[:9], axis=1)[:, 1:4], abs=1e-3)
    np.fill_diagonal(pairwise, np.inf)
    _, rows = vectors.find_nearest(data, data, 4, own=True)
    assert (rows == np.argsort(pairwise, axis=1)[:, :4]).all()


@pytest.mark.parametrize("dimension", [2, 5])
def test_describe_shape_estimates_the_dimension_of_uniform_points(
    vectors: ModuleType, dimension: int
) -> None:
    points = np.random.default_rng(3).random((4000, dimension))
    pairwise = np.linalg.norm(points[:300, None] - points[None], axis=2)
    distances = np.sort(pairwise, axis=1)[:, 1:11]
    shape = vectors.describe_shape(distances)
    assert shape["dimension"] == pytest.approx(dimension, rel=0.2)
    assert shape["two_nn"] == pytest.approx(dimension, rel=0.2)
    assert shape["nearest_low"] < shape["nearest"] < shape["nearest_high"] < shape["tenth"]


def test_generated_vectors_are_distributed_like_real_ones(
    vectors: ModuleType, embeddings: Path, generated: Path
) -> None:
    synthetic = np.load(generated / "vectors.npy")
    assert (synthetic.shape, synthetic.dtype) == ((3000, 32), np.float32)
    assert np.linalg.norm(synthetic, axis=1) == pytest.approx(1, abs=1e-5)
    real = vectors.reduce_dimensions(np.load(embeddings), 32)
    distances, _ = vectors.find_nearest(real, real, vectors.K, own=True)
    real_shape = vectors.describe_shape(distances)
    shape = json.loads((generated / "facts.json").read_text())["shape"]
    for name in ("nearest", "tenth", "dimension"):
        assert 2 / 3 < shape[name] / real_shape[name] < 3 / 2, name


def test_no_query_is_in_the_index(generated: Path) -> None:
    indexed, queries = np.load(generated / "vectors.npy"), np.load(generated / "queries.npy")
    assert queries.shape == (100, 32)
    assert (queries @ indexed.T).max() < 1 - 1e-5


def test_the_seed_determines_the_catalogue(
    vectors: ModuleType, embeddings: Path, generated: Path, tmp_path: Path
) -> None:
    real = vectors.reduce_dimensions(np.load(embeddings), 32)
    for seed in (1, 2):
        vectors.prepare_catalogue(tmp_path / str(seed), real, 3000, 100, seed)
    for name in ("vectors", "queries", "items", "labels", "exact", "exact_seldom"):
        first = np.load(generated / f"{name}.npy")
        assert (np.load(tmp_path / "1" / f"{name}.npy") == first).all()
        assert not np.array_equal(np.load(tmp_path / "2" / f"{name}.npy"), first)


def test_pictures_of_an_item_share_labels_which_follow_zipfs_law(
    vectors: ModuleType, generated: Path
) -> None:
    metadata = vectors.read_metadata(generated)
    assert [picture["filename"] for picture in metadata] == [f"{row}.jpg" for row in range(3000)]
    labels_of_items: dict[str, list[str]] = {}
    for picture in metadata:
        assert picture["labels"] == labels_of_items.setdefault(
            picture["item_id"], picture["labels"]
        )
    counts = Counter(label for labels in labels_of_items.values() for label in labels)
    assert counts["label 0"] > 1.3 * counts["label 1"] > 1.3 * counts["label 9"]
    assert counts[vectors.RARE_LABEL] == pytest.approx(len(labels_of_items) / 100, abs=1)
    rare_rows = [
        row for row, picture in enumerate(metadata) if vectors.RARE_LABEL in picture["labels"]
    ]
    assert len(rare_rows) == json.loads((generated / "facts.json").read_text())["seldom"]
    assert np.isin(np.load(generated / "exact_seldom.npy"), rare_rows).all()


def make_result(p50: float, per_second: float, **others: Any) -> dict[str, Any]:
    unfiltered = {
        "asked": 100,
        "p50_ms": p50,
        "p99_ms": 2 * p50,
        "per_second": per_second,
        "recall": 0.995,
    }
    search = {"queries": 100, "open_ms": 12.4, "resident_mb": 1234.5, "all": unfiltered}
    search |= {"seldom": None, **others}
    return {"build": {"seconds": 6.04, "megabytes": 700.2, "versions": {}}, "ask": search}


def test_the_table_shows_ratios_and_deviations(search: ModuleType) -> None:
    tree = make_result(50, 20)
    tree["ask"]["all"] = {**tree["ask"]["all"], "asked": 20}
    results = {
        "balltree": tree,
        "faiss": make_result(0.2, 8000, seldom=make_result(0.1, 9000)["ask"]["all"]),
        "usearch": make_result(0.25, 6000, ef=64, reached=True),
        "hnswlib": make_result(0.1, 9000, ef=2048, reached=False),
    }
    rows = search.format_table(results).splitlines()[2:]
    cost = "6.0 | 700 | 1,234 | 12"
    assert rows == [
        f"| **BallTree**, 20 queries | {cost} | 50.00 | 100.00 | 20 | 0.995 "
        "| – | – | – | 1 | 200 |",
        f"| **faiss** | {cost} | 0.20 | 0.40 | 8,000 | 0.995 | 0.10 | 9,000 | 0.995 | 400 | 0.8 |",
        f"| usearch, float16, ef 64 | {cost} | 0.25 | 0.50 | 6,000 | 0.995 | – | – | – | 300 | 1 |",
        # Faster than usearch, but below the required recall, so usearch is the best peer.
        f"| hnswlib, ef 2048, below the required recall | {cost} | 0.10 | 0.20 | 9,000 | 0.995 "
        "| – | – | – | 450 | 0.4 |",
    ]
    faiss_alone = search.format_table({"faiss": results["faiss"]}).splitlines()[2]
    assert faiss_alone.endswith("| 0.995 | – | – |")


def list_installed_engines() -> list[str]:
    engines = ["balltree", "sklearn"]
    modules = {
        "faiss": ("siamese.indexes.faiss.index", "faiss"),
        "milvus": ("siamese.indexes.milvus.index", "milvus_lite"),
        "usearch": ("usearch",),
        "hnswlib": ("hnswlib",),
    }
    return engines + [
        engine for engine, names in modules.items() if all(map(importlib.util.find_spec, names))
    ]


@pytest.mark.long
def test_every_installed_engine_is_measured(embeddings: Path, tmp_path: Path) -> None:
    engines = list_installed_engines()
    call = [sys.executable, str(BENCHMARKS / "search.py"), "--embeddings", str(embeddings)]
    call += ["--sizes", "500", "--dimensions", "32", "--queries", "30", "--seconds", "0.2"]
    call += ["--engines", *engines, "--peers-python", sys.executable]
    call += ["--work-dir", str(tmp_path / "work"), "--json", str(tmp_path / "figures.json")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(call, capture_output=True, text=True, env=env)
    assert process.returncode == 0, process.stderr
    rows = [line for line in process.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(engines)
    results = json.loads((tmp_path / "figures.json").read_text())["sizes"]["500"]["engines"]
    assert list(results) == engines
    for engine in engines:
        build, search = results[engine]["build"], results[engine]["ask"]
        assert build["megabytes"] > 0
        assert search["resident_mb"] > search["imported_mb"] > 0
        exact = engine in ("balltree", "sklearn")
        for part in (search["all"], search["seldom"]):
            if part is not None:
                assert part["recall"] == 1 if exact else part["recall"] > 0.9
                assert 0 < part["p50_ms"] <= part["p99_ms"]
                assert part["asked"] >= 20

    # A second run reads all results from the cache.
    cached = subprocess.run(call, capture_output=True, text=True, env=env)
    assert cached.stdout == process.stdout
    assert "building" in process.stderr and "searching with" in process.stderr
    assert "building" not in cached.stderr and "searching with" not in cached.stderr


@pytest.mark.parametrize(
    ("array", "dimensions", "message"),
    [
        (np.ones((50, 40)), "32", "give at least 67 embeddings"),
        (np.ones((80, 20)), "32", "embeddings of 20 dimensions"),
        (None, "32", "not an array of embeddings"),
    ],
)
def test_unusable_embeddings_are_reported_in_one_line(
    search: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    array: np.ndarray | None,
    dimensions: str,
    message: str,
) -> None:
    path = tmp_path / "embeddings.npy"
    path.write_bytes(b"not an array")
    if array is not None:
        np.save(path, array)
    call = ["search.py", "--embeddings", str(path), "--dimensions", dimensions]
    monkeypatch.setattr(sys, "argv", [*call, "--work-dir", str(tmp_path / "work")])
    with pytest.raises(SystemExit) as stopped:
        search.main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and str(path) in line
