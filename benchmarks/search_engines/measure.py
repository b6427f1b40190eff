"""Measure one engine in a separate process: `build` writes its files, and `ask` queries them.

The results are written as JSON. The process loads only the libraries of the engine, so that it
needs as much memory as any program that searches with this engine.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_engines.engines import ENGINES, Engine, ProjectIndex

MIN_QUERIES = 20
"""Number of single queries to measure at least, however long they take."""
EF_VALUES = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
"""Values of `ef` to try in this order until a peer reaches the required recall."""


def read_memory_mb(field: str = "VmRSS") -> float:
    """Return the memory of this process and its children in MB (Linux only).

    `field` is ``VmRSS`` for the current memory or ``VmHWM`` for the largest so far.
    """

    def list_processes(pid: str) -> Iterator[str]:
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from list_processes(child)

    kilobytes = 0
    for pid in list_processes("self"):
        _, found, amount = Path(f"/proc/{pid}/status").read_text().partition(f"{field}:")
        # The entry is missing for a process that has ended.
        kilobytes += int(amount.split()[0]) if found else 0
    return kilobytes / 1024


def measure_size_mb(path: Path) -> float:
    """Return the size of a file or of all files in a folder, in MB."""
    files = [path, *path.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def measure_build(engine: Engine, data: Path, path: Path) -> dict[str, Any]:
    """Build the files of an engine.

    Returns
    -------
    dict
        `seconds`, the time from vectors and metadata in memory to the files; `megabytes`, the size
        of the files; `peak_mb`, the largest memory; and `versions` of the packages.
    """
    prepared = engine.prepare(data)
    start = time.perf_counter()
    engine.build(prepared, path)
    seconds = time.perf_counter() - start
    names = ("numpy", *engine.packages)
    return {
        "seconds": seconds,
        "megabytes": measure_size_mb(path),
        "peak_mb": read_memory_mb("VmHWM"),
        "versions": {
            "Python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in names},
        },
    }


def measure_searches(
    engine: Any, data: Path, path: Path, seconds: float, recall: float | None
) -> dict[str, Any]:
    """Open the files of an engine and measure its queries.

    Parameters
    ----------
    seconds : float
        Longest time of each measurement.
    recall : float or None
        Recall that a peer must reach.

    Returns
    -------
    dict
        `queries`, the number of queries; `imported_mb`, the memory before the files are opened;
        `open_ms`; `resident_mb` at the end; `peak_mb`; `all` and `seldom`, the results of
        `measure_queries` without and with the label filter (None if the engine has no filters).
        A peer also has `ef` and `reached`, whether it reaches the recall. An index of this project
        has `search_vectors`, see `time_search_vectors`, and `found`, the layout it reports.
    """
    queries = np.load(data / "queries.npy")
    figures: dict[str, Any] = {"queries": len(queries), "imported_mb": read_memory_mb()}
    start = time.perf_counter()
    engine.open(path)
    figures["open_ms"] = 1000 * (time.perf_counter() - start)
    exact = np.load(data / "exact.npy")
    if recall is not None:
        for ef in EF_VALUES:
            engine.ef = ef
            reached = compute_recall(engine.extract_rows(engine.query(queries)), exact) >= recall
            if reached:
                break
        figures.update(ef=ef, reached=reached)
    figures["all"] = measure_queries(engine.query, engine.extract_rows, queries, exact, seconds)
    figures["seldom"] = None
    if hasattr(engine, "query_filtered"):
        exact = np.load(data / "exact_seldom.npy")
        figures["seldom"] = measure_queries(
            engine.query_filtered, engine.extract_rows, queries, exact, seconds
        )
    figures.update(resident_mb=read_memory_mb(), peak_mb=read_memory_mb("VmHWM"))
    if isinstance(engine, ProjectIndex):
        figures["found"] = str(getattr(engine.index, "layout", "")) or None
        figures["search_vectors"] = time_search_vectors(engine.index, queries, seconds)
    return figures


def measure_queries(
    query: Callable[[NDArray[np.float32]], Any],
    extract_rows: Callable[[Any], NDArray[np.intp]],
    queries: NDArray[np.float32],
    exact: NDArray[np.intp],
    seconds: float,
) -> dict[str, float]:
    """Measure single queries, twice if time allows, and then all queries in one call.

    Returns
    -------
    dict
        `asked`, the number of single queries; `p50_ms` and `p99_ms` of the last pass;
        `first_p50_ms` of the first pass, when a memory-mapped file is not yet in memory;
        `per_second`, the rate of all queries in one call; `recall`.
    """
    first_times, results = time_single_queries(query, queries, seconds)
    times = first_times
    if len(first_times) == len(queries):
        times, results = time_single_queries(query, queries, seconds)
    median = float(np.median(times))
    batch = queries[: max(1, int(seconds / max(median, 1e-9)))]
    count, start = 0, time.perf_counter()
    while not count or time.perf_counter() - start < min(seconds, 2):
        query(batch)
        count += len(batch)
    per_second = count / (time.perf_counter() - start)
    found = np.concatenate([extract_rows(result) for result in results])
    return {
        "asked": len(times),
        "p50_ms": 1000 * median,
        "p99_ms": 1000 * float(np.quantile(times, 0.99)),
        "first_p50_ms": 1000 * float(np.median(first_times)),
        "per_second": per_second,
        "recall": compute_recall(found, exact[: len(found)]),
    }


def time_single_queries(
    query: Callable[[NDArray[np.float32]], Any], queries: NDArray[np.float32], seconds: float
) -> tuple[list[float], list[Any]]:
    """Return the times in seconds and the results of as many single queries as time allows."""
    times: list[float] = []
    results = []
    for number in range(len(queries)):
        if number >= MIN_QUERIES and sum(times) > seconds:
            break
        start = time.perf_counter()
        results.append(query(queries[number : number + 1]))
        times.append(time.perf_counter() - start)
    return times, results


def compute_recall(found: NDArray[np.intp], exact: NDArray[np.intp]) -> float:
    """Compute the fraction of the exact neighbours that were found."""
    hits = (found[:, :, None] == exact[:, None, :]).any(axis=1)
    return float(hits.mean())


def time_search_vectors(
    index: Any, queries: NDArray[np.float32], seconds: float
) -> dict[str, float]:
    """Time `Searcher.search_vectors` and compare it with the query of the index alone.

    Returns
    -------
    dict
        `p50_ms` of `search_vectors`, and `added_ms`, the median difference for the same query.
    """
    from siamese.search.searcher import Searcher

    searcher = Searcher(SimpleNamespace(facts=index.model), index)  # type: ignore[arg-type]
    index_times, search_times = [], []
    for number in range(len(queries)):
        if number >= MIN_QUERIES and sum(index_times) + sum(search_times) > seconds:
            break
        query = queries[number : number + 1]
        index.query(query)  # both measurements find its neighbours in the CPU cache
        start = time.perf_counter()
        index.query(query)
        index_times.append(time.perf_counter() - start)
        start = time.perf_counter()
        searcher.search_vectors(query)
        search_times.append(time.perf_counter() - start)
    return {
        "p50_ms": 1000 * float(np.median(search_times)),
        "added_ms": 1000 * float(np.median(np.subtract(search_times, index_times))),
    }


def main() -> None:
    """Measure one part and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["build", "ask"])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("data", type=Path)
    parser.add_argument("path", type=Path, help="file or folder of the engine")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, help="longest time of each measurement")
    parser.add_argument(
        "--recall", type=float, help="recall that FAISS is built for or a peer must reach"
    )
    arguments = parser.parse_args()
    engine_class = ENGINES[arguments.engine]
    for module in engine_class.modules:
        importlib.import_module(module)
    engine: Any = engine_class()
    if arguments.part == "build":
        if arguments.recall is not None:
            engine.min_recall = arguments.recall
        figures = measure_build(engine, arguments.data, arguments.path)
    else:
        figures = measure_searches(
            engine, arguments.data, arguments.path, arguments.seconds, arguments.recall
        )
    arguments.output.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
